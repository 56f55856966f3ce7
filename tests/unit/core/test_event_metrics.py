"""Event matching against enumeration of all assignments, and figures whose answer is known."""

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headhunt_svc.core.event_metrics import (
    DELAYS_S,
    VideoEvents,
    alike,
    delay_figures,
    delays,
    event_figures,
    false_alarms,
    hits,
    in_time,
    temporal_iou,
)
from headhunt_svc.types import FrameSpan


def apart(numbers: list[int]) -> list[FrameSpan]:
    """Spans that do not touch."""
    edges = np.cumsum(np.array(numbers) + 1)
    return [FrameSpan(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=False)]


spans = st.lists(st.integers(0, 6), min_size=0, max_size=10).map(apart)
FPS = 2.0
# when an event can match a true span: what is tested, its limit, and the same by sets of frames
WAYS = {
    "iou": (alike, (0.1, 0.2, 0.3, 0.4, 0.5), lambda event, span, limit: iou_of_sets(event, span) >= limit),
    "delay": (in_time, (0.0, 0.5, 1.0, 2.0), lambda event, span, limit: first_common(event, span) <= limit * FPS),
}
ways = st.sampled_from([(fit, limit, oracle) for fit, limits, oracle in WAYS.values() for limit in limits])


def brute_force(events: list[FrameSpan], truth: list[FrameSpan], limit: float, oracle: Callable) -> int:
    """The most events that can have a true span each, by trying every assignment."""
    slots = [*range(len(truth)), *[-1] * len(events)]
    return max(
        sum(j >= 0 and oracle(e, truth[j], limit) for e, j in zip(events, order, strict=True))
        for order in set(permutations(slots, len(events)))
    )


def first_common(event: FrameSpan, span: FrameSpan) -> float:
    """Frames from the beginning of the true span to the first frame that is in both."""
    return min(set(range(*event)) & set(range(*span)), default=np.inf) - span.start


def without_peaks(events: list[FrameSpan], truth: list[FrameSpan]) -> VideoEvents:
    return VideoEvents(tuple(events), (0.9,) * len(events), tuple(truth), FPS, 10.0)


def iou_of_sets(one: FrameSpan, other: FrameSpan) -> float:
    a, b = set(range(*one)), set(range(*other))
    return len(a & b) / len(a | b)


@given(spans, spans)
def test_iou_equals_that_of_sets_of_frames(one: list[FrameSpan], other: list[FrameSpan]) -> None:
    for a in one:
        for b in other:
            assert temporal_iou(a, b) == iou_of_sets(a, b)


@settings(max_examples=150)
@given(spans, spans, ways, st.randoms(use_true_random=False))
def test_matching_equals_brute_force(events: list[FrameSpan], truth: list[FrameSpan], way: tuple, rnd) -> None:
    events, truth = events[:4], truth[:3]
    rnd.shuffle(events)
    fit, limit, oracle = way
    matched = hits(fit(without_peaks(events, truth), limit))
    for k in range(len(events) + 1):
        assert matched[:k].sum() == brute_force(events[:k], truth, limit, oracle)


@given(st.lists(st.tuples(spans, spans), min_size=1, max_size=4), ways, st.integers(0, 1000))
def test_figures_equal_their_definitions(pairs: list, way: tuple, seed: int) -> None:
    fit, limit, _ = way
    rng = np.random.default_rng(seed)
    videos = [VideoEvents(tuple(e), tuple(np.round(rng.random(len(e)), 1)), tuple(t), FPS, 10.0) for e, t in pairs]
    figures = event_figures(videos, fit, limit)
    n_events, n_true = (sum(map(len, x)) for x in zip(*pairs, strict=True))

    def hit_above(peak: float) -> tuple[int, int]:
        kept = [[e for e, p in zip(v.events, v.peaks, strict=True) if p >= peak] for v in videos]
        return (
            sum(int(hits(fit(without_peaks(k, v.truth), limit)).sum()) for k, v in zip(kept, videos, strict=True)),
            sum(map(len, kept)),
        )

    n_hits, _ = hit_above(-1)
    assert figures["precision"] == (n_hits / n_events if n_events else None)
    assert figures["recall"] == (n_hits / n_true if n_true else None)
    if not n_true:
        assert figures["f1"] is figures["average_precision"] is None
        return
    if n_hits:
        precision, recall = n_hits / n_events, n_hits / n_true
        assert figures["f1"] == pytest.approx(2 * precision * recall / (precision + recall))
    area, before = 0.0, 0
    for peak in sorted({p for v in videos for p in v.peaks}, reverse=True):
        hit, of = hit_above(peak)
        area, before = area + (hit - before) / n_true * hit / of, hit
    assert figures["average_precision"] == pytest.approx(area)


