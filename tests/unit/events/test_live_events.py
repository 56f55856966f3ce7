"""Events of a live camera: opened, extended and closed as scores come, over lost connections."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headhunt_svc.detector.batches import located
from headhunt_svc.errors import OutputError
from headhunt_svc.events import live as live_module
from headhunt_svc.events.features import NORMAL_SEGMENTS
from headhunt_svc.events.live import MOST_WAITING
from headhunt_svc.events.records import EventRecord, NewEvent
from headhunt_svc.types import OperatingPoint
from helpers.events import NOON
from helpers.live_events import Memory, Stream, Yard, follow, generated, live_events, seconds
from helpers.scored import scored_batches


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=60),
    st.integers(1, 9),
    st.floats(0, 3),
    st.floats(0, 1),
    st.frozensets(st.integers(0, 59), max_size=3),
    st.sampled_from([0.0, 1.0, 2.5, 5.0, 11.0, 60.0]),
)
def test_live_events_are_those_of_the_file_run_that_are_not_close(
    raw: list[float], size: int, sigma: float, threshold: float, holes: frozenset[int], merge_s: float
) -> None:
    point = OperatingPoint(sigma, threshold, "causal")
    parts = scored_batches(np.array(raw), size, holes)
    smoothed, events = located([s for part in parts for s in part.segments], np.array(raw), point)
    if np.isclose(smoothed, threshold, atol=1e-9).any():
        return  # rounding decides
    merged: list[list[float]] = []
    for event in events:
        if merged and event.start_s - merged[-1][1] < merge_s:
            merged[-1][1] = event.stop_s
            merged[-1][2:] = max(merged[-1][2:], [event.peak, -event.peak_s])
        else:
            merged.append([event.start_s, event.stop_s, event.peak, -event.peak_s])
    store = Memory()
    live = live_events(store, point, Yard(merge_s=merge_s))
    live.connected(Stream())
    for _ in live.record(generated(parts)):
        assert sum(e.stop is None for e in store.events.values()) <= 1
    live.close()
    found = [[*seconds(e), e.score, -(e.peak - NOON).total_seconds()] for e in store.events.values()]
    assert [f[:2] for f in found] == [m[:2] for m in merged]
    np.testing.assert_allclose(found, merged, rtol=1e-12, atol=1e-12) if merged else None
    assert store.changes == [(str(i), c) for i in range(len(merged)) for c in ("opened", "closed")]


def test_an_event_closes_when_nothing_was_above_for_the_merge_distance() -> None:
    store = Memory()
    live = live_events(store)
    live.connected(Stream())
    stops = []
    for _ in live.record(generated(scored_batches(np.array([0.1, 0.9, 0.1, 0.1, 0.9, 0.1, 0.1, 0.1, 0.1]), 1))):
        stops.append([e.stop is None for e in store.events.values()])
    assert stops == [[], [True], [True], [True], [True], [True], [True], [False], [False]]
    (event,) = store.events.values()
    assert (seconds(event), event.interrupted) == ((1, 5), False)


@pytest.mark.parametrize(("away_s", "events"), [(1, [(2, 7)]), (2.5, [(2, 8.5)]), (3, [(2, 4), (7, 9)])])
def test_a_stream_that_comes_back_within_the_merge_distance_goes_on_with_its_event(
    away_s: float, events: list[tuple[float, float]]
) -> None:
    store = Memory()
    live = live_events(store)
    follow(live, [0.1, 0.1, 0.9, 0.9])
    live.tick(NOON + timedelta(seconds=4))
    live.tick(NOON + timedelta(seconds=4 + away_s - 0.1))
    assert live.open_event is not None
    follow(live, [0.9, 0.9, 0.1, 0.1, 0.1], begins=4 + away_s)
    assert [seconds(e) for e in store.events.values()] == events
    assert store.changes == [(str(i), c) for i in range(len(events)) for c in ("opened", "closed")]


@pytest.mark.parametrize(("last", "interrupted"), [(0.9, True), (0.1, False)])
def test_an_event_whose_stream_stays_away_ends(last: float, interrupted: bool) -> None:
    store = Memory()
    live = live_events(store)
    follow(live, [0.9, 0.9, last])
    live.tick(NOON + timedelta(days=1))
    live.tick(NOON)  # the clock was set back: the wait begins anew
    live.tick(NOON + timedelta(seconds=2.9))
    assert live.open_event is not None
    live.tick(NOON + timedelta(seconds=3))
    assert live.open_event is None
    (event,) = store.events.values()
    assert (seconds(event)[1], event.interrupted) == (3 if interrupted else 2, interrupted)


def test_a_clock_that_was_set_back_between_two_connections_makes_no_time_twice() -> None:
    store = Memory()
    live = live_events(store)
    follow(live, [0.9, 0.9])
    follow(live, [0.9, 0.1, 0.1, 0.1, 0.1, 0.9], begins=-3600)
    live.close()
    assert [e.stop is not None and e.start <= e.stop for e in store.events.values()] == [True, True]


def test_closing_ends_what_goes_on_as_interrupted() -> None:
    store = Memory()
    live = live_events(store)
    follow(live, [0.1, 0.9])
    live.close()
    live.close()
    (event,) = store.events.values()
    assert (seconds(event), event.interrupted) == ((1, 2), True)


def test_smoothing_that_looks_ahead_is_refused() -> None:
    with pytest.raises(ValueError, match="causal"):
        live_events(Memory(), OperatingPoint(1.0, 0.5, "offline"))


def test_memory_stays_flat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "NORMAL_OVER", 256)
    store = Memory()
    live = live_events(store)
    live.connected(Stream())
    for _ in live.record(generated(scored_batches(np.tile([0.9, 0.1, 0.1, 0.1, 0.1], 400), 1))):
        candidates = live._candidates
        assert len(candidates.runs) <= 1
        assert len(live._ended) == 0
        assert len(candidates._scores) <= 3
        assert len(candidates._normal) <= NORMAL_SEGMENTS
    assert len(store.events) == 400
    kept = [segment.index for segment in live._candidates._normal]
    assert np.median(kept) > 1600  # old ones go


def test_no_more_wait_than_memory_allows(caplog: pytest.LogCaptureFixture) -> None:
    class Full(Memory):
        def add(self, event: NewEvent, **_: Any) -> EventRecord:
            raise OutputError("disk full")

    live = live_events(Full())
    follow(live, [0.9, 0.1, 0.1, 0.1] * (MOST_WAITING + 3))
    assert live.waiting == MOST_WAITING
    assert caplog.text.count("is lost (disk full)") == 3
    assert caplog.text.count("wait to be stored") == 1
