"""Operating points: (sigma, tau) on validation videos, chosen in the units that matter to whoever uses the detector.

f1         the best frame F1 (the locator of HeadHunt-VAD)
budget     at most so many false alarms per hour of normal footage
recall     at least this share of the true spans raises an alarm
conformal  from normal footage alone, with a guarantee on how often a normal video raises an alarm

The first three search a grid of sigmas and thresholds; thresholds are the n_thresholds midpoints between 0 and 1 at
equal distance. Each is chosen once for offline and once for causal smoothing.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from headhunt_svc.core.localization import joined, runs
from headhunt_svc.core.metrics import flagged
from headhunt_svc.core.protocol import ScoredVideo, counts_of
from headhunt_svc.errors import FeatureError
from headhunt_svc.params import CalibrateParams
from headhunt_svc.types import OperatingPoint, Smoothing


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen (sigma, tau), by what rule, and what it gave on the videos that it was chosen on."""

    locator: OperatingPoint
    rule: str
    f1: float | None
    found: float | None  # share of the true spans with an alarm
    false_alarms_per_hour: float | None


def conformal_threshold(maxima: Float64[np.ndarray, " video"], rate: float) -> float:
    """Split conformal: with n exchangeable normal videos, P(a further one scores above this anywhere) <= rate.

    The ceil((n + 1)(1 - rate))-th smallest of the videos' highest scores (Vovk et al. 2005; Angelopoulos and Bates
    2021, eq. 1); the probability is over the n videos and the further one.

    Raises:
        FeatureError: so few videos cannot guarantee that rate.
    """
    n = len(maxima)
    rank = math.ceil((n + 1) * (1 - rate) - 1e-9)
    if rank > n:
        raise FeatureError(
            f"{n} normal videos cannot guarantee a false-alarm rate of {rate:g}, only {1 / (n + 1):.3g} or more: "
            "add normal footage, or cut it into more clips"
        )
    return float(np.sort(maxima)[rank - 1])


@dataclass(frozen=True, slots=True)
class _Grid:
    """What every threshold gives at one sigma; NaN where it is undefined."""

    sigma: float
    thresholds: Float64[np.ndarray, " threshold"]
    f1: Float64[np.ndarray, " threshold"]
    found: Float64[np.ndarray, " threshold"]
    false_alarms_per_hour: Float64[np.ndarray, " threshold"]

    def choice(self, i: int, smoothing: Smoothing, rule: str) -> Choice:
        """The i-th threshold."""
        figures = [float(x[i]) for x in (self.f1, self.found, self.false_alarms_per_hour)]
        known = [None if math.isnan(x) else x for x in figures]
        return Choice(OperatingPoint(self.sigma, float(self.thresholds[i]), smoothing), rule, *known)


def _measure(videos: Sequence[ScoredVideo], sigma: float, thresholds: np.ndarray, smoothing: Smoothing) -> _Grid:
    """Frame F1, found true spans and false alarms of every threshold."""
    smoothed = [v.smoothed(sigma, smoothing) for v in videos]
    undefined = np.full(len(thresholds), np.nan)
    f1 = found = per_hour = undefined
    highest = []  # score in every true span
    for v in smoothed:
        for span in v.record.true_spans:
            inside = (v.edges[:, 0] < span.stop) & (v.edges[:, 1] > span.start)
            highest.append(v.scores[inside].max())
    if highest:
        found = (np.array(highest)[:, None] > thresholds).mean(0)
        f1 = np.array([row.f1 for row in flagged(counts_of(smoothed), thresholds)])
    normal = [v for v in smoothed if not v.record.is_anomalous]
    if normal:
        hours = sum(v.record.n_frames / v.record.fps for v in normal) / 3600
        scores = np.concatenate([v.scores for v in normal])
        goes_on = np.concatenate([np.append(joined(v.edges), False) for v in normal])[:-1]
        per_hour = np.array([len(runs(scores > t, goes_on)[0]) for t in thresholds]) / hours
    return _Grid(sigma, thresholds, f1, found, per_hour)


def _grids(videos: Sequence[ScoredVideo], params: CalibrateParams, smoothing: Smoothing) -> list[_Grid]:
    thresholds = (np.arange(params.n_thresholds) + 0.5) / params.n_thresholds
    return [_measure(videos, sigma, thresholds, smoothing) for sigma in params.sigma_segments]


