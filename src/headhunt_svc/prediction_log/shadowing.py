"""Logs what a candidate makes of the segments that the detector in use scores; nothing of it reaches a report.

Its rows lie below `shadow/` of the prediction log, where no window and no baseline reads them. Whatever goes wrong with
a candidate is counted and logged once; the video goes on without it.
"""

import logging
from collections.abc import Callable, Generator
from contextlib import closing
from datetime import datetime

import pyarrow as pa

from headhunt_svc.detector.batches import ScoredBatch
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Reporter
from headhunt_svc.detector.shadow import Shadow
from headhunt_svc.prediction_log.metrics import SHADOW_EVENTS, SHADOW_FAILURES, SHADOW_SEGMENTS
from headhunt_svc.prediction_log.rows import PassRows, RowSink, metadata_of
from headhunt_svc.prediction_log.schema import LogMetadata

logger = logging.getLogger(__name__)
FOLDER = "shadow"  # below the prediction log
Candidate = Callable[[], Reporter | None]
_logged: set[tuple[str, str]] = set()


def shadow_uri(log: str) -> str:
    """Where the rows of candidates lie, beside those of a prediction log."""
    return f"{log.rstrip('/')}/{FOLDER}"


class _Counted:
    """Counts segments and would-be events, and passes the rows on into the log, if there is one."""

    def __init__(self, log: RowSink | None) -> None:
        self._log, self._is_event = log, False

    def put(self, metadata: LogMetadata, rows: pa.Table) -> bool:
        """See RowSink."""
        for is_event in rows["in_event"].to_pylist():
            SHADOW_EVENTS.inc(is_event and not self._is_event)
            self._is_event = is_event
        SHADOW_SEGMENTS.inc(len(rows))
        return self._log is None or self._log.put(metadata, rows)


class ShadowPass:
    """One pass over a video, as the candidate of the moment scores it."""

    def __init__(
        self,
        candidate: Candidate,
        log: Callable[[], RowSink | None],
        names: dict[str, str],
        options: Options,
        recorded: datetime | None,
    ) -> None:
        """candidate, log: are asked for when they are needed. names: of camera, video and pass."""
        self._candidate, self._log, self._names = candidate, log, names
        self._options, self._recorded = options, recorded
        self._now: Reporter | None = None
        self._shadow: Shadow | None = None
        self._rows: PassRows | None = None

    def add(self, batch: ScoredBatch) -> None:
        """The next batch of the detector in use."""
        try:
            candidate = self._candidate()
            if candidate is not self._now:
                self._begin(candidate)
            if self._shadow is not None and self._rows is not None:
                self._rows.add(self._shadow.add(batch))
        except Exception as exc:  # whatever a candidate does, the detector in use scores on
            self._give_up(exc)

    def finish(self) -> None:
        """The video has ended, or is scored no further."""
        try:
            if self._rows is not None:
                self._rows.finish()
        except Exception as exc:
            self._give_up(exc)
        self._shadow = self._rows = None

    def _begin(self, candidate: Reporter | None) -> None:
        self.finish()
        self._now = candidate
        if candidate is None:
            return
        shadow = Shadow(candidate, self._names["camera"], self._options)
        metadata = metadata_of(shadow.detector, shadow.point, "none")  # the features are in the rows beside
        self._rows = PassRows(_Counted(self._log()), metadata, shadow.point, self._names, self._recorded)
        self._shadow = shadow

    def _give_up(self, exc: Exception) -> None:
        """Nothing more of this candidate in this video."""
        self._shadow = self._rows = None
        SHADOW_FAILURES.inc()
        detector_id = "" if self._now is None else self._now.detector_id
        if (key := (detector_id, str(exc))) not in _logged and len(_logged) < 100:
            _logged.add(key)
            logger.error("candidate %s fails and is left out of %s: %s", detector_id, self._names["video"], exc)


def beside(batches: Generator[ScoredBatch], shadow: ShadowPass) -> Generator[ScoredBatch]:
    """The same batches, each once the candidate has seen it; closes them at the end."""
    with closing(batches):
        try:
            for batch in batches:
                shadow.add(batch)
                yield batch
        finally:
            shadow.finish()
