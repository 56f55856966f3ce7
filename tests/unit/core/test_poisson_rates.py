import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, poisson

from headhunt_svc.core.rates import dispersion, poisson_interval

counts = st.integers(0, 500)
hours = st.floats(0.01, 1000)


@given(counts, hours, st.sampled_from([0.8, 0.95, 0.99]))
def test_at_the_ends_of_the_interval_the_count_is_just_not_too_unlikely(n: int, duration: float, level: float) -> None:
    """By the Poisson distribution itself, which the implementation does not use."""
    low, high = poisson_interval(n, duration, level)
    assert low <= n / duration <= high
    assert poisson.cdf(n, high * duration) == pytest.approx((1 - level) / 2, rel=1e-6)
    if n:
        assert poisson.sf(n - 1, low * duration) == pytest.approx((1 - level) / 2, rel=1e-6)
    else:
        assert low == 0


def test_no_event_in_three_hours_still_allows_one_an_hour() -> None:
    """The rule of three, two-sided: 3.69 events."""
    assert poisson_interval(0, 3.0) == (0.0, pytest.approx(-np.log(0.025) / 3))


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 20))
@settings(max_examples=20)
def test_the_interval_covers_the_true_rate_in_at_least_its_share_of_draws(seed: int, mean: float) -> None:
    draws, times = np.unique(np.random.default_rng(seed).poisson(mean, 1000), return_counts=True)
    intervals = [poisson_interval(int(n), 1.0) for n in draws]
    covered = [low <= mean <= high for low, high in intervals]
    assert times @ covered / 1000 > 0.92  # at least 0.95, but for the number of draws


@given(st.lists(st.integers(0, 30), min_size=2, max_size=30).filter(any), st.integers(0, 2**32 - 1))
def test_dispersion_is_chi_square_over_degrees_of_freedom(numbers: list[int], seed: int) -> None:
    duration = np.random.default_rng(seed).uniform(0.1, 2, len(numbers))
    expected = sum(numbers) * duration / duration.sum()
    reference = chisquare(numbers, expected).statistic / (len(numbers) - 1)
    assert dispersion(numbers, duration) == pytest.approx(reference)


def test_dispersion_needs_events_of_two_counts() -> None:
    assert dispersion([0, 0], np.ones(2)) is None
    assert dispersion([3], np.ones(1)) is None
    assert dispersion([5, 5], np.ones(2)) == 0
