"""Detector: video -> Report. Every way in (CLI, evaluation, later service, jobs, live) uses this one composition."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Float64

from headhunt_svc.core.localization import events, smooth
from headhunt_svc.core.scoring import apply_scorer, contributions
from headhunt_svc.detector.bundle import Bundle, check_model, load_bundle, load_golden
from headhunt_svc.detector.fingerprint import check
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.report import Lineage, Report, ReportEvent, ReportGap, SegmentScore
from headhunt_svc.errors import ArtifactError
from headhunt_svc.model.attribution import Attribution, attribute
from headhunt_svc.model.extractor import Extractor, Frames, VisionCache
from headhunt_svc.model.loading import load_extractor
from headhunt_svc.params import SegmentationParams
from headhunt_svc.settings import Settings
from headhunt_svc.storage.files import code_version
from headhunt_svc.types import OperatingPoint, Scorer
from headhunt_svc.video.prefetch import prefetch
from headhunt_svc.video.reader import SegmentPictures, VideoReader, VideoSource


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """Segments that went through the model together: without their pictures, features at the heads, raw scores."""

    pieces: tuple[SegmentPictures, ...]
    features: Float32[np.ndarray, "segment head d_head"]
    raw: Float64[np.ndarray, " segment"]

    @property
    def stop_s(self) -> float:
        """Seconds of footage scored so far."""
        return self.pieces[-1].stop_s


def scoring_code() -> str:
    """Version of the code and libraries that score."""
    return code_version("core", "detector", "model", "video")


Result = tuple[Float32[np.ndarray, "segment head d_head"], Float64[np.ndarray, " segment"]]
Run = Callable[[torch.Tensor, VisionCache, Frames], Result]
Scored = Callable[[ScoredBatch], object]
Explained = Callable[[Attribution], object]


def batches(
    video: VideoSource, video_id: str, cut: SegmentationParams, extractor: Extractor, size: int
) -> Generator[tuple[list[SegmentPictures], torch.Tensor]]:
    """Segments of a video, `size` at a time: without their pictures, and as pixel values float[B, F, 3, h, w].

    Decoding and preprocessing run up to two batches ahead of the model; memory does not grow with the video.
    """

    def prepared() -> Iterator[tuple[SegmentPictures, torch.Tensor]]:
        for piece in video.segments(video_id, cut):
            light = SegmentPictures(piece.segment, piece.pictures[:0].copy(), piece.start_s, piece.stop_s)
            yield light, extractor.preprocess(piece.pictures)

    with closing(prefetch(prepared(), 2 * size)) as ready:
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
        self.code = scoring_code()

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

    def operating_point(self, options: Options = Options()) -> OperatingPoint:
        """Smoothing and threshold for these options.

        Raises:
            ConfigError: unknown operating point; lists those there are.
        """
        at = self.bundle.operating_point(options.operating_point, options.smoothing)
        return at if options.threshold is None else replace(at, threshold=options.threshold)

    @property
    def lineage(self) -> Lineage:
        """Where this detector's scores come from."""
        made = self.bundle
        return Lineage(
            mllm=made.mllm.id,
            mllm_revision=made.mllm_revision,
            prompt=made.prompt,
            heads=self.scorer.heads,
            bias=self.scorer.bias,
            data_sha256=made.data["index_sha256"],
        )

    def run(self, pixels: torch.Tensor, view: VisionCache, frames: Frames) -> Result:
        """Features at the heads float32[B, K, d_head] and raw scores float64[B] of pixels float[B, F, 3, h, w]."""
        return self.with_scores(
            self.extractor.features(pixels, [self.bundle.prompt], self.scorer.heads, view, frames)[0]
        )

    def with_scores(self, features: Float32[np.ndarray, "segment head d_head"]) -> Result:
        """Features and their raw scores. The last bits of a score depend on which rows are scored together."""
        return features, apply_scorer(self.scorer, features.reshape(len(features), -1))

    def _run_explained(self, explained: Explained) -> Run:
        def run(pixels: torch.Tensor, view: VisionCache, frames: Frames) -> Result:
            heads, weight = self.scorer.heads, self.scorer.weight
            z, shares = attribute(self.extractor, pixels, self.bundle.prompt, heads, weight, view, frames)
            explained(shares)
            return self.with_scores(z)

        return run

    def _scored(
        self, video: VideoSource, video_id: str, run: Run, known: Sequence[ScoredBatch]
    ) -> Generator[ScoredBatch]:
        """The video's segments in batches of batch_segments, the first of them taken from `known`."""
        cut = self.bundle.segmentation
        view = VisionCache(cut.frame_s(video.fps))
        with closing(batches(video, video_id, cut, self.extractor, self.batch_segments)) as groups:
            for i, (group, pixels) in enumerate(groups):
                if i < len(known):
                    if [p.segment for p in known[i].pieces] != [p.segment for p in group]:
                        raise ArtifactError(
                            f"{video_id}: the scores kept are of other segments: score it from the start"
                        )
                    yield known[i]
                else:
                    yield ScoredBatch(tuple(group), *run(pixels, view, [p.segment.frame_indices for p in group]))

    def detect(
        self,
        path: Path,
        video_id: str | None = None,
        options: Options = Options(),
        *,
        reader: Callable[[Path], AbstractContextManager[VideoSource]] = VideoReader,
        run: Run | None = None,
        scored: Scored | None = None,
        known: Sequence[ScoredBatch] = (),
        explained: Explained | None = None,
    ) -> Report:
        """Score a video.

        run: instead of this detector's own model call, as `run` is (a service that shares the model between videos).
        scored: called with every batch; what it raises stops the work and passes through.
        known: batches of an earlier, interrupted call: their segments are decoded, not scored again. The batches that
            follow are composed as without the interruption, so the scores are the same to the bit.
        explained: called with the shares of tokens and heads in the logits of the next segments, batch by batch;
            takes the place of `run`.

        Raises:
            VideoOpenError, VideoDecodeError: see VideoReader. Pictures that could not be decoded in an otherwise
                readable video are gaps of the report.
            ConfigError: unknown operating point.
            ArtifactError: `known` is of another video.
        """
        self.operating_point(options)  # an unknown operating point is an error before any video is decoded
        name = video_id or path.name
        pieces: list[SegmentPictures] = []
        raw: list[np.ndarray] = []
        of_heads: list[np.ndarray] = []
        run = self._run_explained(explained) if explained is not None else run or self.run
        with reader(path) as video, closing(self._scored(video, name, run, known)) as found:
            for batch in found:
                pieces += batch.pieces
                raw.append(batch.raw)
                of_heads.append(contributions(self.scorer, batch.features))
                if scored is not None:
                    scored(batch)
        return self._report(video, name, options, pieces, np.concatenate(raw), np.concatenate(of_heads))

    def _report(
        self,
        video: VideoSource,
        name: str,
        options: Options,
        pieces: Sequence[SegmentPictures],
        raw: Float64[np.ndarray, " segment"],
        of_heads: Float64[np.ndarray, "segment head"],
    ) -> Report:
        locator = self.operating_point(options)
        smoothed = smooth(raw, locator.sigma_segments, options.smoothing)
        spans = [p.segment.span for p in pieces]
        starts, stops = np.array([p.start_s for p in pieces]), np.array([p.stop_s for p in pieces])
        return Report(
            detector_id=self.detector_id,
            code=self.code,
            lineage=self.lineage,
            video_id=name,
            fps=video.fps,
            n_frames=video.n_frames,
            duration_s=video.duration_s,
            operating_point=options.operating_point,
            sigma_segments=locator.sigma_segments,
            threshold=locator.threshold,
            smoothing=options.smoothing,
            scores=tuple(
                SegmentScore(
                    index=p.segment.index,
                    start_frame=p.segment.span.start,
                    stop_frame=p.segment.span.stop,
                    start_s=p.start_s,
                    stop_s=p.stop_s,
                    raw=float(r),
                    smoothed=float(s),
                    contributions=tuple(of.tolist()) if options.contributions else None,
                )
                for p, r, s, of in zip(pieces, raw, smoothed, of_heads, strict=True)
            ),
            events=tuple(
                ReportEvent(
                    start_frame=e.span.start,
                    stop_frame=e.span.stop,
                    start_s=e.start_s,
                    stop_s=e.stop_s,
                    peak=e.peak,
                    peak_s=e.peak_s,
                    contributions=tuple(of_heads[e.peak_segment].tolist()),
                )
                for e in events(smoothed, spans, starts, stops, locator)
            ),
            gaps=tuple(ReportGap(time_s=g.time_s, packets=g.packets, reason=g.reason) for g in video.gaps),
            repaired_times=video.repaired_times,
        )
