"""The file scorer.safetensors: weights, bias and heads of a scorer, and its distance to normal."""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open

from headhunt_svc.errors import ArtifactError
from headhunt_svc.sections import first_problem
from headhunt_svc.storage.files import write_bytes
from headhunt_svc.storage.tensors import tensor_bytes
from headhunt_svc.types import Background, HeadRef, Normality, Scorer


class _Facts(BaseModel):
    """What stands beside the tensors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    heads: Annotated[tuple[HeadRef, ...], Field(min_length=1)]
    bias: float
    normality_weight: float | None = None
    normality_typical: float | None = None
    ignores_steady: bool = False
    background: Background | None = None


def save_scorer(path: Path, scorer: Scorer) -> None:
    """Write weight float64[K * d_head], with normality its mean and precision; bias and heads as metadata.

    A scorer without normality and background has the file that earlier versions wrote.
    """
    tensors, facts = {"weight": scorer.weight}, {"heads": scorer.heads, "bias": scorer.bias}
    if scorer.normality is not None:
        tensors |= {"normal_mean": scorer.normality.mean, "normal_precision": scorer.normality.precision}
        facts["normality_weight"] = scorer.normality.weight
        if scorer.normality.typical is not None:
            facts["normality_typical"] = scorer.normality.typical
        if scorer.normality.ignores_steady:
            facts["ignores_steady"] = True
    if scorer.background is not None:
        facts["background"] = scorer.background
    write_bytes(path, tensor_bytes(tensors, {"about": json.dumps(facts)}))


def load_scorer(path: Path) -> Scorer:
    """Read scorer.safetensors.

    Raises:
        ArtifactError: missing or broken.
    """
    try:
        with safe_open(path, "np") as f:
            facts, tensors = _Facts.model_validate_json(f.metadata()["about"]), {n: f.get_tensor(n) for n in f.keys()}
        size = tensors["weight"].size
        for name, values in tensors.items():
            shape = (size, size) if name == "normal_precision" else (size,)
            if values.dtype != np.float64 or values.shape != shape:
                raise ValueError(f"{name} is {values.dtype}{list(values.shape)}")
        weight, normality = tensors.pop("weight"), None
        if facts.normality_weight is not None or tensors:
            if facts.normality_weight is None:
                raise ValueError("no weight of the distance to normal")
            mean, precision = tensors.pop("normal_mean"), tensors.pop("normal_precision")
            typical, ignores = facts.normality_typical, facts.ignores_steady
            normality = Normality(mean, precision, facts.normality_weight, typical, ignores)
        return Scorer(facts.heads, weight, facts.bias, normality, facts.background)
    except ValidationError as exc:
        raise ArtifactError(f"{path} cannot be read as a scorer ({first_problem(exc)}): run `headhunt fit`") from exc
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as exc:
        raise ArtifactError(f"{path} cannot be read as a scorer ({exc}): run `headhunt fit`") from exc
