"""Detector: video -> Report. Command line, service, jobs, evaluation and simulation all go this way.

docs/architecture.md shows how `score` and `report` follow each other.
"""

import shlex
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float32

from headhunt_svc.core.background import check_live
from headhunt_svc.detector.batches import FeatureBatch, PixelBatch, ScoredBatch, TimedSegment, located, pixel_batches
from headhunt_svc.detector.bundle import Bundle, check_model, check_point, load_bundle, load_golden
from headhunt_svc.detector.cameras import FLEET, CameraScorers
from headhunt_svc.detector.describing import described
from headhunt_svc.detector.fingerprint import check
from headhunt_svc.detector.model import fetch_model
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.readers import FeatureReader, ModelReader
from headhunt_svc.detector.report import (
    Lineage,
    Report,
    ReportDiscontinuity,
    ReportEvent,
    ReportGap,
    ReportHole,
    ReportStream,
    SegmentScore,
    scoring_code,
)
from headhunt_svc.detector.scores import VideoScores, scored
from headhunt_svc.errors import ArtifactError, ConfigError
from headhunt_svc.model.extractor import Extractor, Frames, VisionCache
from headhunt_svc.model.generation import answer
from headhunt_svc.model.loading import load_extractor
from headhunt_svc.params import DESCRIBE
from headhunt_svc.settings import Settings
from headhunt_svc.types import OperatingPoint, Polygon, Scorer
from headhunt_svc.video.memory import PictureSize, reader_mib
from headhunt_svc.video.opening import open_video
from headhunt_svc.video.source import VideoFacts, VideoSource, VideoState


def stream_of(video: VideoState) -> ReportStream | None:
    """Which stream of its file a video is, where its file holds several."""
    return ReportStream(number=video.stream, of=video.streams) if len(video.streams) > 1 else None


R = TypeVar("R", bound="Reporter")


class Reporter:
    """A bundle without its model: makes the report of a video from its scores.

    normality: what the distance to normal is measured from, FLEET or the name of a camera; None where the bundle knows
    no camera. correction: the camera whose own weights, learnt from marks of its events, score; None: those of all.
    """

    def __init__(self, bundle: Bundle, scorer: Scorer, cameras: CameraScorers | None = None) -> None:
        """scorer: of the fleet. cameras: the scorers of the bundle's cameras, if it has any."""
        self.bundle, self.scorer = bundle, scorer
        self._cameras = cameras or CameraScorers(scorer, {})
        self.normality, self.correction = self._cameras.normality(None), self._cameras.correction(None)
        self.detector_id = bundle.detector_id
        self.code = scoring_code()

    def at(self: R, camera: str | None) -> R:
        """The same for videos of one camera: with its own weights and normality, where the bundle knows the camera."""
        own = self._cameras.normality(camera), self._cameras.correction(camera)
        if own == (self.normality, self.correction):
            return self
        of_camera = copy(self)
        of_camera.scorer, (of_camera.normality, of_camera.correction) = self._cameras.scorer(camera), own
        return of_camera

    @classmethod
    def load(cls, folder: Path) -> "Reporter":
        """Load a bundle.

        Raises:
            ArtifactError: it is missing, broken, or made for another model.
        """
        bundle, scorer = load_bundle(folder)
        cameras = CameraScorers.load(folder, scorer, bundle.cameras)
        check_model(bundle, folder)
        return Reporter(bundle, scorer, cameras)

    def operating_point(self, options: Options = Options()) -> OperatingPoint:
        """Smoothing and threshold for these options.

        Raises:
            ConfigError: unknown operating point (lists those there are), or causal smoothing of scores that are not
                known before the video has ended.
        """
        point = check_point(self.bundle, self.scorer, options.operating_point, options.smoothing)
        return point if options.threshold is None else replace(point, threshold=options.threshold)

    def check_normality(self, options: Options) -> None:
        """Refuse a camera's operating point for scores of another camera, of which it promises nothing.

        Raises:
            ConfigError: names the way out.
        """
        name = options.operating_point
        own = self._cameras.normality(name), self._cameras.correction(name)
        if own != (self.normality, self.correction) and name in (self.bundle.cameras or {}):
            raise ConfigError(
                f"the operating point {name!r} was calibrated for scores of the camera {name!r}, this video is scored "
                f"as one of {self.correction or self.normality or FLEET!r}: score it with "
                f"`--camera {shlex.quote(name)}` "
                "(of a request: `camera`; of a job: the video's folder), or choose another operating point"
            )

    @property
    def description_prompt(self) -> str:
        """What the model is asked about the peak of an event."""
        return self.bundle.description_prompt or DESCRIBE

    @property
    def lineage(self) -> Lineage:
        """Where this detector's scores come from."""
        return Lineage(
            mllm=self.bundle.mllm.id,
            mllm_revision=self.bundle.mllm_revision,
            prompt=self.bundle.prompt,
            heads=self.scorer.heads,
            bias=self.scorer.bias,
            data_sha256=self.bundle.data["index_sha256"],
        )

    def report(self, video: VideoFacts, batches: Iterable[ScoredBatch], options: Options = Options()) -> Report:
        """Take all batches of a video, smooth and threshold their scores, and say what was found.

        options: those that the batches were scored with.

        Raises:
            ConfigError: unknown operating point, or that of another camera; told before anything is scored.
        """
        self.check_normality(options)
        point = self.operating_point(options)
        segments: list[TimedSegment] = []
        raws: list[np.ndarray] = []
        contributed: list[np.ndarray] = []
        novelties: list[np.ndarray] = []
        descriptions: dict[int, str] = {}
        for batch in batches:
            segments += batch.segments
            raws.append(batch.raw)
            contributed.append(batch.contributions)
            novelties += [] if batch.novelty is None else [batch.novelty]
            descriptions |= batch.descriptions
        raw, shares = np.concatenate(raws), np.concatenate(contributed)
        novelty = np.concatenate(novelties) if novelties else None
        smoothed, events = located(segments, raw, point, novelty)
        return Report(
            detector_id=self.detector_id,
            code=self.code,
            lineage=self.lineage.model_copy(update={"masks": video.masks}),
            video_id=video.video_id,
            fps=video.fps,
            n_frames=video.n_frames,
            duration_s=video.duration_s,
            operating_point=options.operating_point,
            sigma_segments=point.sigma_segments,
            threshold=point.threshold,
            smoothing=options.smoothing,
            scores=tuple(
                SegmentScore(
                    index=s.segment.index,
                    start_frame=s.segment.span.start,
                    stop_frame=s.segment.span.stop,
                    start_s=s.start_s,
                    stop_s=s.stop_s,
                    raw=float(raw[i]),
                    smoothed=float(smoothed[i]),
                    contributions=tuple(shares[i].tolist()) if options.contributions else None,
                    novelty=None if novelty is None else float(novelty[i]),
                )
                for i, s in enumerate(segments)
            ),
            events=tuple(
                ReportEvent(
                    start_frame=e.span.start,
                    stop_frame=e.span.stop,
                    start_s=e.start_s,
                    stop_s=e.stop_s,
                    peak=e.peak,
                    peak_s=e.peak_s,
                    contributions=tuple(shares[e.peak_segment].tolist()),
                    description=descriptions[segments[e.peak_segment].segment.index] if options.describe else None,
                )
                for e in events
            ),
            gaps=tuple(map(ReportGap.model_validate, video.gaps)),
            repaired_times=video.repaired_times,
            stated_fps=video.stated_fps,
            holes=tuple(map(ReportHole.model_validate, video.holes)),
            discontinuities=tuple(map(ReportDiscontinuity.model_validate, video.discontinuities)),
            unfinished=video.unfinished,
            stream=stream_of(video),
            description_prompt=self.description_prompt if options.describe else None,
            normality=self.normality,
            correction=self.correction,
            cautions=self.bundle.cautions,
        )


