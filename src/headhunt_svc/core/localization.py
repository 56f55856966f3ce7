"""Smooth, threshold, and turn runs of segments into events."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Real

from headhunt_svc.types import Event, FrameSpan, OperatingPoint, Smoothing, edges_of

TRUNCATE = 4.0  # the kernel ends at this many sigma, as in scipy
_ROUNDING = 1e-3  # a segment that begins later than this, in frames or seconds, after the one before is a break


def kernel(sigma_segments: float) -> Float64[np.ndarray, " tap"]:
    """Gaussian weights of 2 radius + 1 segments, not normalised (see `smooth`)."""
    radius = int(TRUNCATE * sigma_segments + 0.5)
    if radius == 0:
        return np.ones(1)
    return np.asarray(np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma_segments) ** 2))


def smooth(
    scores: Float[np.ndarray, " segment"],
    sigma_segments: float,
    smoothing: Smoothing = "offline",
    goes_on: Bool[np.ndarray, " boundary"] | None = None,
) -> Float64[np.ndarray, " segment"]:
    """1-D Gaussian filter that keeps length and constants (p * G_sigma of the method).

    offline: both sides, weights normalised over the neighbours that exist; what the detector does.
    causal: the same with past and present only, for live use: no score ever changes when more video comes.
    mirrored: both sides, the series reflected at its ends; scipy's gaussian_filter1d as it is called by default, which
    published protocols use.
    goes_on: where the footage does not go on from one segment to the next (see `contiguous`), the scores on either
    side are not mixed; by default it goes on everywhere.
    """
    if goes_on is None or goes_on.all():
        return _smooth_run(scores, sigma_segments, smoothing)
    parts = np.split(scores, np.flatnonzero(~goes_on) + 1)
    return np.concatenate([_smooth_run(part, sigma_segments, smoothing) for part in parts])


def _smooth_run(
    scores: Float[np.ndarray, " segment"], sigma_segments: float, smoothing: Smoothing
) -> Float64[np.ndarray, " segment"]:
    """Smooth scores of segments that follow each other without a break."""
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


def contiguous(edges: Real[np.ndarray, "segment 2"]) -> Bool[np.ndarray, " boundary"]:
    """bool[T - 1]: does the next segment begin where this one stops?

    edges: starts and stops of the segments, in frames or in seconds. A break ends an event, and no score is smoothed
    across it: frames may be missing, or the video has a hole (video/clock.py) or lost pictures for longer than that.
    """
    return np.asarray(edges[1:, 0] - edges[:-1, 1] <= _ROUNDING)


def is_contiguous(stop: float, start: float) -> bool:
    """The same of one boundary: where a segment stops, and where the next one starts."""
    return start - stop <= _ROUNDING


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
    """Runs of neighbouring segments with a score above the threshold; a break in frames or times ends a run.

    starts_s, stops_s: when each segment begins and ends, seconds from the start of the video.
    """
    events: list[Event] = []
    goes_on = contiguous(edges_of(spans)) & contiguous(np.stack([starts_s, stops_s], 1))
    firsts, lasts = runs(smoothed > operating_point.threshold, goes_on)
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        peak = first + int(np.argmax(smoothed[first : last + 1]))
        span = FrameSpan(spans[first].start, spans[last].stop)
        middle = float(starts_s[peak] + stops_s[peak]) / 2
        events.append(Event(span, float(starts_s[first]), float(stops_s[last]), float(smoothed[peak]), middle, peak))
    return events