def test_an_event_is_one_hit_only() -> None:
    truth = [FrameSpan(0, 10), FrameSpan(20, 30)]

    def matched(*events: FrameSpan) -> list[bool]:
        return hits(alike(without_peaks([*events], truth), 0.1)).tolist()

    assert matched(FrameSpan(0, 30)) == [True]
    assert matched(FrameSpan(0, 5), FrameSpan(6, 10)) == [True, False]
    # the surer event fits both true spans, the other only the first: both are hits
    assert matched(FrameSpan(0, 25), FrameSpan(0, 3)) == [True, True]


def video(events: list[tuple[int, int]], truth: list[tuple[int, int]]) -> VideoEvents:
    return VideoEvents(
        tuple(FrameSpan(*e) for e in events), (0.9,) * len(events), tuple(FrameSpan(*t) for t in truth), 10.0, 3600.0
    )


def test_delay_is_from_the_beginning_of_the_true_span_to_its_first_alarm() -> None:
    videos = [
        video([(0, 15), (130, 140)], [(10, 20), (100, 200), (300, 400)]),
        video([(5, 6)], []),
    ]
    assert delays(videos[0]) == [0.0, 3.0, None]
    figures = delay_figures(videos)
    assert {k: figures[k] for k in ("true_spans", "found", "mean_s", "median_s")} == {
        "true_spans": 3, "found": 2, "mean_s": 1.5, "median_s": 1.5,
    }  # fmt: skip
    assert {k: row["recall"] for k, row in figures["within_s"].items()} == {"2": 1 / 3, "5": 2 / 3, "10": 2 / 3}
    # of three events one is in time at first, then two; the peaks are equal
    assert {k: row["average_precision"] for k, row in figures["within_s"].items()} == pytest.approx(
        {"2": 1 / 3 * 1 / 3, "5": 2 / 3 * 2 / 3, "10": 2 / 3 * 2 / 3}
    )
    assert figures["mean_recall"] == pytest.approx(5 / 9)
    assert figures["mean_average_precision"] == pytest.approx((1 + 4 + 4) / 9 / 3)
    assert figures["time_to_alarm"] == pytest.approx((1 + 0.7 + 0) / 3)


def test_without_an_alarm_nothing_is_in_time_and_without_truth_it_is_undefined() -> None:
    row = {"recall": 0.0, "average_precision": 0.0}
    assert delay_figures([video([], [(1, 2)])]) == {
        "true_spans": 1, "found": 0, "mean_s": None, "median_s": None,
        "within_s": dict.fromkeys(("2", "5", "10"), row),
        "mean_recall": 0.0, "mean_average_precision": 0.0, "time_to_alarm": 0.0,
    }  # fmt: skip
    figures = delay_figures([video([(1, 2)], [])])
    assert figures["within_s"]["2"] == {"recall": None, "average_precision": None}
    assert figures["mean_recall"] is figures["mean_average_precision"] is figures["time_to_alarm"] is None


@given(st.lists(st.tuples(spans, spans), min_size=1, max_size=4))
def test_alarms_in_time_equal_those_of_sets_of_frames(pairs: list) -> None:
    """And the time-to-alarm score is the area under recall over the allowed delay, from none to ten seconds."""
    videos = [without_peaks(*pair) for pair in pairs]
    first = [min([np.inf, *(first_common(e, t) for e in v.events)]) / FPS for v in videos for t in v.truth]
    figures = delay_figures(videos)
    if not first:
        assert figures["time_to_alarm"] is None
        return
    for limit in DELAYS_S:
        assert figures["within_s"][f"{limit:g}"]["recall"] == pytest.approx(np.mean([s <= limit for s in first]))
    limits = (np.arange(1000) + 0.5) / 100
    assert figures["time_to_alarm"] == pytest.approx(np.mean([[s <= x for s in first] for x in limits]))


def test_false_alarms_are_of_normal_video_only() -> None:
    videos = [video([(1, 2), (5, 6), (8, 9)], []), video([], []), video([(1, 2)], [(30, 40)])]
    assert false_alarms(videos) == {"events": 3, "hours": 2.0, "per_hour": 1.5}
    assert false_alarms(videos[2:]) == {"events": 0, "hours": 0.0, "per_hour": None}
