"""Wraps Detector.score; logs one row per segment.

    with open_video(path, "yard/0412.mp4") as video:
        batches = recorder.record(detector, video.video_id, detector.score(video), options)
        report = detector.report(video, batches, options)

Whatever goes wrong in logging is counted and logged once; it never changes or fails a score.
"""

import atexit
import logging
import secrets
import threading
from collections.abc import Generator
from contextlib import closing
from datetime import datetime
from functools import cache

from headhunt_svc.detector.batches import ScoredBatch
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector, Reporter
from headhunt_svc.detector.readers import FeatureReader
from headhunt_svc.names import CameraName, VideoId, camera_of
from headhunt_svc.prediction_log.guard import log_errors
from headhunt_svc.prediction_log.metrics import SHADOW_LOG
from headhunt_svc.prediction_log.probe import ProbingReader
from headhunt_svc.prediction_log.rows import PassRows, metadata_of
from headhunt_svc.prediction_log.schema import Kept
from headhunt_svc.prediction_log.shadowing import Candidate, ShadowPass, beside, shadow_uri
from headhunt_svc.prediction_log.writer import PredictionLog
from headhunt_svc.settings import Settings

logger = logging.getLogger(__name__)


class Recorder:
    """Logs the segments of videos; without a log it passes everything on as it is."""

    def __init__(self, log: PredictionLog | None, features: Kept = "projected", probe_share: float = 0.02) -> None:
        """features: which expert-head features are logged. probe_share: of the segments, read under all prompts."""
        self.log, self.features, self.probe_share = log, features, probe_share
        self._warned = False
        self._shadow_log: PredictionLog | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """Write the log to its end."""
        for log in (self.log, self._shadow_log):
            if log is not None:
                log.close()

    def shadow_log(self) -> PredictionLog | None:
        """The log of candidates; opened when it is first needed, and None where nothing is logged."""
        with self._lock:
            if self._shadow_log is None and self.log is not None:
                self._shadow_log = PredictionLog(
                    shadow_uri(self.log.store.uri),
                    flush_s=self.log.flush_s,
                    retention_days=self.log.retention_days,
                    metrics=SHADOW_LOG,
                )
            return self._shadow_log

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
        detector: Reporter,
        video_id: str,
        batches: Generator[ScoredBatch],
        options: Options = Options(),
        *,
        camera: str | None = None,
        recorded: datetime | None = None,
        pass_id: str | None = None,
        candidate: Candidate | None = None,
    ) -> Generator[ScoredBatch]:
        """Pass a video's batches on, each once its rows are on their way into the log; closes `batches` at the end.

        camera: by default the folder in the id of the video.
        recorded: when the video's first picture was taken, with a time zone; without it the time of scoring is logged.
        pass_id: names this pass where results must be the same again.
        candidate: what is scored in shadow, from batch to batch; its rows have the same pass.
        """
        if self.log is None and candidate is None:
            return batches
        names = {"camera": CameraName(camera or camera_of(video_id)), "video": VideoId(video_id)}
        names["pass_id"] = pass_id or secrets.token_hex(6)
        if candidate is not None:
            batches = beside(batches, ShadowPass(candidate, self.shadow_log, names, options, recorded))
        if self.log is None:
            return batches
        point = detector.operating_point(options)
        rows = PassRows(self.log, metadata_of(detector, point, self.features), point, names, recorded)
        return self._tee(batches, rows)

    def _tee(self, batches: Generator[ScoredBatch], rows: PassRows) -> Generator[ScoredBatch]:
        with closing(batches):
            try:
                for batch in batches:
                    with log_errors():
                        rows.add(batch)
                    yield batch
            finally:
                with log_errors():
                    rows.finish()


def recorder_of(settings: Settings) -> Recorder:
    """A recorder as the environment says, which is closed when the process ends, if not before."""
    if settings.prediction_log is None:
        return Recorder(None)
    days = settings.log_retention_days
    log = PredictionLog(settings.prediction_log, flush_s=settings.log_flush_s, retention_days=days)
    recorder = Recorder(log, settings.log_features, settings.probe_share)
    atexit.register(recorder.close)
    return recorder


shared_recorder = cache(recorder_of)  # one for the whole process
