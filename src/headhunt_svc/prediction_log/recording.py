"""Wraps Detector.score; logs one row per segment.

    with open_video(path, "yard/0412.mp4") as video:
        batches = recorder.record(detector, video.video_id, detector.score(video), options)
        report = detector.report(video, batches, options)

Whatever goes wrong in logging is counted and logged once; it never changes or fails a score.
"""

import atexit
import logging
import secrets
from collections.abc import Generator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float32

from headhunt_svc.core.localization import TRUNCATE, contiguous, smooth
from headhunt_svc.detector.batches import ScoredBatch
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.readers import FeatureReader
from headhunt_svc.names import CameraName, VideoId, camera_of
from headhunt_svc.prediction_log.guard import log_errors
from headhunt_svc.prediction_log.probe import ProbingReader
from headhunt_svc.prediction_log.schema import COLUMNS, Kept, LogMetadata, projection
from headhunt_svc.prediction_log.writer import PredictionLog
from headhunt_svc.settings import Settings
from headhunt_svc.types import OperatingPoint

logger = logging.getLogger(__name__)


class Recorder:
    """Logs the segments of videos; without a log it passes everything on as it is."""

    def __init__(self, log: PredictionLog | None, features: Kept = "projected", probe_share: float = 0.02) -> None:
        """features: which expert-head features are logged. probe_share: of the segments, read under all prompts."""
        self.log, self.features, self.probe_share = log, features, probe_share
        self._warned = False

    def close(self) -> None:
        """Write the log to its end."""
        if self.log is not None:
            self.log.close()

    def probing(self, detector: Detector, reader: FeatureReader | None = None) -> FeatureReader:
        """A reader (by default the detector's own) that also probes, where something is logged and probed.

        Scores relative to a background are not probed: that of another prompt is not known from single segments.
        """
        reader = reader or detector.model_reader()
        if self.log is None or not self.probe_share:
            return reader
        if detector.scorer.background is not None:  # under another prompt, the background is another one, too
            if not self._warned:
                logger.warning(
                    "prompts are not probed: with fit.background, single segments have no score under others"
                )
            self._warned = True
            return reader
        return ProbingReader(detector, reader, self.probe_share)

    def record(
        self,
        detector: Detector,
        video_id: str,
        batches: Generator[ScoredBatch],
        options: Options = Options(),
        *,
        camera: str | None = None,
        recorded: datetime | None = None,
        pass_id: str | None = None,
    ) -> Generator[ScoredBatch]:
        """Pass a video's batches on, each once its rows are on their way into the log; closes `batches` at the end.

        camera: by default the folder in the id of the video.
        recorded: when the video's first picture was taken, with a time zone; without it the time of scoring is logged.
        pass_id: names this pass where results must be the same again.
        """
        if self.log is None:
            return batches
        point = detector.operating_point(options)
        names = {"camera": CameraName(camera or camera_of(video_id)), "video": VideoId(video_id)}
        names["pass_id"] = pass_id or secrets.token_hex(6)
        rows = PassRows(self.log, metadata_of(detector, point, self.features), point, names, recorded)
        return self._tee(batches, rows)

    def _tee(self, batches: Generator[ScoredBatch], rows: "PassRows") -> Generator[ScoredBatch]:
        with closing(batches):
            try:
                for batch in batches:
                    with log_errors():
                        rows.add(batch)
                    yield batch
            finally:
                with log_errors():
                    rows.finish()


