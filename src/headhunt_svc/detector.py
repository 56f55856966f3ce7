"""Detector: video -> Report. Every way in (CLI, evaluation, later service, jobs, live) uses this one composition."""

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from headhunt_svc.core.localization import events, smooth
from headhunt_svc.core.scoring import apply_scorer
from headhunt_svc.errors import ArtifactError
from headhunt_svc.fingerprint import check
from headhunt_svc.io.ahead import ahead
from headhunt_svc.io.artifacts import DEFAULT_OPERATING_POINT, Bundle, check_model, load_bundle, load_golden
from headhunt_svc.io.files import code_version
from headhunt_svc.io.reports import Report, ReportEvent, ReportGap, SegmentScore
from headhunt_svc.io.video import SegmentPictures, VideoReader
from headhunt_svc.mllm.attribution import Attribution, attribute
from headhunt_svc.mllm.extractor import Extractor, View
from headhunt_svc.mllm.loading import load_extractor
from headhunt_svc.params import SegmentationParams
from headhunt_svc.settings import Settings
from headhunt_svc.types import Scorer, SegmentScores

Scored = Callable[[float], object]
Explained = Callable[[Attribution], object]


def batches(
    video: VideoReader, video_id: str, cut: SegmentationParams, extractor: Extractor, size: int
) -> Iterator[tuple[list[SegmentPictures], torch.Tensor]]:
    """Segments of a video, `size` at a time: without their pictures, and as pixel values float[B, F, 3, h, w].

    Decoding and preprocessing run up to two batches ahead of the model; memory does not grow with the video.
    """

    def prepared() -> Iterator[tuple[SegmentPictures, torch.Tensor]]:
        for piece in video.segments(video_id, cut):
            light = SegmentPictures(piece.segment, piece.pictures[:0].copy(), piece.start_s, piece.stop_s)
            yield light, extractor.preprocess(piece.pictures)

    with closing(ahead(prepared(), 2 * size)) as ready:
        while group := list(islice(ready, size)):
            yield [piece for piece, _ in group], torch.stack([pixels for _, pixels in group])


class Detector:
    """A bundle with its model loaded.

    detector = Detector.load(Path("artifacts/detector"))
    report = detector.detect(Path("clip.mp4"))
    """

    def __init__(self, bundle: Bundle, scorer: Scorer, extractor: Extractor, batch_segments: int) -> None:
        extractor.check_heads(scorer.heads)
        if len(scorer.weight) != len(scorer.heads) * extractor.d_head:
            raise ArtifactError(
                f"the scorer has {len(scorer.weight)} weights, the model gives {len(scorer.heads)} x {extractor.d_head}"
            )
        self.bundle, self.scorer, self.extractor, self.batch_segments = bundle, scorer, extractor, batch_segments
        self.detector_id = bundle.detector_id
        self.code = code_version("core", "detector.py", "io/ahead.py", "io/video.py", "mllm")

    @classmethod
    def load(cls, folder: Path, settings: Settings | None = None) -> "Detector":
        """Load a bundle and its model.

        Raises:
            ArtifactError: the bundle is missing, broken, or made for another model, or its features do not come out
                the same here.
            ModelError: the model cannot be loaded.
        """
        settings = settings or Settings()
        bundle, scorer = load_bundle(folder)
        check_model(bundle, folder)
        deepest = max(h.layer for h in scorer.heads)
        extractor = load_extractor(bundle.mllm_at(folder), bundle.segmentation, settings.device, deepest=deepest)
        golden, n_frames = load_golden(folder), bundle.segmentation.frames_per_segment
        check(bundle.fingerprint, golden, extractor, bundle.prompt, scorer.heads, n_frames, folder)
        return cls(bundle, scorer, extractor, settings.batch_segments)

    def _score(
        self, video: VideoReader, video_id: str, scored: Scored | None, explained: Explained | None
    ) -> tuple[list[SegmentPictures], np.ndarray]:
        """Segments (without pictures) and raw scores float64[T]."""
        prompt, heads = self.bundle.prompt, self.scorer.heads
        pieces: list[SegmentPictures] = []
        raw: list[np.ndarray] = []
        cut = self.bundle.segmentation
        view = View(cut.frame_s(video.fps))
        for group, pixels in batches(video, video_id, cut, self.extractor, self.batch_segments):
            frames = [p.segment.frame_indices for p in group]
            if explained is None:
                z = self.extractor.features(pixels, [prompt], heads, view, frames)[0]
            else:
                z, shares = attribute(self.extractor, pixels, prompt, heads, self.scorer.weight, view, frames)
                explained(shares)
            raw.append(apply_scorer(self.scorer, z.reshape(len(z), -1)))
            pieces += group
            if scored is not None:
                scored(group[-1].stop_s)
        return pieces, np.concatenate(raw)

    def detect(
        self,
        path: Path,
        video_id: str | None = None,
        operating_point: str = DEFAULT_OPERATING_POINT,
        scored: Scored | None = None,
        explained: Explained | None = None,
    ) -> Report:
        """Score a video; `scored` is called with the seconds of footage scored so far.

        explained: called with the shares of tokens and heads in the logits of the next segments, batch by batch.

        Raises:
            VideoOpenError, VideoDecodeError: see VideoReader. Pictures that could not be decoded in an otherwise
                readable video are gaps of the report.
            ConfigError: unknown operating point.
        """
        locator = self.bundle.locator(operating_point)
        name = video_id or path.name
        with VideoReader(path) as video:
            kept, raw = self._score(video, name, scored, explained)
        scores = SegmentScores(tuple(p.segment for p in kept), raw)
        smoothed = smooth(scores.raw, locator.sigma_segments)
        spans = [s.span for s in scores.segments]
        starts, stops = np.array([p.start_s for p in kept]), np.array([p.stop_s for p in kept])
        return Report(
            detector_id=self.detector_id,
            code=self.code,
            video_id=name,
            fps=video.fps,
            n_frames=video.n_frames,
            duration_s=video.duration_s,
            operating_point=operating_point,
            sigma_segments=locator.sigma_segments,
            threshold=locator.threshold,
            scores=tuple(
                SegmentScore(
                    index=p.segment.index,
                    start_frame=p.segment.span.start,
                    stop_frame=p.segment.span.stop,
                    start_s=p.start_s,
                    stop_s=p.stop_s,
                    raw=float(r),
                    smoothed=float(s),
                )
                for p, r, s in zip(kept, scores.raw, smoothed, strict=True)
            ),
            events=tuple(
                ReportEvent(
                    start_frame=e.span.start,
                    stop_frame=e.span.stop,
                    start_s=e.start_s,
                    stop_s=e.stop_s,
                    peak=e.peak,
                    peak_s=e.peak_s,
                )
                for e in events(smoothed, spans, starts, stops, locator)
            ),
            gaps=tuple(ReportGap(time_s=g.time_s, packets=g.packets, reason=g.reason) for g in video.gaps),
            repaired_times=video.repaired_times,
        )
