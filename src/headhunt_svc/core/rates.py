"""Rates from counts of events: exact Poisson intervals, and whether the counts spread as Poisson counts do."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.stats import chi2


def poisson_interval(events: int, hours: float, level: float = 0.95) -> tuple[float, float]:
    """The exact two-sided interval of a rate per hour from a count (Garwood 1936), events being independent."""
    tail = (1 - level) / 2
    low = float(chi2.ppf(tail, 2 * events)) / 2 if events else 0.0
    return low / hours, float(chi2.isf(tail, 2 * events + 2)) / 2 / hours


def dispersion(counts: Sequence[int], hours: Float[np.ndarray, " count"]) -> float | None:
    """Pearson's chi-square of counts at one common rate, over its degrees of freedom: about 1 for Poisson counts.

    Above 1 events come in groups or the true rates differ, and `poisson_interval` is too narrow. None without events,
    or of one count.
    """
    if len(counts) < 2 or not sum(counts):
        return None
    expected = sum(counts) * hours / hours.sum()
    return float(((np.array(counts) - expected) ** 2 / expected).sum() / (len(counts) - 1))
