"""Stores the events of a live camera while they happen: opened, extended, closed.

live = LiveEvents(store, camera, detector, options, clips)  # outlives the connections of the camera's stream
live.use(detector, options)  # another bundle was activated
with LiveVideo(...) as video:
    source = live.connected(video)
    for batch in live.record(detector.score(source, options=options)):
        ...
live.tick(now)  # again and again while there is no connection
live.close()

Times of one connection count from its first picture. They are put on one axis, so that an event may go on over a
connection that was lost. What cannot be stored for now (database away, disk full) is kept, and stored later.
"""

import hashlib
import json
import logging
import shutil
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from datetime import datetime, timedelta
from time import monotonic
from typing import Protocol, runtime_checkable

from headhunt_svc.detector.batches import ScoredBatch
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Reporter
from headhunt_svc.errors import OutputError, UnreachableError
from headhunt_svc.events.candidates import Candidates, Run
from headhunt_svc.events.open_event import Camera, ClipSource, OpenEvent
from headhunt_svc.events.pictures import PeakPictures
from headhunt_svc.events.records import EventRecord
from headhunt_svc.events.store import EventStore
from headhunt_svc.names import CameraName
from headhunt_svc.video.source import VideoSource

logger = logging.getLogger(__name__)
RETRY_S = 5.0  # after the store did not take something
MOST_WAITING = 100  # events that have ended and could not be stored
NORMAL_OVER = 4096  # the last segments that the sample of normal ones is drawn from
LEFT_S = 3600.0  # an open event that nobody has extended for so long is of a process that is gone
_BREAK_S = 0.01  # between two connections at least: nothing goes on from one to the next without a break


@runtime_checkable
class Connection(Protocol):
    """One connection of a live stream."""

    @property
    def video_id(self) -> str:
        """Its name in reports and logs."""

    def utc(self, time_s: float) -> datetime:
        """The time of a picture, from its seconds since the first picture."""


