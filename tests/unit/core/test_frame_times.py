"""Seconds to frames and back, beside an enumeration of the frames."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headhunt_svc.core.frame_times import FrameTimes, span_seconds
from headhunt_svc.types import FrameSpan, edges_of

STEPS = st.lists(st.floats(0.01, 0.5), min_size=3, max_size=60)


def variable(steps: list[float]) -> FrameTimes:
    """A video whose first frame stays twice as long as a constant rate allows, so that it has none."""
    seconds = np.cumsum([0.0, 1.5 * max(steps), *steps])
    return FrameTimes(seconds, float(seconds[-1] + steps[-1]), 1 / max(steps))


@given(STEPS, st.data(), st.floats(-1e-7, 1e-7))
def test_times_of_frames_and_back(steps: list[float], data: st.DataObject, noise: float) -> None:
    times = variable(steps)
    assert not times.constant
    # frames that are further apart than what counts as noise
    clear = [0, *(np.flatnonzero(np.diff(times.seconds) > 0.06 / times.fps) + 1).tolist()]
    start, stop = sorted(data.draw(st.lists(st.sampled_from(clear), min_size=2, max_size=2, unique=True)))
    span = times.frames(max(times.seconds[start] + noise, 0.0), times.seconds[stop] + noise)
    assert span == (start, stop)


@given(STEPS, st.floats(0, 1), st.floats(0, 1))
def test_a_span_holds_the_frames_that_are_shown_in_it(steps: list[float], one: float, other: float) -> None:
    times = variable(steps)
    start_s, stop_s = sorted((one * times.stop_s, other * times.stop_s))
    slack = 0.05 / times.fps
    certain = {i for i, t in enumerate(times.seconds) if start_s <= t < stop_s - slack}
    possible = {i for i, t in enumerate(times.seconds) if start_s - slack <= t < stop_s}
    if not certain:
        return
    assert certain <= set(range(*times.frames(start_s, stop_s))) <= possible


@given(st.sampled_from([10.0, 12.5, 25.0, 30000 / 1001, 60.0]), st.floats(0, 9), st.floats(0.2, 9), st.integers(0, 3))
def test_at_a_constant_rate_an_end_goes_to_the_nearest_frame(
    fps: float, start_s: float, length_s: float, digits: int
) -> None:
    n = int(20 * fps)
    exact, in_milliseconds = FrameTimes.at_rate(n, fps), FrameTimes(np.round(np.arange(n) / fps, 3), n / fps, fps)
    start_s, stop_s = round(start_s, digits), round(start_s + length_s, digits)
    if round(start_s * fps) == round(stop_s * fps):
        return
    for times in (exact, in_milliseconds):
        assert times.constant
        start, stop = times.frames(start_s, stop_s)
        for frame, second in ((start, start_s), (stop, stop_s)):
            assert abs(frame / fps - second) <= 0.5 / fps + 1e-9


def test_a_rate_that_is_not_quite_the_stated_one_is_not_constant() -> None:
    assert FrameTimes(np.arange(100) * 1001 / 30000, 100 * 1001 / 30000, 30.0).constant  # a tenth of a frame
    hour = FrameTimes(np.arange(108_000) * 1001 / 30000, 3603.6, 30.0)
    assert not hour.constant
    assert hour.frames(1001.0, 2002.0) == (30_000, 60_000)  # not (30030, 60060)


def test_spans_past_the_end_and_in_a_hole_are_named() -> None:
    times = FrameTimes(np.array([0.0, 0.1, 0.2, 600.0, 600.1]), 600.2, 10.0)
    assert times.frames(0.1, 600.05) == (1, 4)
    assert times.frames(600.0, 600.24) == (3, 5)  # nearer to the last frame than to another one
    for start_s, stop_s in ((0.1, 600.3), (601.0, 602.0)):
        with pytest.raises(ValueError, match=r"the video ends at 600\.200 s"):
            times.frames(start_s, stop_s)
    with pytest.raises(ValueError, match="no frame is shown from 1 s to 599 s"):
        times.frames(1.0, 599.0)
    with pytest.raises(ValueError, match=r"the video ends at 2\.000 s"):
        FrameTimes.at_rate(20, 10.0).frames(1.0, 2.1)


@given(STEPS, st.data())
def test_segments_of_one_frame_tell_the_exact_seconds(steps: list[float], data: st.DataObject) -> None:
    times = variable(steps)
    n = len(times)
    shown = np.stack([times.seconds, np.append(times.seconds[1:], times.stop_s)], 1)
    start = data.draw(st.integers(0, n - 1))
    stop = data.draw(st.integers(start + 1, n))
    edges = edges_of([FrameSpan(i, i + 1) for i in range(n)])
    assert span_seconds(FrameSpan(start, stop), edges, shown) == pytest.approx((shown[start, 0], shown[stop - 1, 1]))


def test_a_span_that_ends_at_a_hole_does_not_reach_across_it() -> None:
    edges, times = edges_of([FrameSpan(0, 10), FrameSpan(10, 30)]), np.array([[0.0, 1.0], [600.0, 601.0]])
    assert span_seconds(FrameSpan(5, 10), edges, times) == (0.5, 1.0)
    assert span_seconds(FrameSpan(10, 20), edges, times) == (600.0, 600.5)
    assert span_seconds(FrameSpan(5, 20), edges, times) == (0.5, 600.5)
