"""Choice of (sigma, tau) on validation videos: grid search for the best frame F1 (the paper's locator)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64

from headhunt_svc.core.localization import smooth
from headhunt_svc.core.metrics import frame_f1
from headhunt_svc.core.segmentation import frame_values
from headhunt_svc.errors import FeatureError
from headhunt_svc.params import CalibrateParams
from headhunt_svc.types import FrameSpan, Locator


def tune_locator(
    raw: Sequence[Float64[np.ndarray, " segment"]],
    spans: Sequence[list[FrameSpan]],
    truths: Sequence[Bool[np.ndarray, " frame"]],
    params: CalibrateParams,
) -> tuple[Locator, float]:
    """The (sigma, tau) of best F1 over all validation frames, and that F1; of equals the first.

    Thresholds are the n_thresholds midpoints between 0 and 1 at equal distance.

    Raises:
        FeatureError: no validation videos, or no anomalous frame among them.
    """
    if not truths or not np.concatenate(list(truths)).any():
        raise FeatureError("calibration of the locator needs validation videos with at least one anomaly")
    truth = np.concatenate(list(truths))
    best, best_f1 = Locator(params.sigma_segments[0], 0.5), -1.0
    for sigma in params.sigma_segments:
        per_video = [frame_values(s, smooth(r, sigma), len(t)) for r, s, t in zip(raw, spans, truths, strict=True)]
        scores = np.concatenate(per_video)
        for threshold in (np.arange(params.n_thresholds) + 0.5) / params.n_thresholds:
            f1 = frame_f1(truth, scores > threshold)
            if f1 > best_f1:
                best, best_f1 = Locator(sigma, float(threshold)), f1
    return best, best_f1
