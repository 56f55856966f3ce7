import itertools
from collections.abc import Iterable

import numpy as np
import pytest

from headhunt_svc.video.clock import Clock

WRAP_S = 2**33 / 90000


def run(
    timestamps: Iterable[float | None], first_step_s: float = 0.04, period_s: float | None = None
) -> tuple[Clock, list[float]]:
    clock, times = Clock(first_step_s, period_s), []
    for timestamp in timestamps:
        clock.push(None if timestamp is None else float(timestamp))
        times.append(clock.last_s)
    return clock, times


def test_a_steady_rate_is_kept() -> None:
    clock, times = run(5 + np.arange(100) / 25)
    assert times == pytest.approx(np.arange(100) / 25)
    assert (clock.rate, clock.step_s) == (pytest.approx(25), 0.04)
    assert (clock.holes, clock.discontinuities, clock.repaired_times) == ([], [], 0)


@pytest.mark.parametrize("rate", [30.0, 30000 / 1001, 12.5, 59.94, 1.0])
def test_the_rate_is_exact_where_timestamps_are_milliseconds(rate: float) -> None:
    clock, _ = run(np.round(np.arange(1000) / rate, 3), first_step_s=1.0)
    assert clock.rate == pytest.approx(rate, rel=1e-3)


def test_the_typical_rate_is_that_of_most_steps() -> None:
    times = np.cumsum([0, *[0.12] * 17, *[0.04] * 48])
    clock, _ = run(times)
    assert clock.rate == pytest.approx(25)
    assert clock.step_s == 0.04


def test_a_hole_is_named_and_its_time_stays() -> None:
    clock, times = run([*np.arange(50) / 25, *(602 + np.arange(50) / 25)])
    assert [(hole.start_s, hole.stop_s) for hole in clock.holes] == [(pytest.approx(2.0), 602.0)]
    assert times[-1] == pytest.approx(603.96)


def test_slow_footage_has_no_holes() -> None:
    clock, _ = run(np.arange(20) * 5.0, first_step_s=5.0)
    assert clock.holes == []


def test_what_is_known_to_be_lost_is_no_hole() -> None:
    clock = Clock(0.04)
    for timestamp in np.arange(50) / 25:
        clock.push(float(timestamp))
    clock.lose(2.0)
    assert clock.push(10.0)  # it ends the segment nevertheless
    assert clock.holes == []


def test_a_clock_that_is_set_right_after_a_long_loss_ends_the_segment() -> None:
    """There is one picture before, so no step to learn from."""
    clock = Clock(0.04)
    clock.push(1.0)
    clock.lose(6.0)
    assert clock.push(99999.0)
    assert (clock.last_s, clock.holes, len(clock.discontinuities)) == (pytest.approx(5.04), [], 1)


@pytest.mark.parametrize("jump_s", [-4999.0, -0.6, 3700.0, 1e6])
def test_a_clock_that_is_set_is_named_and_taken_out(jump_s: float) -> None:
    timestamps = 5000 + np.arange(200) / 25
    timestamps[100:] += jump_s
    clock, times = run(timestamps)
    assert times == pytest.approx(np.arange(200) / 25)
    assert [(d.time_s, d.jump_s) for d in clock.discontinuities] == [(pytest.approx(4.0), pytest.approx(jump_s))]


@pytest.mark.parametrize("back_s", [5004.0, 60.0, 40000.0])
def test_a_clock_that_is_set_back_is_no_wrap(back_s: float) -> None:
    """FFmpeg adds 2^33 ticks to a transport stream's time that goes back."""
    timestamps = 50000 + np.arange(200) / 25
    timestamps[100:] += WRAP_S - back_s
    clock, times = run(timestamps, period_s=WRAP_S)
    assert times == pytest.approx(np.arange(200) / 25)
    assert [d.jump_s for d in clock.discontinuities] == [pytest.approx(-back_s)]


def test_pictures_without_a_time_or_in_the_wrong_order_follow_the_one_before() -> None:
    clock, times = run([0.0, 0.04, None, 0.12, 0.1, 0.2])
    assert times == pytest.approx([0.0, 0.04, 0.08, 0.12, 0.16, 0.2])
    assert clock.repaired_times == 2


def test_times_always_increase() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        timestamps = np.cumsum(rng.choice([0.04, 0.04, 0.04, 0.0, -0.1, -3.0, 5.0, 4000.0, -9000.0], 200))
        _, times = run([None if rng.random() < 0.05 else float(t) for t in timestamps], period_s=WRAP_S)
        assert all(a < b for a, b in itertools.pairwise(times))