class PassRows:
    """Rows of one pass over one video: each is logged once its smoothed score is final."""

    def __init__(
        self,
        log: PredictionLog,
        metadata: LogMetadata,
        point: OperatingPoint,
        names: dict[str, str],
        recorded: datetime | None,
    ) -> None:
        """names: of camera, video and pass. recorded: when the first picture was taken, if that is known."""
        self._log, self._metadata, self._point = log, metadata, point
        self._names, self._recorded = {**names, "detector_id": metadata.detector_id}, recorded
        self._radius = int(TRUNCATE * point.sigma_segments + 0.5)
        self._raw: list[float] = []  # of segments that smoothing still needs: memory does not grow with the video
        self._edges: list[tuple[float, float]] = []  # of the same segments, in seconds
        self._rows: list[dict[str, Any]] = []  # of segments whose smoothed score is not final yet

    def add(self, batch: ScoredBatch) -> None:
        """The next segments. Those that an earlier pass has scored and logged count for the smoothing alone."""
        if not batch.resumed:
            self._rows += self._rows_of(batch)
        self._raw += batch.raw.tolist()
        self._edges += [(segment.start_s, segment.stop_s) for segment in batch.segments]
        neighbours = 0 if self._point.smoothing == "causal" else self._radius
        self._emit(len(self._raw) - neighbours)

    def finish(self) -> None:
        """Log what waits for neighbours that will not come."""
        self._emit(len(self._raw))

    def _rows_of(self, batch: ScoredBatch) -> list[dict[str, Any]]:
        kept = kept_features(batch.features, self._metadata.features)
        now = datetime.now(UTC)
        rows = []
        for i, segment in enumerate(batch.segments):
            quality, reading = segment.quality, batch.prompt_readings.get(i)
            rows.append(
                {
                    **self._names,
                    "time": now if self._recorded is None else self._recorded + timedelta(seconds=segment.start_s),
                    "segment": segment.segment.index,
                    "start_s": segment.start_s,
                    "stop_s": segment.stop_s,
                    "raw": float(batch.raw[i]),
                    "brightness": quality and quality.brightness,
                    "sharpness": quality and quality.sharpness,
                    "dropped_frames": quality and segment.lost_packets,
                    "layout": quality and quality.layout,
                    "contributions": batch.contributions[i],
                    "features": None if kept is None else kept[i],
                    "prompt_scores": reading and reading.scores,
                    "prompt_contributions": reading and reading.contributions.ravel(),
                }
            )
        return rows

    def _emit(self, stop: int) -> None:
        """Log the waiting rows of segments before number `stop`: their smoothed scores are final."""
        start = len(self._raw) - len(self._rows)
        n = stop - start
        if n <= 0:
            return
        base = max(start - self._radius, 0)
        around = slice(base, stop + self._radius)
        goes_on = contiguous(np.array(self._edges[around]))
        smoothed = smooth(np.array(self._raw[around]), self._point.sigma_segments, self._point.smoothing, goes_on)
        ready, self._rows = self._rows[:n], self._rows[n:]
        for row, score in zip(ready, smoothed[start - base : stop - base].tolist(), strict=True):
            row |= {"smoothed": score, "in_event": score > self._point.threshold}
        unneeded = max(stop - self._radius, 0)
        del self._raw[:unneeded], self._edges[:unneeded]
        self._log.put(self._metadata, pa.Table.from_pylist(ready, schema=COLUMNS))


def kept_features(features: Float32[np.ndarray, "segment head d_head"], kept: Kept) -> np.ndarray | None:
    """What is logged of expert-head features, float32[segment, K * n], n as schema.PROJECTED says or d_head."""
    if kept == "none":
        return None
    return (features if kept == "all" else features @ projection(features.shape[-1])).reshape(len(features), -1)


def recorder_of(settings: Settings) -> Recorder:
    """A recorder as the environment says, which is closed when the process ends, if not before."""
    if settings.prediction_log is None:
        return Recorder(None)
    days = settings.log_retention_days
    log = PredictionLog(settings.prediction_log, flush_s=settings.log_flush_s, retention_days=days)
    atexit.register(log.close)
    return Recorder(log, settings.log_features, settings.probe_share)


shared_recorder = cache(recorder_of)  # one for the whole process


def metadata_of(detector: Detector, point: OperatingPoint, features: Kept) -> LogMetadata:
    """What the rows of a detector have in common."""
    bundle = detector.bundle
    return LogMetadata(
        detector_id=detector.detector_id,
        code=detector.code,
        heads=tuple(detector.scorer.heads),
        prompts=bundle.calibration_prompts,
        prompt=bundle.prompt,
        threshold=point.threshold,
        sigma_segments=point.sigma_segments,
        features=features,
    )
