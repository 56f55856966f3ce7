"""Robust saliency over prompts, and the choice of the expert heads (HeadHunt-VAD, equation of RSS)."""

import numpy as np
from jaxtyping import Float64

from headhunt_svc.errors import FeatureError
from headhunt_svc.types import HeadRef, RobustSaliency


def robust_saliency(saliency: Float64[np.ndarray, "prompt layer head"], penalty: float) -> RobustSaliency:
    """RSS = mean - penalty * std over prompts; NaN where a head is constant under any prompt."""
    mean, instability = saliency.mean(0), saliency.std(0)
    return RobustSaliency(mean, instability, mean - penalty * instability)


def choose_heads(robust: RobustSaliency, top_k: int) -> tuple[HeadRef, ...]:
    """The top_k heads of highest RSS, best first; ties go to the lower layer and head.

    Raises:
        FeatureError: fewer usable heads than top_k.
    """
    usable = int(np.isfinite(robust.rss).sum())
    if usable < top_k:
        raise FeatureError(f"identify.top_k is {top_k}, but only {usable} of {robust.rss.size} heads are usable")
    order = np.argsort(np.where(np.isfinite(robust.rss), -robust.rss, np.inf), axis=None, kind="stable")
    n_heads = robust.rss.shape[1]
    return tuple(HeadRef(int(i) // n_heads, int(i) % n_heads) for i in order[:top_k])