def _best(
    grids: Sequence[_Grid], rank: Callable[[_Grid, int], tuple[float, ...] | None], smoothing: Smoothing, rule: str
) -> Choice:
    """The point of the highest rank (None: not allowed), of equals the first."""
    ranked = [(r, g, i) for g in grids for i in range(len(g.thresholds)) if (r := rank(g, i)) is not None]
    if not ranked:
        raise FeatureError(f"no sigma and threshold of the grid gives {rule}")
    _, grid, i = max(ranked, key=lambda item: item[0])
    return grid.choice(i, smoothing, rule)


def _need(videos: Sequence[ScoredVideo], *, anomalous: bool = False, normal: bool = False) -> None:
    if anomalous and not any(v.record.is_anomalous for v in videos):
        raise FeatureError("calibration of the locator needs validation videos with at least one anomaly")
    if normal and all(v.record.is_anomalous for v in videos):
        raise FeatureError("false alarms are counted in normal validation videos, of which there are none")


def _by_f1(grids: Sequence[_Grid], smoothing: Smoothing) -> Choice:
    return _best(grids, lambda g, i: (g.f1[i],), smoothing, "the best frame F1")


def tune_locator(videos: Sequence[ScoredVideo], params: CalibrateParams, smoothing: Smoothing = "offline") -> Choice:
    """The (sigma, tau) of best F1 over all validation frames, of equals the first; the videos' scores are raw.

    Raises:
        FeatureError: no anomaly among the validation videos, or nothing else.
    """
    _need(videos, anomalous=True)
    return _by_f1(_grids(videos, params, smoothing), smoothing)


def conformal(videos: Sequence[ScoredVideo], params: CalibrateParams, smoothing: Smoothing = "offline") -> Choice:
    """The threshold that `conformal_rate` of new normal videos may pass, at most; anomalous videos are not looked at.

    sigma is `conformal_sigma`, fixed beforehand: a sigma tuned on the same videos would void the guarantee.

    Raises:
        FeatureError: too few normal videos for the rate.
    """
    normal = [v for v in videos if not v.record.is_anomalous]
    sigma, rate = params.conformal_sigma, params.conformal_rate
    threshold = conformal_threshold(np.array([v.smoothed(sigma, smoothing).scores.max() for v in normal]), rate)
    measured = _measure(videos, sigma, np.array([threshold]), smoothing)
    return measured.choice(0, smoothing, f"at most {rate:g} of normal videos alarm (from {len(normal)})")


def operating_points(
    videos: Sequence[ScoredVideo], params: CalibrateParams, smoothing: Smoothing = "offline"
) -> dict[str, Choice | FeatureError]:
    """Every operating point by name, or why it cannot be had from these videos; the videos' scores are raw.

    budget: of what keeps the budget, most true spans found, then the best F1. recall: of what finds enough true spans,
    fewest false alarms, then the best F1.
    """
    budget, recall = params.false_alarms_per_hour, params.recall
    grids = _grids(videos, params, smoothing) if videos else []

    def within_budget(g: _Grid, i: int) -> tuple[float, ...] | None:
        return (g.found[i], g.f1[i]) if g.false_alarms_per_hour[i] <= budget else None

    def enough_found(g: _Grid, i: int) -> tuple[float, ...] | None:
        return (-g.false_alarms_per_hour[i], g.f1[i]) if g.found[i] >= recall else None

    def by_budget() -> Choice:
        _need(videos, anomalous=True, normal=True)
        return _best(grids, within_budget, smoothing, f"at most {budget:g} false alarms per hour")

    def by_recall() -> Choice:
        _need(videos, anomalous=True, normal=True)
        return _best(grids, enough_found, smoothing, f"at least {recall:g} of the true spans found")

    def by_f1() -> Choice:
        _need(videos, anomalous=True)
        return _by_f1(grids, smoothing)

    makers: dict[str, Callable[[], Choice]] = {
        "f1": by_f1,
        "budget": by_budget,
        "recall": by_recall,
        "conformal": lambda: conformal(videos, params, smoothing),
    }
    found: dict[str, Choice | FeatureError] = {}
    for name, make in makers.items():
        try:
            found[name] = make()
        except FeatureError as exc:
            found[name] = exc
    return found
