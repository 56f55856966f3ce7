"""What is kept of a video while it is scored, beside what the whole of its scores says."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headhunt_svc.detector.batches import ScoredBatch, located
from headhunt_svc.events.candidates import Candidates
from headhunt_svc.events.features import MOST_SEGMENTS, NORMAL_SEGMENTS
from headhunt_svc.types import HeadRef, OperatingPoint, Smoothing
from helpers.scored import scored_batches

HEADS = (HeadRef(0, 1),)


def follow(parts: list[ScoredBatch], point: OperatingPoint, **more: Any) -> tuple[Candidates, list[int]]:
    taken: list[int] = []

    def take(index: int, is_needed: bool) -> bytes | None:
        taken.append(index)
        return b"%d" % index if is_needed else None

    candidates = Candidates(point, "d", HEADS, take, **more)
    for part in parts:
        candidates.add(part)
    candidates.finish()
    return candidates, taken


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=60),
    st.integers(1, 9),
    st.floats(0, 3),
    st.floats(0, 1),
    st.sampled_from(["offline", "causal"]),
    st.frozensets(st.integers(0, 59), max_size=3),
    st.none() | st.integers(0, 1000),
)
def test_every_event_has_its_segments_and_its_peak(
    raw: list[float],
    size: int,
    sigma: float,
    threshold: float,
    smoothing: Smoothing,
    holes: frozenset[int],
    seed: int | None,
) -> None:
    point = OperatingPoint(sigma, threshold, smoothing)
    novelty = None if seed is None else np.random.default_rng(seed).normal(1, 2, len(raw))
    parts = scored_batches(np.array(raw), size, holes, novelty=novelty)
    segments = [s for part in parts for s in part.segments]
    smoothed, events = located(segments, np.array(raw), point, novelty)
    if np.isclose(smoothed, threshold, atol=1e-9).any():
        return  # rounding decides
    candidates, taken = follow(parts, point)
    assert taken == list(range(len(raw)))  # every picture is asked for, so none is kept for ever
    for event in events:
        run = candidates.run(event.start_s, event.stop_s)
        assert run is not None
        assert (run.start_s, run.stop_s) == (event.start_s, event.stop_s)
        assert run.peak == pytest.approx(event.peak)
        assert run.picture is not None
        assert smoothed[int(run.picture)] == pytest.approx(event.peak)
        inside = [i for i, s in enumerate(segments) if event.start_s <= s.start_s < event.stop_s]
        features = candidates.features(run)
        assert features.values.ravel().tolist() == inside
        assert features.raw.tolist() == [raw[i] for i in inside]
        assert all(smoothed[int(i)] <= threshold for i in features.normal.ravel())
        n_normal = int((smoothed <= threshold).sum())
        assert len(features.normal) == min(n_normal, NORMAL_SEGMENTS)


def test_no_run_beside_the_events() -> None:
    candidates, _ = follow(scored_batches(np.array([0, 0, 0.9, 0.9, 0]), 2), OperatingPoint(0.0, 0.5))
    assert candidates.run(0.0, 2.0) is None
    assert candidates.run(3.9, 9.0) is not None


def test_a_long_event_keeps_some_of_its_segments_and_a_long_video_a_sample() -> None:
    n = 5 * MOST_SEGMENTS
    candidates, _ = follow(scored_batches(np.full(n, 0.9), 64), OperatingPoint(1.0, 0.5))
    run = candidates.run(0, n)
    assert run is not None
    kept = candidates.features(run).values.ravel()
    assert MOST_SEGMENTS / 2 <= len(kept) <= MOST_SEGMENTS
    assert set(np.diff(kept)) == {8.0}
    raw = np.zeros(3000)
    raw[1500] = 0.9
    candidates, _ = follow(scored_batches(raw, 64), OperatingPoint(0.0, 0.5))
    run = candidates.run(1500, 1501)
    assert run is not None
    normal = candidates.features(run).normal.ravel()
    assert len(set(normal)) == NORMAL_SEGMENTS
    assert 900 < normal.mean() < 2100  # of the whole video
    assert 1500 not in normal


def test_a_span_that_somebody_states_is_the_event() -> None:
    raw = np.array([0.1, 0.2, 0.3, 0.2, 0.9, 0.1])
    candidates, _ = follow(scored_batches(raw, 2), OperatingPoint(0.0, 0.5), span_s=(1.5, 3.5))
    run = candidates.run(1.5, 3.5)
    assert run is not None
    assert (run.start_s, run.stop_s, run.peak, run.peak_s, run.picture) == (1, 4, 0.3, 2.5, b"2")
    assert run.contributions == (0.3,)
    assert candidates.features(run).normal.ravel().tolist() == [0, 5]  # 4 is above the threshold