ReadBatches = Generator[tuple[PixelBatch, FeatureBatch]]  # before and after the model


def _read(
    batches: Iterable[PixelBatch], reader: FeatureReader, resume: Sequence[FeatureBatch | ScoredBatch]
) -> Iterator[tuple[PixelBatch, FeatureBatch]]:
    """Batches before and after the model; resume: see Detector.read."""
    for i, batch in enumerate(batches):
        if i >= len(resume):
            yield batch, reader.read(batch)
            continue
        if [s.segment for s in resume[i].segments] != [s.segment for s in batch.segments]:
            name = batch.segments[0].segment.video_id
            raise ArtifactError(f"{name}: the features kept are of other segments: score it from the start")
        yield batch, FeatureBatch(resume[i].segments, resume[i].features, resumed=True)


class Detector(Reporter):
    """A bundle with its model loaded.

    detector = Detector.load(Path("artifacts/detector"))
    report = detector.detect(Path("clip.mp4"))
    """

    def __init__(
        self,
        bundle: Bundle,
        scorer: Scorer,
        extractor: Extractor,
        batch_segments: int,
        whole: bool = False,
        cameras: CameraScorers | None = None,
    ) -> None:
        """whole: does the extractor have all layers of the model, so that it can describe events?"""
        super().__init__(bundle, scorer, cameras)
        extractor.check_heads(scorer.heads)
        if scorer.n_features != len(scorer.heads) * extractor.d_head:
            raise ArtifactError(
                f"the scorer takes {scorer.n_features} features, the model gives "
                f"{len(scorer.heads)} x {extractor.d_head}"
            )
        self.extractor, self.batch_segments, self.describes = extractor, batch_segments, whole

    @classmethod
    def load(cls, folder: Path, settings: Settings | None = None, whole: bool = False) -> "Detector":
        """Load a bundle and its model.

        whole: with all layers of the decoder, to describe events and to read other heads (or set HEADHUNT_DESCRIBE).
            Without it those behind the deepest expert head are left out. Scores are the same, and take no longer.

        Raises:
            ArtifactError: the bundle is missing, broken, or made for another model, or its features do not come out
                the same here.
            ModelError: the model cannot be loaded.
        """
        settings = settings or Settings()
        bundle, scorer = load_bundle(folder)
        cameras = CameraScorers.load(folder, scorer, bundle.cameras)
        lock = fetch_model(bundle, folder)
        whole = whole or settings.describe
        deepest = None if whole else max(h.layer for h in scorer.heads)
        extractor = load_extractor(
            bundle.mllm_at(folder), bundle.segmentation, settings.device, deepest=deepest, lock=lock
        )
        golden, n_frames = load_golden(folder), bundle.segmentation.frames_per_segment
        check(bundle.fingerprint, golden, extractor, bundle.prompt, scorer.heads, n_frames, folder)
        return cls(bundle, scorer, extractor, settings.batch_segments, whole, cameras)

    def check(self, options: Options) -> None:
        """Check options before any video is decoded.

        Raises:
            ConfigError: unknown operating point; descriptions by a model without its last layers; causal smoothing or
                descriptions where scores are known only when the whole video is.
        """
        self.operating_point(options)
        if options.describe:
            self.check_describes()
            check_live(self.scorer.background, "descriptions (their pictures would all be kept until the end)")

    def check_describes(self) -> None:
        """Refuse descriptions by a model without its last layers. Raises ConfigError."""
        if not self.describes:
            raise ConfigError(
                "no descriptions: the model was loaded without the layers that scoring does not need; start with "
                "HEADHUNT_DESCRIBE=true, or leave describe out"
            )

    def reader_mib(self, size: PictureSize) -> int:
        """What scoring a video of such pictures needs beside its decoder and the model."""
        prepared_bytes = self.extractor.prepared_bytes(size.height, size.width)
        return reader_mib(size, self.bundle.segmentation, prepared_bytes, self.batch_segments)

    def features(
        self, pixels: torch.Tensor, cache: VisionCache, frames: Frames
    ) -> Float32[np.ndarray, "segment head d_head"]:
        """Features at the expert heads of pixels float[B, F, 3, h, w]; cache, frames: see Extractor.read."""
        per_prompt = self.extractor.features(pixels, [self.bundle.prompt], self.scorer.heads, cache, frames)
        return np.asarray(per_prompt[0])

    def model_reader(self, explain: bool = False) -> ModelReader:
        """Runs the model for this detector alone; with `explain` every batch has its attribution.

        Raises:
            ConfigError: `explain`, and scores are known only when the whole video is.
        """
        if explain:
            check_live(self.scorer.background, "shares of tokens")
        return ModelReader(self.extractor, self.bundle.prompt, self.scorer, explain)

    def read(
        self, video: VideoSource, reader: FeatureReader, resume: Sequence[FeatureBatch | ScoredBatch] = ()
    ) -> ReadBatches:
        """The first half of `score`: decode a video and read its features; resume: see `score`."""
        with closing(pixel_batches(video, self.bundle.segmentation, self.extractor, self.batch_segments)) as pixels:
            yield from _read(pixels, reader, resume)

    def scored(
        self, batches: ReadBatches, reader: FeatureReader, options: Options = Options()
    ) -> Generator[ScoredBatch]:
        """The second half of `score`: scores, and descriptions where the options ask for them; closes `batches`."""
        self.check(options)

        def describe(peak: PixelBatch) -> str:
            with reader.exclusive():
                return answer(self.extractor, peak.pixels[0], self.description_prompt, peak.cache)

        with closing(batches):
            if options.describe:
                scores = VideoScores(self.scorer)
                pairs = ((pixels, scores.add(features)) for pixels, features in batches)
                yield from described(pairs, self.operating_point(options), describe)
            else:
                yield from scored(self.scorer, (features for _, features in batches))

    def score(
        self,
        video: VideoSource,
        reader: FeatureReader | None = None,
        resume: Sequence[FeatureBatch | ScoredBatch] = (),
        options: Options = Options(),
    ) -> Generator[ScoredBatch]:
        """Score an opened video, batch by batch, as fast as the result is taken. Close it where you stop early.

        reader: what runs the model; this detector's own by default.
        resume: batches of an earlier, interrupted run: their segments are decoded, not read by the model again. The
            batches that follow are composed as without the interruption, so the scores are the same to the bit.
        options: as for `report`; with `describe` the batches hold what the model says about the events' peaks.

        Raises:
            ConfigError: see `check`.
            VideoDecodeError, VideoLimitError: see VideoReader. Pictures that could not be decoded in an otherwise
                readable video are gaps of the report.
            ArtifactError: `resume` is of another video.
        """
        reader = reader or self.model_reader()
        return self.scored(self.read(video, reader, resume), reader, options)

    def detect(
        self,
        path: Path,
        video_id: str | None = None,
        options: Options = Options(),
        masks: tuple[Polygon, ...] = (),
    ) -> Report:
        """Score a video file: `open_video`, `score` and `report` in one.

        masks: what is black in all pictures.

        Raises:
            VideoOpenError: not a video. Otherwise see `score` and `report`.
        """
        self.check(options)
        with (
            open_video(path, video_id, stream=options.stream, masks=masks) as video,
            closing(self.score(video, options=options)) as batches,
        ):
            return self.report(video, batches, options)
