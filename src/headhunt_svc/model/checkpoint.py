"""What a checkpoint is, from its configuration and list of files alone: before weights are fetched or loaded.

Here: supported or not, its size in heads, whether files are whole. Not here: loading it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headhunt_svc.errors import HeadHuntError, ModelError
from headhunt_svc.storage.json_text import parse_json

if TYPE_CHECKING:
    from headhunt_svc.model.families import Family

LARGEST = {
    "num_hidden_layers": 1000,
    "depth": 1000,
    "num_attention_heads": 2**12,
    "num_key_value_heads": 2**12,
    "head_dim": 2**14,
    "hidden_size": 2**17,
    "intermediate_size": 2**20,
    "vocab_size": 2**22,
}


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a model folder.

    Raises:
        ModelError: missing or broken.
    """
    path = folder / "config.json"
    try:
        config = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise ModelError(f"{folder} has no config.json, so it is no model that transformers can load") from exc
    except (OSError, ValueError) as exc:
        raise ModelError(f"{path} cannot be read as a model's configuration ({exc}): get it again") from exc
    if not isinstance(config, dict):
        raise ModelError(f"{path} is not a model's configuration: get it again")
    for name, size in _sizes(config):
        if size > LARGEST[name]:
            raise ModelError(f"{path}: {name} is {size}, and no model is that large: get it again")
    return config


def _sizes(config: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """The sizes that a configuration states, at any depth: what a model of it would take of memory."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _sizes(value)
        elif name in LARGEST and isinstance(value, int | float):
            yield name, value


@contextmanager
def damage_named(mllm_id: str, part: str = "files") -> Iterator[None]:
    """Turns what a damaged checkpoint makes transformers, tokenizers, safetensors and torch raise into one error.

    part: what is being read.

    Raises:
        ModelError: whatever they raise; there is no common class, and files from elsewhere may hold anything.
    """
    try:
        yield
    except HeadHuntError:
        raise
    except Exception as exc:
        reason = (str(exc).strip().splitlines() or [""])[0]
        raise ModelError(
            f"the {part} of {mllm_id} cannot be used ({type(exc).__name__}: {reason}); damaged, or of another "
            "model: get the checkpoint again"
        ) from exc


def check_family(config: dict[str, Any], mllm_id: str) -> "Family":
    """The family of a checkpoint, by its configuration; code that a checkpoint brings along is never run.

    Raises:
        ModelError: not supported; names what is, and what is nearest.
    """
    from headhunt_svc.model.families import family_of

    text = config.get("text_config")
    decoder = text.get("model_type") if isinstance(text, dict) else None
    return family_of(str(config.get("model_type")), mllm_id, decoder)


def check_whole(folder: Path, names: list[str]) -> int:
    """Check that weight files are not truncated, without reading them; returns how many numbers they hold.

    Raises:
        ModelError: one is cut off or no file of weights.
    """
    from safetensors import SafetensorError, safe_open

    size = 0
    for name in names:
        try:
            with safe_open(folder / name, "np") as weights:
                size += sum(prod(weights.get_slice(key).get_shape()) for key in weights.keys())
        except (OSError, SafetensorError) as exc:
            raise ModelError(f"{folder / name} is cut off or broken ({exc}): copy or download it again") from exc
    return size
