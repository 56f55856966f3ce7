"""Timestamps -> segments: which frames belong together and which of them the model sees.

The one definition of segments in this package: every frame belongs to exactly one segment, the tail included.
"""

import numpy as np
from jaxtyping import Float

from headhunt_svc.params import SegmentationParams
from headhunt_svc.types import FrameSpan, Segment

_SLACK = 1e-6  # share of a segment by which a timestamp may miss its boundary (1/3 s is not a binary number)


def segment_index(seconds_since_first: float, params: SegmentationParams, frame: int) -> int:
    """The segment of frame number `frame`, shown `seconds_since_first` after the first frame."""
    if params.length_frames is not None:
        return frame // params.length_frames
    assert params.length_s is not None
    return int(np.floor(seconds_since_first / params.length_s + _SLACK))


def sample_frames(times_s: Float[np.ndarray, " frame"], n: int) -> tuple[int, ...]:
    """n positions within a segment, uniform in time: the frame on screen at the start of each of n equal slices.

    times_s are the frames' times. A segment with fewer frames than n shows some of them more than once.
    """
    count = len(times_s)
    if count == 0:
        raise ValueError("a segment without frames")
    step = (times_s[-1] - times_s[0]) / (count - 1) if count > 1 else 1.0  # the last frame stays on screen as long
    duration = times_s[-1] - times_s[0] + (step if step > 0 else 1.0)
    wanted = times_s[0] + duration * np.arange(n) / n
    positions = np.searchsorted(times_s, wanted + 1e-6 * duration, side="right") - 1
    return tuple(int(p) for p in np.clip(positions, 0, count - 1))


class Segmenter:
    """Cuts a video while it is decoded: push every frame's time, get each segment as soon as it is complete."""

    def __init__(self, video_id: str, params: SegmentationParams) -> None:
        self._video_id, self._params = video_id, params
        self._times: list[float] = []  # of the open segment
        self._start = self._done = 0  # first frame of the open segment; segments made
        self._first_s = 0.0
        self._current = 0

    def push(self, time_s: float) -> Segment | None:
        """Take the next frame (times do not decrease); returns the segment that it closes, if any."""
        frame = self._start + len(self._times)
        if frame == 0:
            self._first_s = time_s
        index = segment_index(time_s - self._first_s, self._params, frame)
        closed = self.finish() if self._times and index != self._current else None
        self._current = index
        self._times.append(time_s)
        return closed

    def finish(self) -> Segment | None:
        """Close the open segment: at the end of the video this is the tail, however short."""
        if not self._times:
            return None
        inside = sample_frames(np.asarray(self._times), self._params.frames_per_segment)
        span = FrameSpan(self._start, self._start + len(self._times))
        segment = Segment(self._video_id, self._done, span, tuple(self._start + i for i in inside))
        self._start, self._done, self._times = span.stop, self._done + 1, []
        return segment


def segments(video_id: str, times_s: Float[np.ndarray, " frame"], params: SegmentationParams) -> tuple[Segment, ...]:
    """All segments of a video whose frames' times are known."""
    segmenter = Segmenter(video_id, params)
    closed = [segmenter.push(float(t)) for t in times_s] + [segmenter.finish()]
    return tuple(s for s in closed if s is not None)


def frame_values(spans: list[FrameSpan], values: np.ndarray, n_frames: int) -> np.ndarray:
    """Each segment's value repeated over its frames, float64[n_frames]; frames in no span are NaN (a gap)."""
    result = np.full(n_frames, np.nan)
    for span, value in zip(spans, values, strict=True):
        result[span.start : span.stop] = value
    return result


def segment_labels(truth: np.ndarray, spans: list[FrameSpan], min_anomalous_share: float) -> np.ndarray:
    """bool[T]: is at least this share of the segment's frames anomalous?"""
    return np.array([truth[s.start : s.stop].mean() >= min_anomalous_share for s in spans], bool)
