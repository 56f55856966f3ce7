"""Applies the scorer to the concatenated expert features; fitting.py fits it. Light to import.

logit = weight . z + bias + normality.weight * distance(z): see core/normality.py.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64
from scipy.special import expit

from headhunt_svc.types import Normality, Scorer

Z = Float[np.ndarray, "segment features"]
Z1 = Float64[np.ndarray, " segment"]


@dataclass(frozen=True, slots=True)
class LocalScorer:
    """The scorer near some features: logit = weight . z + bias, with weights and bias of their own for each segment.

    z are the features of the segment, its background counts as a constant.
    """

    weight: Float64[np.ndarray, "segment features"]
    bias: Float64[np.ndarray, " segment"]


def linearise(scorer: Scorer, z: Z) -> LocalScorer:
    """Weights and bias at z. Exact, as the distance d is homogeneous: d = sum_i (z - mean)_i (P (z - mean))_i / d."""
    weight, bias = np.repeat(scorer.weight[None], len(z), 0), np.full(len(z), scorer.bias)
    if scorer.normality is not None:
        gradient = scorer.normality.weight * _pull(scorer.normality, z)[1]
        weight, bias = weight + gradient, bias - gradient @ scorer.normality.mean
    if scorer.background is None:
        return LocalScorer(weight, bias)
    (own, relative), (features, difference) = np.split(weight, 2, 1), np.split(z, 2, 1)
    return LocalScorer(own + relative, bias - ((features - difference) * relative).sum(1))


def _pull(normality: Normality, z: Z) -> tuple[Z1, Float64[np.ndarray, "segment features"]]:
    """Distance of each segment, and its gradient P (z - mean) / distance; 0 at the mean itself."""
    x = z.astype(np.float64) - normality.mean
    scaled = x @ normality.precision
    distance = np.sqrt(np.maximum(np.einsum("tf,tf->t", x, scaled), 0))
    return distance, np.divide(scaled, distance[:, None], out=np.zeros_like(scaled), where=distance[:, None] > 0)


def distance_to_normal(normality: Normality, z: Z) -> Z1:
    """Distance of each segment."""
    return _pull(normality, z)[0]


def novelty(scorer: Scorer, z: Z) -> Z1 | None:
    """What the distance of each segment adds to its logit above the typical one; see core/steady.py.

    None: the scorer has no distance, does not know a typical one, or keeps what is there all the time.
    """
    normality = scorer.normality
    if normality is None or not normality.typical or not normality.ignores_steady:
        return None
    return np.asarray(normality.weight * (_pull(normality, z)[0] - normality.typical))


def logits(scorer: Scorer, z: Z) -> Z1:
    """Logit of each segment."""
    margin = z.astype(np.float64) @ scorer.weight + scorer.bias
    if scorer.normality is not None:
        margin = margin + scorer.normality.weight * _pull(scorer.normality, z)[0]
    return np.asarray(margin)


def apply_scorer(scorer: Scorer, z: Z) -> Float64[np.ndarray, " segment"]:
    """p = sigmoid(logit), float64[T]."""
    return np.asarray(expit(logits(scorer, z)))


def contributions(scorer: Scorer, z: Float[np.ndarray, "segment row d_head"]) -> Float64[np.ndarray, "segment head"]:
    """Contribution of each head to the logit; with the bias they sum to it.

    That is w_k . z_k and the head's rows of the quadratic form in the distance: (z - mean)_k . (P (z - mean))_k / d.

    z: where there is a background, the features of all heads and then their differences to it; a head's share is of
    both.
    """
    flat = z.reshape(len(z), -1).astype(np.float64)
    shares = flat * scorer.weight
    if scorer.normality is not None:
        gradient = _pull(scorer.normality, flat)[1]
        shares = shares + scorer.normality.weight * gradient * (flat - scorer.normality.mean)
    return np.asarray(shares.reshape(z.shape).sum(2).reshape(len(z), -1, len(scorer.heads)).sum(1))
