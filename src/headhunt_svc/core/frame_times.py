"""Seconds to frames and back, by the times at which the frames of a video are shown."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from headhunt_svc.types import FrameSpan

CONSTANT = 0.25  # share of a frame by which the times of a constant-rate video may differ from number / rate
_SLACK = 0.05  # share of a frame by which a time may miss a frame: containers round to milliseconds, labels to digits


@dataclass(frozen=True, slots=True)
class FrameTimes:
    """When each frame of a video is shown, and when the last one ends: seconds from the first; fps: the typical rate.

    In a `constant` video frame i is shown at i / fps, up to what containers round.
    """

    seconds: Float64[np.ndarray, " frame"]
    stop_s: float
    fps: float

    @classmethod
    def at_rate(cls, n_frames: int, fps: float) -> "FrameTimes":
        """The times of frames that all come at one rate."""
        return cls(np.arange(n_frames) / fps, n_frames / fps, fps)

    def __len__(self) -> int:
        return len(self.seconds)

    @property
    def constant(self) -> bool:
        """Do all frames come at the typical rate?"""
        by_rate = np.arange(len(self)) / self.fps
        return bool((np.abs(self.seconds - by_rate) <= CONSTANT / self.fps).all())

    def frames(self, start_s: float, stop_s: float) -> FrameSpan:
        """The frames that are shown from start_s until before stop_s.

        Labels are often rounded: at a constant rate, an end between two frames becomes the nearer one.

        Raises:
            ValueError: the video ends before, or no frame is shown in this time.
        """
        if self.constant:
            span = FrameSpan(round(start_s * self.fps), round(stop_s * self.fps))
            too_long = span.stop > len(self)
        else:
            ends = np.searchsorted(self.seconds, np.array([start_s, stop_s]) - _SLACK / self.fps)
            span = FrameSpan(*ends.tolist())
            too_long = stop_s > self.stop_s + 0.5 / self.fps
        if too_long:
            raise ValueError(f"a span from {start_s:g} s to {stop_s:g} s, but the video ends at {self.stop_s:.3f} s")
        if span.start >= span.stop:
            raise ValueError(f"no frame is shown from {start_s:g} s to {stop_s:g} s")
        return span


def span_seconds(
    span: FrameSpan, edges: Int64[np.ndarray, "segment 2"], times: Float64[np.ndarray, "segment 2"]
) -> tuple[float, float]:
    """When a span of frames begins and ends, from the frames and seconds of the segments around it.

    Within a segment the frames count as equally long.
    """
    first, last = (np.searchsorted(edges[:, 0], np.array([span.start, span.stop - 1]), "right") - 1).tolist()

    def seconds(segment: int, frame: int) -> float:
        (start, stop), (start_s, stop_s) = edges[segment], times[segment]
        return float(start_s + (frame - start) / (stop - start) * (stop_s - start_s))

    return seconds(first, span.start), seconds(last, span.stop)