class LiveEvents:
    """The events of one camera as a detector finds them. Threads may call `tick` and `close` beside `record`.

    An event goes on until no segment was above the threshold for the camera's merge_s; it has one id for all that
    time, also if the connection was lost and came back.
    """

    def __init__(
        self,
        store: EventStore,
        camera: Camera,
        detector: Reporter,
        options: Options,
        clips: ClipSource | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Raises ConfigError: see Reporter.operating_point.

        ValueError: the scores of these options are not final at once.
        """
        self._store, self._camera = store, camera
        self._clips, self._clock = clips if camera.keep_clips else None, clock
        self._lock = threading.RLock()
        self._next: Connection | None = None  # until its batches are asked for
        self._connection: Connection | None = None
        self._pictures: PeakPictures | None = None
        self._origin: datetime | None = None  # of the axis
        self._offset_s: float | None = None  # of this connection's times on the axis
        self._reached_s = 0.0  # on the axis
        self._away_since: datetime | None = None
        self._event: OpenEvent | None = None  # the one that goes on
        self._ended: list[OpenEvent] = []  # what is not stored, or whose clip is not finished
        self._is_first = True
        self._retry_at = 0.0
        self.problem: str | None = None  # why nothing can be stored at present
        self.use(detector, options)

    @property
    def open_event(self) -> str | None:
        """The id of the event that goes on, if there is one that is stored."""
        event = self._event
        return None if event is None else event.id

    @property
    def waiting(self) -> int:
        """Events that could not be stored for now."""
        return sum(not live.is_stored for live in self._ended)

    def use(self, detector: Reporter, options: Options) -> None:
        """The next batches are of this detector. An event that goes on ends here, with the detector that found it;
        where the next one sees the same scene, that is an event of its own.

        Raises: see __init__.
        """
        detector = detector.at(self._camera.name)
        point = detector.operating_point(options)
        if point.smoothing != "causal":
            raise ValueError("live events need causal smoothing")
        with self._lock:
            if self._event is not None:
                self._end()
            self._detector_id, self._threshold = detector.detector_id, point.threshold
            self._candidates = Candidates(
                point,
                detector.detector_id,
                tuple(detector.scorer.heads),
                self._take,
                merge_s=self._camera.merge_s,
                sample_over=NORMAL_OVER,
                features_id=detector.bundle.features_id,
            )

    def connected(self, video: Connection, source: VideoSource | None = None) -> VideoSource:
        """A connection has been made: its times start anew. Returns the video for the detector to read from.

        source: the video as it is to be scored, with its masks; by default the connection is the video itself.
        """
        if source is None:
            assert isinstance(video, VideoSource)
            source = video
        with self._lock:
            self._next, self._pictures = video, PeakPictures(source)
            return self._pictures

    def record(self, batches: Generator[ScoredBatch]) -> Generator[ScoredBatch]:
        """The same batches; closes them at the end, when the connection is lost."""
        with self._lock:
            self._connection, self._offset_s, self._away_since = self._next, None, None
        try:
            with closing(batches):
                for batch in batches:
                    with self._lock:
                        self._follow(batch)
                    yield batch
        finally:
            with self._lock:
                self._disconnected()

    def tick(self, now: datetime) -> None:
        """While there is no connection: end an event whose stream has been away for merge_s; store what waits."""
        with self._lock:
            if self._connection is None and self._event is not None:
                # a clock that was set back starts the wait anew
                if self._away_since is None or now < self._away_since:
                    self._away_since = now
                if now - self._away_since >= timedelta(seconds=self._camera.merge_s):
                    self._end(is_interrupted=self._candidates.is_above)
            self._settle()

    def close(self) -> None:
        """End what goes on, as interrupted; store what waits, if that is possible."""
        with self._lock:
            if self._connection is not None:
                self._disconnected()
            if self._event is not None:
                self._end(is_interrupted=True)
            self._retry_at = 0.0
            self._settle()
            for live in (one for one in self._ended if not one.is_stored):
                logger.error("%s: the event of %s is lost (%s)", self._camera.name, live.start, self.problem)

    # inside the lock

    def _take(self, index: int, is_needed: bool) -> bytes | None:
        return None if self._pictures is None else self._pictures.take(index, is_needed)

    def _follow(self, batch: ScoredBatch) -> None:
        """The next segments of this connection."""
        connection = self._connection
        assert connection is not None
        if self._offset_s is None:
            self._offset_s = self._place(connection, batch.segments[0].start_s)
        self._candidates.add(batch, self._offset_s)
        self._reached_s = batch.stop_s + self._offset_s
        for run in self._candidates.runs:
            if self._event is None or self._event.run is not run:
                if self._event is not None:
                    self._end()
                self._event = self._begin(run, connection, self._offset_s)
            self._update(self._event, connection, self._offset_s)
        if self._event is not None and self._candidates.is_over(self._event.run):
            self._end()
        self._settle()

    def _place(self, connection: Connection, first_s: float) -> float:
        """What the connection's times are ahead of those on the axis, on which no time comes twice."""
        first = connection.utc(first_s)
        if self._origin is None:
            self._origin = first - timedelta(seconds=first_s)
            return 0.0
        return max((first - self._origin).total_seconds(), self._reached_s + _BREAK_S) - first_s

    def _begin(self, run: Run, connection: Connection, offset_s: float) -> OpenEvent:
        start_s = run.start_s - offset_s
        start = connection.utc(start_s)
        text = json.dumps([CameraName(self._camera.name), connection.video_id, self._detector_id, start_s])
        key = hashlib.sha256(text.encode()).hexdigest()[:40]
        merge_s, self._is_first = self._camera.merge_s if self._is_first else None, False
        live = OpenEvent(
            run=run,
            normal=self._candidates,
            camera=self._camera,
            video_id=connection.video_id,
            detector_id=self._detector_id,
            threshold=self._threshold,
            key=key,
            start_s=start_s,
            merge_s=merge_s,
            start=start,
            stop=start,
            peak=start,
        )
        if self._clips is not None:
            folder = self._store.media.live(self._camera.name)
            live.start_clip(self._clips, folder, self._store.settings.clip_margin_s)
        return live

    def _update(self, live: OpenEvent, connection: Connection, offset_s: float) -> None:
        """What the run has become, in UTC, while the connection that knows it is there."""
        run = live.run
        if run.stop_s != live.stop_s:
            live.stop_s, live.stop = run.stop_s, max(connection.utc(run.stop_s - offset_s), live.start)
        if run.peak_s != live.peak_s:
            live.peak_s, live.peak = run.peak_s, connection.utc(run.peak_s - offset_s)

    def _end(self, is_interrupted: bool = False) -> None:
        live = self._event
        assert live is not None
        live.is_over, live.is_interrupted = True, is_interrupted
        self._candidates.forget(live.run)
        self._event = None
        self._ended.append(live)
        unstored = [one for one in self._ended if not one.is_stored]
        if len(unstored) > MOST_WAITING:
            logger.error("%s: the event of %s is lost (%s)", self._camera.name, unstored[0].start, self.problem)
            self._ended.remove(unstored[0])

    def _disconnected(self) -> None:
        for live in (*self._ended, *([] if self._event is None else [self._event])):
            live.finish_clip(self._clip_until(live))
        self._connection = self._offset_s = self._pictures = None
        self._settle()

    def _clip_until(self, live: OpenEvent) -> float:
        settings = self._store.settings
        return live.clip_until(settings.clip_margin_s, settings.clip_most_s)

    def _settle(self) -> None:
        """Finish clips and store what is not stored; what fails is tried again later."""
        if self._offset_s is not None:
            for live in self._ended:
                if live.clip is not None and self._clip_until(live) <= self._reached_s - self._offset_s:
                    live.finish_clip(self._clip_until(live))
        if self._clock() < self._retry_at:
            return
        try:
            for live in (*self._ended, *([] if self._event is None else [self._event])):
                live.write(self._store)
        except (OutputError, UnreachableError) as exc:
            if self.problem != str(exc):
                logger.warning("%s: events wait to be stored: %s", self._camera.name, exc)
            self.problem, self._retry_at = str(exc), self._clock() + RETRY_S
            return
        self.problem = None
        self._ended = [live for live in self._ended if live.clip is not None]


def recover(store: EventStore, cameras: Iterable[str], now: datetime) -> list[EventRecord]:
    """Close, as interrupted, events that a killed process has left open; returns them.

    Call it before anything is scored. cameras: those of this process, which nobody else watches. Open events of other
    cameras are closed where nobody has extended them for an hour: their camera may be watched by nobody any more.

    Raises:
        UnreachableError: see EventStore.
    """
    names = {CameraName(camera) for camera in cameras}
    left = {event.id for event in store.open_events(seen_before=now - timedelta(seconds=LEFT_S))}
    left |= {event.id for event in store.open_events() if event.camera in names}
    closed = [store.close(event_id, stop=None, interrupted=True) for event_id in sorted(left)]
    for name in names:
        shutil.rmtree(store.media.live(name), ignore_errors=True)
    return closed
