"""Smooth, threshold, and turn runs of segments into events."""

import numpy as np
from jaxtyping import Float, Float64

from headhunt_svc.types import Event, FrameSpan, Locator

TRUNCATE = 4.0  # the kernel ends at this many sigma, as in scipy


def kernel(sigma_segments: float) -> Float64[np.ndarray, " tap"]:
    """Gaussian weights, not normalised (see `smooth`)."""
    radius = int(TRUNCATE * sigma_segments + 0.5)
    if radius == 0:
        return np.ones(1)
    return np.asarray(np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma_segments) ** 2))


def smooth(scores: Float[np.ndarray, " segment"], sigma_segments: float) -> Float64[np.ndarray, " segment"]:
    """1-D Gaussian filter with normalised borders: length and constants are kept (p * G_sigma of the method)."""
    g = kernel(sigma_segments)
    if len(g) == 1:
        return np.asarray(scores, np.float64)
    padded = np.convolve(scores, g), np.convolve(np.ones(len(scores)), g)
    middle = slice(len(g) // 2, len(g) // 2 + len(scores))
    return np.asarray(np.clip(padded[0][middle] / padded[1][middle], 0.0, 1.0))


def events(
    smoothed: Float[np.ndarray, " segment"],
    spans: list[FrameSpan],
    starts_s: Float[np.ndarray, " segment"],
    stops_s: Float[np.ndarray, " segment"],
    locator: Locator,
) -> list[Event]:
    """Runs of neighbouring segments with a score above the threshold; a gap in the frames ends a run.

    starts_s, stops_s: when each segment begins and ends, seconds from the start of the video.
    """
    found: list[Event] = []
    run: list[int] = []

    def close() -> None:
        if run:
            peak = max(run, key=lambda i: smoothed[i])
            span = FrameSpan(spans[run[0]].start, spans[run[-1]].stop)
            middle = float(starts_s[peak] + stops_s[peak]) / 2
            found.append(Event(span, float(starts_s[run[0]]), float(stops_s[run[-1]]), float(smoothed[peak]), middle))
            run.clear()

    for i, above in enumerate(smoothed > locator.threshold):
        if run and (not above or spans[i].start != spans[run[-1]].stop):
            close()
        if above:
            run.append(i)
    close()
    return found
