"""Cuts videos into segments by the times of their frames, and samples the frames that the model sees.

The one definition of segments in this package: every frame belongs to exactly one segment, the tail included, whether
or not the windows that the model sees overlap.
"""

import math

import numpy as np
from jaxtyping import Bool, Float

from headhunt_svc.params import SegmentationParams
from headhunt_svc.types import FrameSpan, Segment

_SLACK = 1e-6  # share of a stride by which a timestamp may miss its boundary (1/3 s is not a binary number)


def sample_frames(times_s: Float[np.ndarray, " frame"], n: int) -> tuple[int, ...]:
    """Sample n positions, uniform in time: the frame on screen at the start of each of n equal slices.

    A stretch of fewer frames than n repeats some of them.
    """
    count = len(times_s)
    if count == 0:
        raise ValueError("a segment without frames")
    step = (times_s[-1] - times_s[0]) / (count - 1) if count > 1 else 1.0  # the last frame stays on screen as long
    duration = times_s[-1] - times_s[0] + (step if step > 0 else 1.0)
    starts_s = times_s[0] + duration * np.arange(n) / n
    positions = np.searchsorted(times_s, starts_s + 1e-6 * duration, side="right") - 1
    return tuple(int(p) for p in np.clip(positions, 0, count - 1))


class Segmenter:
    """Cuts a video while it is decoded: push every frame's time, get each segment as soon as it is complete.

    Segment t stands for the frames of stride t. The model sees `frames_per_segment` frames of the window around them,
    which is the same stretch unless the stride is smaller than the window; the video's ends cut windows short.
    Positions are counted in strides from the first frame. After a hole in the video another Segmenter goes on, with
    the numbers of its first frame and segment.
    """

    def __init__(self, video_id: str, params: SegmentationParams, first_frame: int = 0, first_index: int = 0) -> None:
        self._video_id, self._params, self._first = video_id, params, first_frame
        self._stride, self._by_number = params.stride, params.length_frames is not None
        self._margin = (params.length / params.stride - 1) / 2  # of the window, on either side of its stride
        self._times: list[float] = []  # of the frames that are still needed, the first of them `first_needed`
        self._positions: list[float] = []
        self.first_needed = self._open = self._n = first_frame  # _open: without a segment; _n: not pushed yet
        self.n_segments = first_index  # of the video so far
        self._first_s = 0.0

    def push(self, time_s: float) -> list[Segment]:
        """Add the next frame (times do not decrease); returns the segments that it completes."""
        if self._n == self._first:
            self._first_s = time_s
        distance = self._n - self._first if self._by_number else time_s - self._first_s
        position = distance / self._stride
        closed = []
        while self._open < self._n and position >= self._open_stride() + 1 + self._margin - _SLACK:
            closed.append(self._close())
        self._times.append(time_s)
        self._positions.append(position)
        self._n += 1
        return closed

    def finish(self) -> list[Segment]:
        """The segments that the end of the video completes; the last is the tail, however short."""
        closed = []
        while self._open < self._n:
            closed.append(self._close())
        return closed

    def _open_stride(self) -> int:
        return math.floor(self._positions[self._open - self.first_needed] + _SLACK)

    def _close(self) -> Segment:
        stride, base = self._open_stride(), self.first_needed
        positions, times = np.asarray(self._positions) + _SLACK, np.asarray(self._times)
        stop = base + int(np.searchsorted(positions, stride + 1))
        window = slice(*np.searchsorted(positions, (stride - self._margin, stride + 1 + self._margin)).tolist())
        sampled = sample_frames(times[window], self._params.frames_per_segment)
        span = FrameSpan(self._open, stop)
        segment = Segment(self._video_id, self.n_segments, span, tuple(base + window.start + i for i in sampled))
        self._open, self.n_segments = stop, self.n_segments + 1
        following = self._open_stride() if stop < self._n else stride + 1
        unneeded = int(np.searchsorted(positions, following - self._margin))
        del self._times[:unneeded], self._positions[:unneeded]
        self.first_needed += unneeded
        return segment


def segments(video_id: str, times_s: Float[np.ndarray, " frame"], params: SegmentationParams) -> tuple[Segment, ...]:
    """All segments of a video from the times of all its frames."""
    segmenter = Segmenter(video_id, params)
    closed = [s for t in times_s for s in segmenter.push(float(t))]
    return tuple(closed + segmenter.finish())


def segment_labels(
    truth: Bool[np.ndarray, " frame"], spans: list[FrameSpan], min_anomalous_share: float
) -> Bool[np.ndarray, " segment"]:
    """Label segments: is at least this share of the segment's frames anomalous?"""
    return np.array([truth[s.start : s.stop].mean() >= min_anomalous_share for s in spans], bool)
