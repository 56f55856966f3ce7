"""What a user must know before trusting a detector's scores; `bundle show`, `detect` and every report say it."""

from pathlib import Path

from headhunt_svc.errors import ArtifactError
from headhunt_svc.model.identity import TRAINING_RECORD
from headhunt_svc.storage.json_text import parse_json
from headhunt_svc.types import Confidence


def domain_of(folder: Path) -> str | None:
    """What a model has seen, as its folder states it in a few words; None where it states nothing.

    Raises:
        ArtifactError: the file that states it is broken.
    """
    path = folder / TRAINING_RECORD
    if not path.is_file():
        return None
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise ArtifactError(f"{path} cannot be read as JSON ({exc}): repair it, or remove it") from exc
    domain = record.get("domain") if isinstance(record, dict) else None
    if domain is None:
        return None
    if not isinstance(domain, str) or not domain.strip():
        raise ArtifactError(f"{path}: domain is no text: say in a few words what the model has seen, or remove it")
    return domain


def cautions(domain: str | None, confidence: Confidence | None) -> tuple[str, ...]:
    """What speaks against trusting a detector, each as a sentence with the way out."""
    sentences = []
    if domain is not None:
        sentences.append(
            f"the model of this detector has seen {domain} only, and its scores of other footage mean nothing: for "
            "that, name another model as mllm.id in params.yaml (docs/own-footage.md)"
        )
    if confidence is not None and confidence.verdict == "not trustworthy":
        sentences.append(
            "heads at chance: chosen on half of the labelled videos, they rank the segments of the others with AUC "
            f"{confidence.held_out_auc:.2f} +- {confidence.held_out_error:.2f} (chance: 0.50), so the scores may mean "
            "nothing: check the labels or label more videos, then run `dvc repro`"
        )
    return tuple(sentences)
