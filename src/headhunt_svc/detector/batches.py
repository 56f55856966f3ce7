"""What flows through a detector: batches of segments, before and after the model."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from time import perf_counter

import numpy as np
import torch
from jaxtyping import Float32, Float64, UInt8

from headhunt_svc.core.localization import contiguous, events, smooth
from headhunt_svc.core.quality import Quality, picture_quality
from headhunt_svc.core.steady import without_steady
from headhunt_svc.model.attribution import Attribution, Recorded
from headhunt_svc.model.extractor import Extractor, Frames, VisionCache
from headhunt_svc.params import SegmentationParams
from headhunt_svc.types import Event, OperatingPoint, Segment
from headhunt_svc.video.prefetch import prefetch
from headhunt_svc.video.source import VideoSource


@dataclass(frozen=True, slots=True)
class TimedSegment:
    """A segment without its pictures: when it starts and stops, and how good the pictures were.

    quality is None where the pictures were not seen (a checkpoint). lost_packets: could not be decoded since the
    segment before.
    """

    segment: Segment
    start_s: float
    stop_s: float
    quality: Quality | None = None
    lost_packets: int = 0


@dataclass(frozen=True, slots=True)
class PixelBatch:
    """Segments of one video that go through the model together: resized pictures uint8[B, F, 3, h, w].

    decode_s: seconds that decoding and preparing them took one thread.
    """

    segments: tuple[TimedSegment, ...]
    pixels: torch.Tensor
    cache: VisionCache
    decode_s: float = 0.0

    @property
    def frames(self) -> Frames:
        """The frame numbers that each segment shows."""
        return [s.segment.frame_indices for s in self.segments]


@dataclass(frozen=True, slots=True)
class PromptReading:
    """One segment under every calibration prompt: raw scores, and what each head adds to the logits."""

    scores: Float32[np.ndarray, " prompt"]
    contributions: Float32[np.ndarray, "prompt head"]


@dataclass(frozen=True, slots=True)
class FeatureBatch:
    """Segments after the model: features at the expert heads, no pictures.

    recorded: what attribution needs, only where it was asked for. prompt_readings: by place in the batch, where
    segments were probed. resumed: read by an earlier, interrupted run.
    """

    segments: tuple[TimedSegment, ...]
    features: Float32[np.ndarray, "segment head d_head"]
    recorded: Recorded | None = None
    prompt_readings: Mapping[int, PromptReading] = field(default_factory=dict)
    resumed: bool = False

    def __post_init__(self) -> None:
        if len(self.segments) != len(self.features):
            raise ValueError(f"{len(self.segments)} segments, {len(self.features)} features")


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """Segments with features, raw scores, and what each head adds to the logits (with the bias they sum to them).

    attribution: only where it was asked for. prompt_readings, resumed: see FeatureBatch. novelty: see core/steady.py.
    descriptions: what the model says about the peaks of events that ended here, by the segment's index.
    """

    segments: tuple[TimedSegment, ...]
    features: Float32[np.ndarray, "segment head d_head"]
    raw: Float64[np.ndarray, " segment"]
    contributions: Float64[np.ndarray, "segment head"]
    attribution: Attribution | None = None
    prompt_readings: Mapping[int, PromptReading] = field(default_factory=dict)
    descriptions: Mapping[int, str] = field(default_factory=dict)
    resumed: bool = False
    novelty: Float64[np.ndarray, " segment"] | None = None

    def __post_init__(self) -> None:
        sizes = len(self.segments), len(self.features), len(self.raw), len(self.contributions)
        if len(set(sizes)) > 1:
            raise ValueError("{} segments, {} features, {} scores, {} contributions".format(*sizes))

    @property
    def stop_s(self) -> float:
        """Seconds of footage scored so far."""
        return self.segments[-1].stop_s


def novelty_of(batches: Iterable[ScoredBatch]) -> Float64[np.ndarray, " segment"] | None:
    """Of all segments of a video; None where nothing is taken off its scores."""
    parts = [batch.novelty for batch in batches if batch.novelty is not None]
    return np.concatenate(parts) if parts else None


def located(
    segments: Sequence[TimedSegment],
    raw: Float64[np.ndarray, " segment"],
    point: OperatingPoint,
    novelty: Float64[np.ndarray, " segment"] | None = None,
) -> tuple[Float64[np.ndarray, " segment"], list[Event]]:
    """Smoothed scores and events of a video's segments; novelty: see core/steady.py."""
    edges_s = np.array([(s.start_s, s.stop_s) for s in segments])
    goes_on = contiguous(edges_s)
    scores = without_steady(raw, novelty, point.smoothing, goes_on)
    smoothed = smooth(scores, point.sigma_segments, point.smoothing, goes_on)
    spans = [s.segment.span for s in segments]
    return smoothed, events(smoothed, spans, edges_s[:, 0], edges_s[:, 1], point)


def stacked(pictures: Sequence[torch.Tensor], pinned: bool) -> UInt8[torch.Tensor, "segment frame 3 height width"]:
    """Segments in one array; pinned: in memory from which a device copies by itself."""
    out = torch.empty((len(pictures), *pictures[0].shape), dtype=torch.uint8, pin_memory=pinned)
    return torch.stack(list(pictures), out=out)


def pixel_batches(
    video: VideoSource, params: SegmentationParams, extractor: Extractor, size: int
) -> Generator[PixelBatch]:
    """A video's segments, `size` at a time, preprocessed.

    Decoding and preprocessing run up to two batches ahead of the model; memory does not grow with the video
    (video/memory.py estimates it). A live video is read one segment at a time, when the model is ready for it.
    """
    cache = VisionCache(params.frame_s(video.fps))

    def preprocessed() -> Generator[tuple[TimedSegment, torch.Tensor, float]]:
        lost_before = 0
        begun = perf_counter()
        for piece in video.segments(params):
            lost = sum(gap.packets for gap in video.gaps)
            quality = picture_quality(piece.pictures)
            segment = TimedSegment(piece.segment, piece.start_s, piece.stop_s, quality, lost - lost_before)
            lost_before = lost
            pixels = extractor.preprocess(piece.pictures)
            del piece  # else its pictures stay while the next ones arrive
            yield segment, pixels, perf_counter() - begun
            del pixels
            begun = perf_counter()

    size = 1 if video.is_live else size
    pieces = preprocessed()
    with closing(pieces if video.is_live else prefetch(pieces, 2 * size)) as ready:
        while group := list(islice(ready, size)):
            pixels = stacked([pixels for _, pixels, _ in group], pinned=extractor.device.type == "cuda")
            batch = PixelBatch(tuple(s for s, _, _ in group), pixels, cache, sum(seconds for _, _, seconds in group))
            del group, pixels  # else the pixels stay beside their copy in the batch, and the batch with its reader
            yield batch
            del batch
