"""Detector: video -> Report. Every way in (CLI, evaluation, later service, jobs, live) uses this one composition."""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from headhunt_svc.core.localization import events, smooth
from headhunt_svc.core.scoring import apply_scorer
from headhunt_svc.errors import ArtifactError
from headhunt_svc.io.artifacts import DEFAULT_OPERATING_POINT, Bundle, check_model, load_bundle
from headhunt_svc.io.files import code_version
from headhunt_svc.io.reports import Report, ReportEvent, ReportGap, SegmentScore
from headhunt_svc.io.video import SegmentPictures, VideoReader
from headhunt_svc.mllm.extractor import Extractor, load_extractor
from headhunt_svc.settings import Settings
from headhunt_svc.types import Scorer, SegmentScores

Scored = Callable[[float], object]


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
        self.code = code_version("core", "detector.py", "io/video.py", "mllm")

    @classmethod
    def load(cls, folder: Path, settings: Settings | None = None) -> "Detector":
        """Load a bundle and its model.

        Raises:
            ArtifactError: the bundle is missing, broken, or made for another model.
            ModelError: the model cannot be loaded.
        """
        settings = settings or Settings()
        bundle, scorer = load_bundle(folder)
        check_model(bundle, folder)
        extractor = load_extractor(bundle.mllm_at(folder), bundle.segmentation, settings.device)
        return cls(bundle, scorer, extractor, settings.batch_segments)

    def _score(
        self, pieces: Iterator[SegmentPictures], scored: Scored | None
    ) -> tuple[list[SegmentPictures], np.ndarray]:
        """Raw scores float64[T]; of the pieces only times and spans are kept."""
        kept: list[SegmentPictures] = []
        raw: list[np.ndarray] = []
        ready = ((p.stop_s, self.extractor.preprocess(p.pictures)) for p in _slim(pieces, kept))
        while batch := list(islice(ready, self.batch_segments)):
            pixels = torch.stack([x for _, x in batch])
            z = self.extractor.features(pixels, [self.bundle.prompt], self.scorer.heads)[0]
            raw.append(apply_scorer(self.scorer, z.reshape(len(z), -1)))
            if scored is not None:
                scored(batch[-1][0])
        return kept, np.concatenate(raw)

    def detect(
        self,
        path: Path,
        video_id: str | None = None,
        operating_point: str = DEFAULT_OPERATING_POINT,
        scored: Scored | None = None,
    ) -> Report:
        """Score a video; `scored` is called with the seconds of footage scored so far.

        Raises:
            VideoOpenError, VideoDecodeError: see VideoReader. Pictures that could not be decoded in an otherwise
                readable video are gaps of the report.
            ConfigError: unknown operating point.
        """
        locator = self.bundle.locator(operating_point)
        name = video_id or path.name
        with VideoReader(path) as video:
            kept, raw = self._score(video.segments(name, self.bundle.segmentation), scored)
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


def _slim(pieces: Iterator[SegmentPictures], kept: list[SegmentPictures]) -> Iterator[SegmentPictures]:
    """Pass pieces on, and keep each without its pictures: memory must not grow with the video."""
    for piece in pieces:
        kept.append(SegmentPictures(piece.segment, piece.pictures[:0].copy(), piece.start_s, piece.stop_s))
        yield piece
