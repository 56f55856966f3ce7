"""Event matching against enumeration of all assignments, and figures whose answer is known."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headhunt_svc.core.event_metrics import (
    VideoEvents,
    delay_figures,
    delays,
    event_figures,
    false_alarms,
    hits,
    temporal_iou,
)
from headhunt_svc.types import FrameSpan


def apart(numbers: list[int]) -> list[FrameSpan]:
    """Spans that do not touch."""
    edges = np.cumsum(np.array(numbers) + 1)
    return [FrameSpan(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=False)]


spans = st.lists(st.integers(0, 6), min_size=0, max_size=10).map(apart)
ious = st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5])


def brute_force(events: list[FrameSpan], truth: list[FrameSpan], min_iou: float) -> int:
    """The most events that can have a true span each, by trying every assignment."""
    slots = [*range(len(truth)), *[-1] * len(events)]
    return max(
        sum(j >= 0 and iou_of_sets(e, truth[j]) >= min_iou for e, j in zip(events, order, strict=True))
        for order in set(permutations(slots, len(events)))
    )


def iou_of_sets(one: FrameSpan, other: FrameSpan) -> float:
    a, b = set(range(*one)), set(range(*other))
    return len(a & b) / len(a | b)


@given(spans, spans)
def test_iou_equals_that_of_sets_of_frames(one: list[FrameSpan], other: list[FrameSpan]) -> None:
    for a in one:
        for b in other:
            assert temporal_iou(a, b) == iou_of_sets(a, b)


@settings(max_examples=150)
@given(spans, spans, ious, st.randoms(use_true_random=False))
def test_matching_equals_brute_force(events: list[FrameSpan], truth: list[FrameSpan], min_iou: float, rnd) -> None:
    events, truth = events[:4], truth[:3]
    rnd.shuffle(events)
    matched = hits(events, truth, min_iou)
    for k in range(len(events) + 1):
        assert matched[:k].sum() == brute_force(events[:k], truth, min_iou)


@given(st.lists(st.tuples(spans, spans), min_size=1, max_size=4), ious, st.integers(0, 1000))
def test_figures_equal_their_definitions(pairs: list, min_iou: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    videos = [VideoEvents(tuple(e), tuple(np.round(rng.random(len(e)), 1)), tuple(t), 10.0, 10.0) for e, t in pairs]
    figures = event_figures(videos, min_iou)
    n_events, n_true = (sum(map(len, x)) for x in zip(*pairs, strict=True))

    def hit_above(peak: float) -> tuple[int, int]:
        kept = [[e for e, p in zip(v.events, v.peaks, strict=True) if p >= peak] for v in videos]
        return (
            sum(int(hits(k, v.truth, min_iou).sum()) for k, v in zip(kept, videos, strict=True)),
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
    assert hits([FrameSpan(0, 30)], truth, 0.1).tolist() == [True]
    assert hits([FrameSpan(0, 5), FrameSpan(6, 10)], truth, 0.1).tolist() == [True, False]
    # the surer event fits both true spans, the other only the first: both are hits
    assert hits([FrameSpan(0, 25), FrameSpan(0, 3)], truth, 0.1).tolist() == [True, True]


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
    assert delay_figures(videos) == {"true_spans": 3, "found": 2, "mean_s": 1.5, "median_s": 1.5}
    assert delay_figures([video([], [(1, 2)])]) == {"true_spans": 1, "found": 0, "mean_s": None, "median_s": None}


def test_false_alarms_are_of_normal_video_only() -> None:
    videos = [video([(1, 2), (5, 6), (8, 9)], []), video([], []), video([(1, 2)], [(30, 40)])]
    assert false_alarms(videos) == {"events": 3, "hours": 2.0, "per_hour": 1.5}
    assert false_alarms(videos[2:]) == {"events": 0, "hours": 0.0, "per_hour": None}
