"""Model families: one class each. Everything else in the package knows none of them by name.

Here: how a family lays out prompts and pictures. Not here: loading, running or reading a model.
Importing this imports neither torch nor transformers, and the modules of families only when one is asked for.
"""

from headhunt_svc.model.families.base import Clip, Encoded, Family, ModelConfig, ModelInputs, Pixels
from headhunt_svc.model.families.plugins import (
    BUILT_IN,
    GROUP,
    Plugin,
    family_of,
    model_types,
    nearest_checkpoint,
    plugins,
)

__all__ = [
    "BUILT_IN",
    "GROUP",
    "Clip",
    "Encoded",
    "Family",
    "ModelConfig",
    "ModelInputs",
    "Pixels",
    "Plugin",
    "family_of",
    "model_types",
    "nearest_checkpoint",
    "plugins",
]
