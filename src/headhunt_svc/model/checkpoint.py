"""What a checkpoint is, from its configuration and list of files alone: before weights are fetched or loaded.

Here: supported or not, its size in heads, whether files are whole. Not here: loading it.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headhunt_svc.errors import ModelError

if TYPE_CHECKING:
    from headhunt_svc.model.families import Family


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a model folder.

    Raises:
        ModelError: missing or broken.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise ModelError(f"{folder} has no config.json, so it is no model that transformers can load") from exc
    except (OSError, ValueError) as exc:
        raise ModelError(f"{path} cannot be read as a model's configuration ({exc}): get it again") from exc
    if not isinstance(config, dict):
        raise ModelError(f"{path} is not a model's configuration: get it again")
    return config


def check_family(config: dict[str, Any], mllm_id: str) -> "Family":
    """The family of a checkpoint, by its configuration; code that a checkpoint brings along is never run.

    Raises:
        ModelError: not supported; names what is, and what is nearest.
    """
    from headhunt_svc.model.families import family_of

    text = config.get("text_config")
    decoder = text.get("model_type") if isinstance(text, dict) else None
    return family_of(str(config.get("model_type")), mllm_id, decoder)


def check_whole(folder: Path, names: list[str]) -> None:
    """Check that weight files are not truncated, without reading them.

    Raises:
        ModelError: one is cut off or no file of weights.
    """
    from safetensors import SafetensorError, safe_open

    for name in names:
        try:
            with safe_open(folder / name, "np") as weights:
                weights.keys()
        except (OSError, SafetensorError) as exc:
            raise ModelError(f"{folder / name} is cut off or broken ({exc}): copy or download it again") from exc
