"""Which segments are described: the peaks of the report's events, whatever the batches, with few pictures kept."""

from collections.abc import Iterator

import numpy as np
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from headhunt_svc.core.localization import kernel
from headhunt_svc.detector.batches import PixelBatch, ScoredBatch, TimedSegment, located
from headhunt_svc.detector.describing import EventPeaks, described
from headhunt_svc.model.extractor import VisionCache
from headhunt_svc.types import FrameSpan, OperatingPoint, Segment, Smoothing

CACHE = VisionCache(0.1)


def segments(n: int, breaks: set[int] = frozenset()) -> list[TimedSegment]:  # type: ignore[assignment]
    """Segments of ten frames and a second; before those in `breaks` there is a hole of a minute."""
    times = [i + 60.0 * sum(b <= i for b in breaks) for i in range(n)]
    return [
        TimedSegment(Segment("v", i, FrameSpan(10 * i, 10 * i + 10), (10 * i,)), t, t + 1) for i, t in enumerate(times)
    ]


def batches(
    of: list[TimedSegment], raw: np.ndarray, size: int, novelty: np.ndarray | None = None
) -> Iterator[tuple[PixelBatch, ScoredBatch]]:
    """Batches in which every segment's pixels are its number."""
    for i in range(0, len(of), size):
        part = slice(i, i + size)
        pixels = torch.tensor([float(s.segment.index) for s in of[part]]).view(-1, 1, 1, 1, 1).expand(-1, 1, 3, 2, 2)
        scored = ScoredBatch(
            tuple(of[part]),
            np.zeros((len(of[part]), 1, 1), np.float32),
            raw[part],
            np.zeros((len(of[part]), 1)),
            novelty=None if novelty is None else novelty[part],
        )
        yield PixelBatch(tuple(of[part]), pixels.clone(), CACHE), scored


@given(
    st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.5000001, 0.7, 1.0]) | st.floats(0, 1), min_size=1, max_size=60),
    st.integers(1, 20),
    st.sampled_from([0.0, 0.5, 0.75, 1.5, 3.0]),
    st.sampled_from(["offline", "causal"]),
    st.sets(st.integers(1, 59), max_size=3),
    st.none() | st.integers(0, 1000),
)
@example([1.0] * 40, 7, 1.5, "offline", set(), None)
@example([0.5] * 40, 1, 0.75, "offline", {20}, None)
def test_the_peaks_of_the_reports_events_are_described_once(
    raw: list[float], size: int, sigma: float, smoothing: Smoothing, breaks: set[int], seed: int | None
) -> None:
    scores, point = np.array(raw), OperatingPoint(sigma, 0.5, smoothing)
    novelty = None if seed is None else np.random.default_rng(seed).normal(1, 2, len(raw))
    timed = segments(len(raw), breaks)
    _, events = located(timed, scores, point, novelty)
    order: list[int] = []

    def describe(peak: PixelBatch) -> str:
        (number,) = peak.pixels[:, 0, 0, 0, 0].tolist()
        assert [s.segment.index for s in peak.segments] == [int(number)]
        order.append(int(number))
        return f"words {number:.0f}"

    given_out = list(described(batches(timed, scores, size, novelty), point, describe))
    assert order == [e.peak_segment for e in events]
    assert {k: v for batch in given_out for k, v in batch.descriptions.items()} == {k: f"words {k}" for k in order}
    assert [s for batch in given_out for s in batch.segments] == timed


@given(st.integers(0, 10_000), st.integers(1, 16), st.sampled_from([0.0, 0.75, 1.5]))
def test_few_pictures_are_kept(seed: int, size: int, sigma: float) -> None:
    """As many as the smoothing looks ahead, and the best of the event that goes on; none keeps its whole batch."""
    raw = np.random.default_rng(seed).random(80) ** 0.5
    peaks = EventPeaks(OperatingPoint(sigma, 0.5))
    for i, (pixels, scored) in enumerate(batches(segments(80), raw, size)):
        peaks.add(pixels, scored.raw)
        if (i + 1) * size > len(kernel(sigma)):
            assert peaks.kept <= len(kernel(sigma)) + 1
            assert all(p.untyped_storage().nbytes() == p.nbytes for p in peaks._pixels.values())


def test_a_peak_is_described_as_soon_as_its_event_has_ended() -> None:
    raw = np.zeros(60)
    raw[10:12] = 1.0
    passed = [b.descriptions for b in described(batches(segments(60), raw, 5), OperatingPoint(0.5, 0.5), lambda _: "x")]
    first = next(i for i, descriptions in enumerate(passed) if descriptions)
    assert 2 <= first <= 4
    assert passed[first] == {10: "x"}
    assert not any(passed[first + 1 :])
