"""Smooth, threshold, and turn runs of segments into events."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from headhunt_svc.types import Event, FrameSpan, OperatingPoint, Smoothing, edges_of

TRUNCATE = 4.0  # the kernel ends at this many sigma, as in scipy


def kernel(sigma_segments: float) -> Float64[np.ndarray, " tap"]:
    """Gaussian weights of 2 radius + 1 segments, not normalised (see `smooth`)."""
    radius = int(TRUNCATE * sigma_segments + 0.5)
    if radius == 0:
        return np.ones(1)
    return np.asarray(np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma_segments) ** 2))


def smooth(
    scores: Float[np.ndarray, " segment"], sigma_segments: float, smoothing: Smoothing = "offline"
) -> Float64[np.ndarray, " segment"]:
    """1-D Gaussian filter that keeps length and constants (p * G_sigma of the method).

    offline: both sides, weights normalised over the neighbours that exist; what the detector does.
    causal: the same with past and present only, for live use: no score ever changes when more video comes.
    mirrored: both sides, the series reflected at its ends; scipy's gaussian_filter1d as it is called by default, which
    published protocols use.
    """
    g, n = kernel(sigma_segments), len(scores)
    half = len(g) // 2
    if not half or not n:
        return np.asarray(scores, np.float64)
    if smoothing == "mirrored":
        mean = np.convolve(np.pad(scores, half, "symmetric"), g / g.sum(), "valid")
    else:
        taps = np.where(np.arange(-half, half + 1) < 0, 0.0, g) if smoothing == "causal" else g
        middle = slice(half, half + n)
        mean = np.convolve(scores, taps)[middle] / np.convolve(np.ones(n), taps)[middle]
    return np.asarray(np.clip(mean, scores.min(), scores.max()))  # a mean, also after rounding


def contiguous(edges: Int[np.ndarray, "segment 2"]) -> Bool[np.ndarray, " boundary"]:
    """bool[T - 1]: does the next segment begin where this one stops? A gap in the frames ends an event."""
    return np.asarray(edges[1:, 0] == edges[:-1, 1])


def runs(
    above: Bool[np.ndarray, " segment"], goes_on: Bool[np.ndarray, " boundary"]
) -> tuple[Int[np.ndarray, " run"], Int[np.ndarray, " run"]]:
    """First and last segment of every run of segments above; goes_on: may a run cross this boundary?"""
    inner = above[1:] & above[:-1] & goes_on
    first = above & ~np.concatenate([[False], inner])
    last = above & ~np.concatenate([inner, [False]])
    return np.flatnonzero(first), np.flatnonzero(last)


def events(
    smoothed: Float[np.ndarray, " segment"],
    spans: Sequence[FrameSpan],
    starts_s: Float[np.ndarray, " segment"],
    stops_s: Float[np.ndarray, " segment"],
    operating_point: OperatingPoint,
) -> list[Event]:
    """Runs of neighbouring segments with a score above the threshold; a gap in the frames ends a run.

    starts_s, stops_s: when each segment begins and ends, seconds from the start of the video.
    """
    events: list[Event] = []
    firsts, lasts = runs(smoothed > operating_point.threshold, contiguous(edges_of(spans)))
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        peak = first + int(np.argmax(smoothed[first : last + 1]))
        span = FrameSpan(spans[first].start, spans[last].stop)
        middle = float(starts_s[peak] + stops_s[peak]) / 2
        events.append(Event(span, float(starts_s[first]), float(stops_s[last]), float(smoothed[peak]), middle, peak))
    return events
