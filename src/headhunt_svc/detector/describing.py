"""Finds the peak of every event while a video is being scored, and adds what the model says about it.

An event is known once the smoothed scores around it are final. Until then the pixels of the segments that may be its
peak are kept: as many as the smoothing looks ahead, and one of the event that has not ended. So the video is decoded
once, and memory does not grow with it.
"""

from collections.abc import Callable, Generator, Iterable
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float64

from headhunt_svc.core.localization import is_contiguous, kernel
from headhunt_svc.core.steady import WithoutSteady
from headhunt_svc.detector.batches import PixelBatch, ScoredBatch, TimedSegment, located
from headhunt_svc.model.extractor import VisionCache
from headhunt_svc.types import Event, OperatingPoint


class EventPeaks:
    """The peak segment of every event, as soon as it is certain."""

    def __init__(self, point: OperatingPoint) -> None:
        self._point = point
        # a whole kernel, not half of it: then every smoothed score that counts as final has the same bits at the end
        self._lookahead = len(kernel(point.sigma_segments))
        self._segments: list[TimedSegment] = []
        self._video = WithoutSteady(point.smoothing)
        self._scores: list[float] = []  # to be smoothed, of all segments but the last ones
        self._pixels: dict[int, torch.Tensor] = {}  # by the segment's place in the video
        self._ended = 0  # events whose peak was returned

    @property
    def kept(self) -> int:
        """How many segments' pixels are kept."""
        return len(self._pixels)

    def add(
        self,
        batch: PixelBatch,
        raw: Float64[np.ndarray, " segment"],
        novelty: Float64[np.ndarray, " segment"] | None = None,
    ) -> list[PixelBatch]:
        """Add scored segments. Returns the peaks of the events that have ended, each as a batch of one segment."""
        n_before = len(self._segments)
        self._segments += batch.segments
        for i, segment in enumerate(batch.segments, n_before):
            new = None if novelty is None else float(novelty[i - n_before])
            follows = i > 0 and is_contiguous(self._segments[i - 1].stop_s, segment.start_s)
            self._scores += self._video.add(float(raw[i - n_before]), new, follows)
        self._pixels |= {n_before + i: pixels for i, pixels in enumerate(batch.pixels)}
        n, n_final = len(self._segments), max(len(self._scores) - self._lookahead, 0)
        smoothed, events = self._located()
        last_start = self._segments[n_final - 1].segment.span.start if n_final else 0
        ended = [e for e in events if e.span.stop <= last_start]
        peaks = [self._peak(e.peak_segment, batch.cache) for e in ended[self._ended :]]
        self._ended = len(ended)

        needed = set(range(n_final, n))
        for event in events[len(ended) :]:
            first = next(i for i, s in enumerate(self._segments) if s.segment.span.start == event.span.start)
            if first < n_final:
                needed.add(first + int(np.argmax(smoothed[first:n_final])))
        # copies, as a part of a batch would keep the whole batch in memory
        self._pixels = {i: p.clone() if i >= n_before else p for i, p in self._pixels.items() if i in needed}
        return peaks

    def finish(self, cache: VisionCache) -> list[PixelBatch]:
        """The peaks of the events that reach to the end of the video, or to where it was not certain yet."""
        self._scores += self._video.finish()
        _, events = self._located()
        return [self._peak(e.peak_segment, cache) for e in events[self._ended :]]

    def _located(self) -> tuple[Float64[np.ndarray, " segment"], list[Event]]:
        if not self._scores:
            return np.zeros(0), []
        return located(self._segments[: len(self._scores)], np.array(self._scores), self._point)

    def _peak(self, place: int, cache: VisionCache) -> PixelBatch:
        return PixelBatch((self._segments[place],), self._pixels[place][None], cache)


def described(
    batches: Iterable[tuple[PixelBatch, ScoredBatch]], point: OperatingPoint, describe: Callable[[PixelBatch], str]
) -> Generator[ScoredBatch]:
    """The scored batches with descriptions of the events' peaks; each is passed on when the next one is scored.

    describe: the model's words for a batch of one segment.
    """
    peaks, waiting = EventPeaks(point), None

    def words(ended: Iterable[PixelBatch]) -> dict[int, str]:
        return {peak.segments[0].segment.index: describe(peak) for peak in ended}

    for pixels, scored in batches:
        if waiting is not None:
            yield waiting
        waiting = replace(scored, descriptions=words(peaks.add(pixels, scored.raw, scored.novelty)))
        cache = pixels.cache
    if waiting is not None:
        yield replace(waiting, descriptions={**waiting.descriptions, **words(peaks.finish(cache))})
