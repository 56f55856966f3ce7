"""Model families: one class each. Everything else in the package knows none of them by name.

Here: how a family lays out prompts and pictures. Not here: loading, running or reading a model.
"""

from headhunt_svc.errors import ModelError
from headhunt_svc.model.families.base import Clip, Encoded, Family, ModelConfig, ModelInputs, Pixels
from headhunt_svc.model.families.internvl import InternVL
from headhunt_svc.model.families.llava import LlavaOneVision
from headhunt_svc.model.families.qwen import Qwen3VL, Qwen25VL

__all__ = ["FAMILIES", "Clip", "Encoded", "Family", "ModelConfig", "ModelInputs", "Pixels", "family_of"]

# by the model_type of a checkpoint's config.json
FAMILIES: dict[str, Family] = {
    "internvl": InternVL(),
    "llava_onevision": LlavaOneVision(),
    "qwen2_5_vl": Qwen25VL(),
    "qwen3_vl": Qwen3VL(),
}


def family_of(model_type: str, mllm_id: str) -> Family:
    """The family of a model type.

    Raises:
        ModelError: an unsupported one; lists what is supported.
    """
    if model_type not in FAMILIES:
        raise ModelError(
            f"{mllm_id} is of type {model_type!r}, which is not supported (nobody has checked how its prompts and "
            f"pictures are laid out); supported: {', '.join(sorted(FAMILIES))}"
        )
    return FAMILIES[model_type]
