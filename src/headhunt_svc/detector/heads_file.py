"""The file heads.json: the chosen heads, what they were chosen with, and how far the choice can be trusted."""

from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from headhunt_svc.errors import ArtifactError
from headhunt_svc.sections import first_problem
from headhunt_svc.storage.files import read_json, write_json
from headhunt_svc.types import HeadSelection

_SELECTION = TypeAdapter(HeadSelection)


def save_selection(path: Path, selection: HeadSelection) -> None:
    """Write heads.json."""
    write_json(
        path,
        {
            "mllm": {"id": selection.mllm_id, "revision": selection.revision},
            "prompts": selection.prompts,
            "data": selection.data,
            "features": {"model": selection.model, "segmentation": selection.segmentation},
            "criteria": selection.criteria,
            **({} if selection.deepest_layer is None else {"deepest_layer": selection.deepest_layer}),
            "heads": [h._asdict() | {"rss": r} for h, r in zip(selection.heads, selection.rss, strict=True)],
            "confidence": asdict(selection.confidence) if selection.confidence else None,
        },
    )


def load_selection(path: Path) -> HeadSelection:
    """Read heads.json.

    Raises:
        ArtifactError: missing, broken, or of an older version.
    """
    raw = read_json(path, "headhunt identify")
    try:
        mllm, features = raw["mllm"], raw["features"]
        row = {
            "heads": [(h["layer"], h["head"]) for h in raw["heads"]],
            "rss": [h["rss"] for h in raw["heads"]],
            "mllm_id": mllm["id"],
            "revision": mllm["revision"],
            "model": features["model"],
            "segmentation": features["segmentation"],
            "deepest_layer": raw.get("deepest_layer"),
            **{name: raw[name] for name in ("prompts", "criteria", "confidence", "data")},
        }
        return _SELECTION.validate_python(row)
    except ValidationError as exc:
        raise ArtifactError(f"{path} holds no chosen heads ({first_problem(exc)}): run `headhunt identify`") from exc
    except (KeyError, TypeError) as exc:
        raise ArtifactError(f"{path} holds no chosen heads ({exc!r}): run `headhunt identify`") from exc
