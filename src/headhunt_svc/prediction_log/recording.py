"""The one observer between the Detector and the prediction log: command line, service, jobs and live all detect by it.

    report = observer.detect(detector, path, "yard/0412.mp4", options)      # like detector.detect

Whatever goes wrong in observing is counted and told once; it never changes or fails a score.
"""

import atexit
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float32

from headhunt_svc.core.localization import TRUNCATE, smooth
from headhunt_svc.core.quality import Quality, picture_quality
from headhunt_svc.core.scoring import contributions
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector, Run, ScoredBatch
from headhunt_svc.detector.report import Report
from headhunt_svc.model.extractor import Frames, VisionCache
from headhunt_svc.params import SegmentationParams
from headhunt_svc.prediction_log.metrics import LOST_ROWS, PROBE_FAILURES
from headhunt_svc.prediction_log.probe import Probe, Probed
from headhunt_svc.prediction_log.schema import COLUMNS, About, Kept, projection
from headhunt_svc.prediction_log.writer import PredictionLog
from headhunt_svc.settings import Settings
from headhunt_svc.types import OperatingPoint, Scorer
from headhunt_svc.video.reader import Gap, SegmentPictures, VideoReader, VideoSource

logger = logging.getLogger(__name__)
UNNAMED = "unnamed"
Reader = Callable[[Path], AbstractContextManager[VideoSource]]
Alone = Callable[[Callable[[], object]], object]


def camera_of(video_id: str) -> str:
    """The folder of a video is its camera, unless the caller knows better."""
    return video_id.rpartition("/")[0] or UNNAMED


class _Careful:
    """Runs what must not fail the scoring; the first failure is told, all are counted."""

    def __init__(self) -> None:
        self.told = False

    def __call__(self, what: Callable[..., object], *args: Any) -> None:
        try:
            what(*args)
        except Exception as exc:  # observing never fails scoring
            LOST_ROWS.labels("observer failed").inc()
            if not self.told:
                logger.exception("observing failed, scoring goes on: %s", exc)
                self.told = True


class _Measured:
    """A video source that also measures the quality of what passes."""

    def __init__(
        self, closed: AbstractContextManager[VideoSource], take: Callable[[SegmentPictures, int], object]
    ) -> None:
        self._closed, self._take = closed, take

    def __enter__(self) -> "_Measured":
        self._source = self._closed.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.__exit__(kind, error, trace)

    @property
    def fps(self) -> float:
        return self._source.fps

    @property
    def n_frames(self) -> int:
        return self._source.n_frames

    @property
    def duration_s(self) -> float:
        return self._source.duration_s

    @property
    def gaps(self) -> Sequence[Gap]:
        return self._source.gaps

    @property
    def repaired_times(self) -> int:
        return self._source.repaired_times

    def segments(self, video_id: str, params: SegmentationParams) -> Iterator[SegmentPictures]:
        """The source's segments, as they are."""
        for piece in self._source.segments(video_id, params):
            self._take(piece, sum(g.packets for g in self._source.gaps))
            yield piece


