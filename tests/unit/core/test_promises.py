"""Promises of normal videos: bounds and shares against scipy's distributions and brute force, and by simulation."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import binom, poisson

from conftest import benchmark, scored_video
from headhunt_svc.core.promises import (
    allowed,
    check_mostly_normal,
    cluster_sizes,
    conformal_threshold,
    drawn_peaks,
    rate_bounds,
    realised_share,
    window_peaks,
    window_promise,
)
from headhunt_svc.core.protocol import ScoredVideo
from headhunt_svc.errors import FeatureError
from headhunt_svc.params import CalibrateParams
from headhunt_svc.types import OperatingPoint


@given(st.integers(0, 200), st.floats(0.01, 100), st.floats(0.5, 0.999))
def test_a_rate_at_its_bound_gives_so_few_alarms_in_the_stated_share_of_cases(
    count: int, hours: float, confidence: float
) -> None:
    (bound,) = rate_bounds(np.array([count]), hours, confidence)
    assert poisson.cdf(count, bound * hours) == pytest.approx(1 - confidence)


def test_without_alarms_the_bound_is_that_of_the_exponential_law() -> None:
    assert rate_bounds(np.array([0]), 3.0, 0.95) == pytest.approx(-np.log(0.05) / 3)
    assert rate_bounds(np.array([0]), 3.0, 0.95, 4.0) == pytest.approx(-np.log(0.05) * 4 / 3)


def test_clusters_of_alarms_are_looked_for_at_lower_thresholds_too() -> None:
    alarms = np.array([[3, 2, 1, 0, 0], [3, 0, 0, 0, 0], [0, 0, 1, 0, 0]])
    own = [18 / 6, 4 / 2, 2 / 2, 1, 1]
    assert cluster_sizes(alarms, 0.05).tolist() == [own[0], own[0], own[1], 1, 1]
    assert cluster_sizes(alarms, 0.025).tolist() == [own[0], own[0], own[0], own[1], 1]


def test_no_threshold_below_one_that_fails_is_allowed() -> None:
    assert allowed(np.array([1.0, 3.0, 2.0, 1.0]), 2.0).tolist() == [False, False, True, True]
    assert not allowed(np.array([1.0, 1.0, 1.0, 3.0]), 2.0).any()


@pytest.mark.parametrize(("size", "n"), [(1, 60), (4, 60), (4, 300)])
def test_thresholds_that_are_allowed_keep_the_budget(size: int, n: int) -> None:
    """Videos of .1 h whose alarms come in clusters of `size`: any choice among those allowed, in 95 % of 1000 draws."""
    rng = np.random.default_rng(size)
    per_hour = np.geomspace(20, 0.1, 30)  # true rates, thresholds ascending
    broken, offered = 0, 0
    for _ in range(1000):
        clusters = rng.poisson(0.1 * per_hour / size, (n, 30))
        alarms = size * clusters
        keeps = allowed(rate_bounds(alarms.sum(0), 0.1 * n, 0.95, cluster_sizes(alarms, 1 / 30)), 2.0)
        broken += bool((per_hour[keeps] > 2.0).any())
        offered += bool(keeps.any())
    assert broken <= 50 + 3 * np.sqrt(50)
    assert offered > 500


@pytest.mark.parametrize(("n", "rate"), [(9, 0.1), (19, 0.1), (19, 0.3), (50, 0.05), (50, 0.02)])
def test_the_conformal_threshold_keeps_its_rate(n: int, rate: float) -> None:
    """200 repetitions: new videos of any distribution, continuous here, pass the threshold as often as promised."""
    rng = np.random.default_rng(n)
    passed = []
    for _ in range(200):
        skill = rng.normal()  # exchangeable, not independent: what the videos of a day have in common
        maxima = np.exp(skill + rng.normal(size=n + 100))
        passed.append((maxima[n:] > conformal_threshold(maxima[:n], rate)).mean())
    error = 3 * np.std(passed) / np.sqrt(len(passed))
    assert np.mean(passed) <= rate + error
    assert np.mean(passed) >= rate - 1 / (n + 1) - error  # and not much more careful than it needs to be


def test_too_few_normal_videos_are_named() -> None:
    with pytest.raises(FeatureError, match=r"8 normal videos cannot guarantee .* of 0\.1, only 0\.111 or more"):
        conformal_threshold(np.arange(8.0), 0.1)
    assert conformal_threshold(np.arange(9.0), 0.1) == 8.0


@pytest.mark.parametrize(("n", "rate", "confidence"), [(8, 0.2, 0.95), (19, 0.05, 0.95), (60, 0.05, 0.9)])
def test_the_realised_share_is_the_quantile_that_counting_gives(n: int, rate: float, confidence: float) -> None:
    """The share is above s if at least `rank` of the n scores are below the (1 - s)-quantile of the scores."""
    rank = int(np.searchsorted(np.arange(1, n + 1), (n + 1) * (1 - rate) - 1e-9)) + 1
    exact = brentq(lambda s: binom.sf(rank - 1, n, 1 - s) - (1 - confidence), 1e-9, 1 - 1e-9)
    assert realised_share(n, rate, confidence) == pytest.approx(exact)
    rng = np.random.default_rng(n)
    shares = np.array([1 - conformal_threshold(rng.random(n), rate) for _ in range(4000)])
    assert np.mean(shares <= exact) == pytest.approx(confidence, abs=0.015)


@given(st.integers(1, 40), st.floats(0.5, 30.0), st.integers(0, 100))
def test_a_window_holds_the_segments_that_begin_in_it(n: int, window_s: float, seed: int) -> None:
    scores = np.random.default_rng(seed).random(n)
    video = scored_video(scores, length=16)  # segments of 1.6 s
    expected = [
        max(scores[k] for k in range(n) if i * 1.6 <= k * 1.6 < i * 1.6 + window_s - 1e-6)
        for i in range(n)
        if i * 1.6 + window_s <= n * 1.6 + 1e-6
    ]
    assert window_peaks(video, window_s).tolist() == expected


def test_holes_are_no_part_of_a_window() -> None:
    video = scored_video([0.1, 0.2, 0.3, 0.4], length=10)
    times = np.array([[0.0, 1.0], [1.0, 2.0], [602.0, 603.0], [603.0, 604.0]])
    holed = ScoredVideo(replace(video.record, span_starts_s=()), video.spans, video.scores, times)
    assert window_peaks(holed, 2.0).tolist() == [0.2, 0.3, 0.4]


def test_one_window_of_each_video_is_drawn() -> None:
    videos = [scored_video(np.full(20, i / 10), name=f"v{i}") for i in range(5)] + [scored_video([0.9] * 3)]
    assert drawn_peaks(videos, 1.0).tolist() == [i / 10 for i in range(5)]  # the last one is shorter
    rising = [scored_video(np.arange(20) / 20, name=f"v{i}") for i in range(200)]
    drawn = drawn_peaks(rising, 1.0)
    assert drawn.tolist() == drawn_peaks(rising, 1.0).tolist()
    assert set(drawn) == set(window_peaks(rising[0], 1.0))  # every window, sooner or later


def test_the_words_say_lengths_and_what_the_share_can_be() -> None:
    rng = np.random.default_rng(0)
    videos = [scored_video(rng.random(10 + i), name=f"v{i}", length=10) for i in range(9)]
    params = CalibrateParams(conformal_rate=0.2)
    promise = window_promise(videos, params)
    assert promise.words == (
        "over many calibrations at most 0.2 of windows of 10 s of new normal videos alarm; with these 9 videos of 10 "
        "to 18 s the share can be up to 0.43 (95 % confidence)"
    )
    assert promise.up_to == 0.43 >= realised_share(9, 0.2, 0.95) > 0.42
    longer = window_promise(videos, params.model_copy(update={"conformal_window_s": 14.0}))
    assert "windows of 14 s of new normal videos alarm; with these 5 videos of 14 to 18 s" in longer.words
    with pytest.raises(FeatureError, match=r"no normal video is as long as a window of 20 s: the longest has 18 s"):
        window_promise(videos, params.model_copy(update={"conformal_window_s": 20.0}))


def test_footage_that_is_anomalous_throughout_is_refused() -> None:
    calm, loud = scored_video([0.2, 0.3, 0.9]), scored_video([0.7, 0.8, 0.9, 0.9])
    check_mostly_normal([calm], 0.5)
    check_mostly_normal([loud], 0.85)  # half of it
    with pytest.raises(FeatureError, match=r"finds 71% of the segments of the normal videos anomalous"):
        check_mostly_normal([calm, loud], 0.5)


def test_the_benchmark_counts_what_its_population_truly_does() -> None:
    """Half of the videos alarm above .5 in every window, half in none; videos without an alarm keep the budget."""
    module = benchmark("promises")
    loud, calm = np.tile([0.9, 0.1], 20), np.full(40, 0.1)
    normal = [scored_video(loud if i % 2 else calm, name=f"n{i}", length=100) for i in range(4)]
    assert module.alarm_share(normal, 0.5) == 0.5
    assert module.per_hour(normal, OperatingPoint(0.0, 0.5)) == pytest.approx(40 / (4 * 400 / 3600))
    row = module.conformal_row(normal, 9, 0.2, 20)
    assert row["stated_up_to"] == 0.43
    assert 0 <= row["mean_share"] <= 0.5
    anomalous = [scored_video(np.append(loud, 1.0), [(4000, 4100)], f"a{i}", length=100) for i in range(3)]
    kept = module.budget_row([scored_video(calm, name="calm", length=1000)], anomalous, 50, 1.0, 2)
    assert (kept["offered"], kept["mean_rate"], kept["over_budget"]) == (1.0, 0.0, 0.0)
    short = module.budget_row([scored_video(calm, name="calm", length=1000)], anomalous, 2, 1.0, 2)
    assert (short["offered"], short["mean_rate"]) == (0.0, None)
