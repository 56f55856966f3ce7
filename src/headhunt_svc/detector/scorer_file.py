"""The file scorer.safetensors: weights, bias and heads of a scorer, and its distance to normal."""

import json
from pathlib import Path
from typing import get_args

from safetensors import SafetensorError, safe_open

from headhunt_svc.errors import ArtifactError
from headhunt_svc.storage.files import write_bytes
from headhunt_svc.storage.tensors import tensor_bytes
from headhunt_svc.types import Background, HeadRef, Normality, Scorer


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
            facts, tensors = json.loads(f.metadata()["about"]), {name: f.get_tensor(name) for name in f.keys()}
        weight, normality = tensors.pop("weight"), None
        if "normality_weight" in facts or tensors:
            mean, precision = tensors.pop("normal_mean"), tensors.pop("normal_precision")
            normality = Normality(mean, precision, float(facts["normality_weight"]), facts.get("normality_typical"))
        heads, background = tuple(HeadRef(*h) for h in facts["heads"]), facts.get("background")
        if background not in (None, *get_args(Background)):
            raise ValueError(f"unknown background {background!r}")
        return Scorer(heads, weight, float(facts["bias"]), normality, background)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as exc:
        raise ArtifactError(f"{path} cannot be read as a scorer ({exc}): run `headhunt fit`") from exc