class Watch:
    """One pass over one video on its way into the log."""

    def __init__(
        self,
        log: PredictionLog,
        about: About,
        scorer: Scorer,
        locator: OperatingPoint,
        names: dict[str, str],
        recorded: datetime | None,
        probe: Probe | None,
    ) -> None:
        """names: of camera, video and pass. recorded: when the first picture was taken, if that is known."""
        self._log, self._about, self._scorer, self._locator, self._probe = log, about, scorer, locator, probe
        self._names, self._recorded = names, recorded
        self._radius = int(TRUNCATE * locator.sigma_segments + 0.5)
        self._careful = _Careful()
        self._quality: dict[int, tuple[Quality, int]] = {}
        self._lost = 0
        self._probed: dict[tuple[int, ...], Probed] = {}
        self._raw: list[float] = []
        self._rows: list[dict[str, Any]] = []  # of segments whose smoothed score is not final yet

    # -- what the detector is given ---------------------------------------------------------------------------------
    def reader(self, reader: Reader) -> Reader:
        """The same reader, measured."""
        return lambda path: _Measured(reader(path), lambda piece, lost: self._careful(self._measure, piece, lost))

    def run(self, run: Run, alone: Alone) -> Run:
        """The same model call; afterwards, alone with the model, the probe reads what it has chosen of the batch."""

        def both(pixels: torch.Tensor, view: VisionCache, frames: Frames) -> Any:
            result = run(pixels, view, frames)
            self._careful(alone, lambda: self._read(pixels, view, frames))
            return result

        return run if self._probe is None else both

    def known(self, batch: ScoredBatch) -> None:
        """The next segments, which an earlier pass has scored and logged: they count for the smoothing alone."""
        self._raw += batch.raw.tolist()
        for piece in batch.pieces:
            self._quality.pop(piece.segment.index, None)

    def scored(self, batch: ScoredBatch) -> None:
        """The next segments' scores and features."""
        self._careful(self._take, batch)

    def close(self) -> None:
        """Log what waits for neighbours that will not come."""
        self._careful(self._emit, len(self._raw))

    # -- what is done with it ---------------------------------------------------------------------------------------
    def _measure(self, piece: SegmentPictures, lost: int) -> None:
        self._quality[piece.segment.index] = picture_quality(piece.pictures), lost - self._lost
        self._lost = lost

    def _read(self, pixels: torch.Tensor, view: VisionCache, frames: Frames) -> None:
        assert self._probe is not None
        try:
            self._probed |= self._probe.read(self._names["video"], pixels, view, frames)
        except Exception:
            PROBE_FAILURES.inc()
            raise

    def _take(self, batch: ScoredBatch) -> None:
        shares, kept = contributions(self._scorer, batch.features), kept_features(batch.features, self._about.features)
        now = datetime.now(UTC)
        for i, piece in enumerate(batch.pieces):
            quality, lost = self._quality.pop(piece.segment.index, (None, None))
            probed = self._probed.pop(piece.segment.frame_indices, None)
            self._rows.append(
                {
                    "time": now if self._recorded is None else self._recorded + timedelta(seconds=piece.start_s),
                    "segment": piece.segment.index,
                    "start_s": piece.start_s,
                    "stop_s": piece.stop_s,
                    "raw": float(batch.raw[i]),
                    "brightness": quality and quality.brightness,
                    "sharpness": quality and quality.sharpness,
                    "dropped_frames": lost,
                    "layout": quality and quality.layout,
                    "contributions": shares[i],
                    "features": None if kept is None else kept[i],
                    "prompt_scores": probed and probed.scores,
                    "prompt_contributions": probed and probed.contributions.ravel(),
                }
            )
        self._raw += batch.raw.tolist()
        ahead = 0 if self._locator.smoothing == "causal" else self._radius
        self._emit(len(self._raw) - ahead)

    def _emit(self, stop: int) -> None:
        """Log the waiting rows of segments before number `stop`: their smoothed scores are final."""
        start = len(self._raw) - len(self._rows)
        n = stop - start
        if n <= 0:
            return
        base = max(start - self._radius, 0)
        around = np.array(self._raw[base : stop + self._radius])
        smoothed = smooth(around, self._locator.sigma_segments, self._locator.smoothing)[start - base : stop - base]
        ready, self._rows = self._rows[:n], self._rows[n:]
        self._log.put(self._about, table_of(ready, smoothed, self._locator.threshold, self._about, self._names))


def kept_features(features: Float32[np.ndarray, "segment head d_head"], kept: Kept) -> np.ndarray | None:
    """What is logged of expert-head features, float32[segment, K * n], n as schema.PROJECTED says or d_head."""
    if kept == "none":
        return None
    return (features if kept == "all" else features @ projection(features.shape[-1])).reshape(len(features), -1)


def table_of(
    rows: Sequence[dict[str, Any]], smoothed: np.ndarray, threshold: float, about: About, names: dict[str, str]
) -> pa.Table:
    """Rows of one pass as the log keeps them."""
    columns = {name: [r[name] for r in rows] for name in rows[0]}
    columns |= {"smoothed": list(smoothed), "in_event": list(smoothed > threshold)}
    same = {**names, "detector_id": about.detector_id}

    def array(of: pa.Field) -> pa.Array:
        if of.name in same:
            return pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(rows), np.int32)), pa.array([same[of.name]]))
        return pa.array(columns[of.name], of.type)

    return pa.Table.from_arrays([array(f) for f in COLUMNS], schema=COLUMNS)


