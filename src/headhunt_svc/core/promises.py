"""What normal videos can promise of videos that are not there yet: false alarms per hour, windows with an alarm.

Both promises take the video as the unit that is drawn independently: segments, windows and alarms of one video have
much in common. sigma is fixed beforehand, since tuning it on the same videos would break them.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int
from scipy.stats import beta, chi2

from headhunt_svc.core.protocol import ScoredVideo
from headhunt_svc.errors import FeatureError
from headhunt_svc.params import CalibrateParams

LOOK_AHEAD = 0.05  # how much lower a threshold is where clusters of alarms are still looked for
ROUNDING_S = 1e-6

Alarms = Int[np.ndarray, "video threshold"]  # of each normal video, thresholds ascending


def cluster_sizes(alarms: Alarms, step: float) -> Float64[np.ndarray, " threshold"]:
    """How many alarms come together, at least 1: sum of squares over sum of the alarms of a video.

    It is the ratio of variance and mean of a compound Poisson count. A few alarms do not show how they cluster, so the
    largest value at this threshold and those up to LOOK_AHEAD below it counts. step: distance of two thresholds.
    """
    total = alarms.sum(0)
    sizes = np.divide((alarms.astype(np.float64) ** 2).sum(0), total, out=np.ones(len(total)), where=total > 0)
    reach = round(LOOK_AHEAD / step)
    return np.array([sizes[max(0, i - reach) : i + 1].max() for i in range(len(sizes))])


def rate_bounds(
    total: Int[np.ndarray, " *any"], hours: float, confidence: float, size: Float64[np.ndarray, " *any"] | float = 1.0
) -> Float64[np.ndarray, " *any"]:
    """One-sided exact Poisson upper bounds of a rate per hour from counts (Garwood 1936), of clusters of that size.

    Without alarms it is -ln(1 - confidence) size / hours.
    """
    return np.asarray(size * chi2.ppf(confidence, 2 * (total / size + 1)) / (2 * hours))


def allowed(bounds: Float64[np.ndarray, " threshold"], budget: float) -> Bool[np.ndarray, " threshold"]:
    """Thresholds that keep the budget, all at once with the confidence of each bound.

    They are tested in a fixed sequence, the highest first, until one fails; so any choice among those before keeps the
    budget (Learn then Test: Angelopoulos et al. 2021). The lowest bound of a whole grid would not: it is often low by
    chance.
    """
    return np.asarray(np.logical_and.accumulate((bounds <= budget)[::-1])[::-1])


def conformal_threshold(maxima: Float64[np.ndarray, " video"], rate: float) -> float:
    """Split conformal: with n exchangeable windows, P(a further one scores above this anywhere) <= rate.

    The ceil((n + 1)(1 - rate))-th smallest of their highest scores (Vovk et al. 2005; Angelopoulos and Bates 2021,
    eq. 1); the probability is over the n windows and the further one.

    Raises:
        FeatureError: so few cannot guarantee that rate.
    """
    n, rank = len(maxima), _rank(len(maxima), rate)
    if rank > n:
        raise FeatureError(
            f"{n} normal videos cannot guarantee a false-alarm rate of {rate:g}, only {1 / (n + 1):.3g} or more: add "
            "normal videos"
        )
    return float(np.sort(maxima)[rank - 1])


def _rank(n: int, rate: float) -> int:
    return math.ceil((n + 1) * (1 - rate) - 1e-9)


def realised_share(n: int, rate: float, confidence: float) -> float:
    """How large the share above a conformal threshold of n independent windows can be, with that confidence.

    Exact for continuous scores, conservative where some are equal: the share has the distribution
    Beta(n + 1 - rank, rank) (Vovk 2012).
    """
    rank = _rank(n, rate)
    return float(beta.ppf(confidence, n + 1 - rank, rank))


def window_peaks(video: ScoredVideo, window_s: float) -> Float64[np.ndarray, " window"]:
    """Highest score of every window of that many seconds of footage that begins with a segment and fits the video.

    A segment counts if it begins in the window; holes are no footage. None fits a shorter video.
    """
    edges = np.append(0.0, np.cumsum(np.diff(video.seconds)[:, 0]))
    begins = edges[:-1]
    first = np.flatnonzero(begins + window_s <= edges[-1] + ROUNDING_S)
    after = np.searchsorted(begins, begins[first] + window_s - ROUNDING_S)
    pairs = np.stack([first, after], 1).ravel()
    peaks = np.maximum.reduceat(np.append(video.scores, -np.inf), pairs) if len(pairs) else np.zeros(0)
    return np.asarray(peaks[::2], np.float64)


def drawn_peaks(videos: Sequence[ScoredVideo], window_s: float) -> Float64[np.ndarray, " video"]:
    """The peak of one window of each video, drawn at random; videos that are shorter are left out.

    One of each, since windows of one video are not independent. The draw is the same in every run.
    """
    random = np.random.default_rng(0)
    peaks = [window_peaks(v, window_s) for v in videos]
    return np.array([p[random.integers(len(p))] for p in peaks if len(p)])


class WindowPromise(NamedTuple):
    """A conformal threshold, what the share of windows above it can be, and the promise in words."""

    threshold: float
    up_to: float
    words: str


def window_promise(normal: Sequence[ScoredVideo], params: CalibrateParams) -> WindowPromise:
    """The threshold that at most `conformal_rate` of windows of new normal videos pass; these have smoothed scores.

    Raises:
        FeatureError: too few videos for that rate, or none as long as a window.
    """
    lengths = [v.duration_s for v in normal]
    window_s = params.conformal_window_s or min(lengths, default=0.0)
    peaks = drawn_peaks(normal, window_s)
    if normal and not len(peaks):
        raise FeatureError(
            f"no normal video is as long as a window of {window_s:g} s: the longest has {max(lengths):.3g} s"
        )
    threshold = conformal_threshold(peaks, params.conformal_rate)
    long_enough = [s for s in lengths if s >= window_s - ROUNDING_S]
    # rounded up, since words have two digits
    up_to = math.ceil(100 * realised_share(len(peaks), params.conformal_rate, params.confidence)) / 100
    words = (
        f"over many calibrations at most {params.conformal_rate:g} of windows of {window_s:.3g} s of new normal videos "
        f"alarm; with these {len(peaks)} videos of {min(long_enough):.3g} to {max(long_enough):.3g} s the share can be "
        f"up to {up_to:.2f} ({100 * params.confidence:.4g} % confidence)"
    )
    return WindowPromise(threshold, up_to, words)


def check_mostly_normal(videos: Sequence[ScoredVideo], threshold: float) -> None:
    """Raise FeatureError if the detector finds most of these videos' segments anomalous, going by smoothed scores."""
    share = float(np.mean(np.concatenate([v.scores for v in videos]) > threshold))
    if share > 0.5:
        raise FeatureError(
            f"the detector finds {share:.0%} of the segments of the normal videos anomalous: a threshold above these "
            "would find little else; look at the videos, or label some and run `headhunt recalibrate`"
        )