class Observer:
    """Detects, and logs every segment."""

    def __init__(self, log: PredictionLog, features: Kept = "projected", probe_share: float = 0.02) -> None:
        self.log, self.features, self.probe_share = log, features, probe_share

    def watch(
        self,
        detector: Detector,
        video_id: str,
        locator: OperatingPoint,
        camera: str | None = None,
        recorded: datetime | None = None,
        pass_id: str | None = None,
    ) -> Watch:
        """The hooks of one pass over one video, where `detect` does not do.

        recorded: when the video's first picture was taken, with a time zone; without it the time of scoring is logged.
        pass_id: names this pass where results must be the same again.
        """
        about = about_of(detector, locator, self.features)
        names = {"camera": camera or camera_of(video_id), "video": video_id, "pass_id": pass_id or secrets.token_hex(6)}
        probe = Probe(detector, self.probe_share) if self.probe_share else None
        return Watch(self.log, about, detector.scorer, locator, names, recorded, probe)

    def detect(
        self,
        detector: Detector,
        path: Path,
        video_id: str | None = None,
        options: Options | None = None,
        *,
        camera: str | None = None,
        recorded: datetime | None = None,
        pass_id: str | None = None,
        reader: Reader = VideoReader,
        run: Run | None = None,
        scored: Callable[[ScoredBatch], object] | None = None,
        known: Sequence[ScoredBatch] = (),
        alone: Alone | None = None,
        **more: Any,
    ) -> Report:
        """`detector.detect`, with every segment logged; see `watch` for camera, recorded and pass_id.

        alone: where `run` is shared between threads, calls a function while nobody else uses the model. Without it
            nothing is probed under a shared `run`.
        """
        options = options or Options()
        watch = self.watch(
            detector, video_id or path.name, detector.operating_point(options), camera, recorded, pass_id
        )
        before = iter(known)

        def both(batch: ScoredBatch) -> None:
            (watch.scored if next(before, None) is None else watch.known)(batch)
            if scored is not None:
                scored(batch)

        if run is None:
            run, alone = detector.run, _now
        hooked = watch.run(run, alone) if alone is not None else run
        read = watch.reader(reader)
        try:
            return detector.detect(path, video_id, options, reader=read, run=hooked, scored=both, known=known, **more)
        finally:
            watch.close()


def _now(what: Callable[[], object]) -> object:
    return what()


def observer_of(settings: Settings) -> Observer | None:
    """An observer as the environment says, whose log is written to its end when the process ends; None for no log."""
    if settings.prediction_log is None:
        return None
    days = settings.log_retention_days
    log = PredictionLog(settings.prediction_log, flush_s=settings.log_flush_s, retention_days=days)
    atexit.register(log.close)
    return Observer(log, settings.log_features, settings.probe_share)


@contextmanager
def observing(settings: Settings) -> Iterator[Observer | None]:
    """The same for a while: the log is written to its end when this ends."""
    observer = observer_of(settings)
    try:
        yield observer
    finally:
        if observer is not None:
            observer.log.close()


_shared = cache(observer_of)


def detecting(detector: Detector, settings: Settings | None = None) -> Callable[..., Report]:
    """`detector.detect`, logged if the environment says so; one log for the whole process."""
    observer = _shared(settings or Settings())
    return detector.detect if observer is None else partial(observer.detect, detector)


def about_of(detector: Detector, locator: OperatingPoint, features: Kept) -> About:
    """What the rows of a detector have in common."""
    bundle = detector.bundle
    return About(
        detector_id=detector.detector_id,
        code=detector.code,
        heads=tuple(detector.scorer.heads),
        prompts=bundle.calibration_prompts,
        prompt=bundle.prompt,
        threshold=locator.threshold,
        sigma_segments=locator.sigma_segments,
        features=features,
    )
