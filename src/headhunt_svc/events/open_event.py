"""One event of a live camera: what it has become, and what of it the store knows."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol, runtime_checkable

from headhunt_svc.errors import ArtifactError, HeadHuntError
from headhunt_svc.events.candidates import Run
from headhunt_svc.events.features import EventFeatures, joined
from headhunt_svc.events.records import NewEvent, TimeBasis
from headhunt_svc.events.store import EventStore, NoSuchEventError

logger = logging.getLogger(__name__)


@runtime_checkable
class Camera(Protocol):
    """What of a camera matters here."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def time_zone(self) -> str:
        """In which times are shown."""

    @property
    def merge_s(self) -> float:
        """Events that are closer are one."""

    @property
    def keep_clips(self) -> bool:
        """Do events get a clip?"""


@runtime_checkable
class ClipWriter(Protocol):
    """A clip that is being written."""

    @property
    def start_s(self) -> float | None:
        """When its first picture is, in stream time; None: it has none."""

    def finish(self, until_s: float) -> Path | None:
        """End it with the pictures of this time of the stream; None: there is nothing in it."""

    def abandon(self) -> None:
        """Remove it."""


@runtime_checkable
class ClipSource(Protocol):
    """Received packets of a camera."""

    def start_clip(self, path: Path, since_s: float) -> ClipWriter:
        """Begin a clip with the pictures of this time of the stream. path: without its ending."""


@runtime_checkable
class Normal(Protocol):
    """What knows the features of a run and of normal segments beside it (Candidates)."""

    def features(self, run: Run) -> EventFeatures:
        """The features, as far as they are known."""


@dataclass(slots=True, eq=False, kw_only=True)
class OpenEvent:
    """An event that goes on, or that has ended and is not stored whole.

    normal: what knows the features of its run. start, stop, peak: in UTC; stop_s, peak_s: of the run when stop and peak
    were computed. start_s: in the connection's times. key, threshold: see NewEvent.
    merge_s: an event that was stored before and is closer goes on with this one; None: none does.
    stored_...: what the store knows. earlier: the features of the stored event that goes on.
    clip: is being written, from clip_from_s on; clip_file: is finished, and the store does not have it.
    clip_start: when its first picture is.
    """

    run: Run
    normal: Normal
    camera: Camera
    video_id: str
    detector_id: str
    threshold: float
    key: str
    start_s: float
    merge_s: float | None
    start: datetime
    stop: datetime
    peak: datetime
    stop_s: float = -1.0
    peak_s: float = -1.0
    is_over: bool = False
    is_interrupted: bool = False
    id: str | None = None
    earlier: EventFeatures | None = None
    stored_stop: datetime | None = None
    stored_score: float = -1.0
    stored_segments: int = 0
    is_stored: bool = False  # whole
    clip: ClipWriter | None = None
    clip_from_s: float = 0.0
    clip_file: Path | None = None
    clip_start: datetime | None = None

    # its clip

    def start_clip(self, clips: ClipSource, folder: Path, margin_s: float) -> None:
        """Begin a clip; where that is not possible, the log says why and there is none."""
        self.clip_from_s = max(self.start_s - margin_s, 0.0)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.clip = clips.start_clip(folder / self.key, self.clip_from_s)
        except (HeadHuntError, OSError) as exc:
            logger.warning("%s: no clip of the event of %s (%s)", self.camera.name, self.start, exc)

    def clip_until(self, margin_s: float, most_s: float) -> float:
        """The end of the clip, in the times of the connection that the event began in."""
        length_s = self.run.stop_s - self.run.start_s
        return min(self.start_s + length_s + margin_s, self.clip_from_s + most_s)

    def finish_clip(self, until_s: float) -> None:
        """End the clip, if one is being written, with the pictures of this time, or with what there is of it."""
        writer, self.clip = self.clip, None
        if writer is None:
            return
        try:
            self.clip_file, start_s = writer.finish(until_s), writer.start_s
            if start_s is not None:
                self.clip_start = self.start + timedelta(seconds=start_s - self.start_s)
        except (HeadHuntError, OSError) as exc:
            logger.warning("%s: no clip of the event of %s (%s)", self.camera.name, self.start, exc)

    # the store

    def write(self, store: EventStore) -> None:
        """Bring the store up to date. Raises OutputError, UnreachableError: nothing is lost, call it again later."""
        try:
            self._write(store)
        except NoSuchEventError:  # it was made a part of another event, to which its key leads, or was deleted
            self.id, self.stored_score, self.stored_stop = None, -1.0, None
            self._write(store)

    def _write(self, store: EventStore) -> None:
        event_id = self._add(store) if self.id is None else self.id
        if not self.is_stored:
            self._extend(store, event_id)
        if self.is_over and not self.is_stored:
            store.close(event_id, stop=self.stop, interrupted=self.is_interrupted)
            self.is_stored = True
        if self.clip_file is not None and not self.clip_file.exists():  # or it would hold up all that follows
            logger.warning("%s: the clip of the event of %s was deleted by somebody", self.camera.name, self.start)
        elif self.clip_file is not None:
            store.attach_clip(event_id, self.clip_file, self.clip_start)
        self.clip_file = None

    def _add(self, store: EventStore) -> str:
        run = self.run
        new = NewEvent(
            camera=self.camera.name,
            video_id=self.video_id,
            start=self.start,
            stop=None,
            peak=self.peak,
            time_basis=TimeBasis.STREAM,
            time_zone=self.camera.time_zone,
            score=run.peak,
            threshold=self.threshold,
            detector_id=self.detector_id,
            contributions=run.contributions,
            origin="live",
            key=self.key,
            start_s=self.start_s,
        )
        features = self._features()
        record = store.add(new, merge_s=self.merge_s, picture=run.picture, features=features)
        is_part = record.key != self.key
        self.earlier = self._stored_features(store, record.id) if is_part else None
        self.stored_segments = 0 if is_part else len(run.kept)
        self.id = record.id
        return record.id

    def _extend(self, store: EventStore, event_id: str) -> None:
        """Write what has changed; features whenever there are twice as many segments, and when it is over."""
        run, n = self.run, len(self.run.kept)
        has_more = n != self.stored_segments if self.is_over else n >= 2 * self.stored_segments
        if not has_more and (self.stop, run.peak) == (self.stored_stop, self.stored_score):
            return
        store.extend(
            event_id,
            stop=self.stop,
            peak=self.peak,
            score=run.peak,
            contributions=run.contributions,
            picture=run.picture if run.peak > self.stored_score else None,
            features=self._features() if has_more else None,
        )
        self.stored_stop, self.stored_score = self.stop, run.peak
        self.stored_segments = n if has_more else self.stored_segments

    def _features(self) -> EventFeatures:
        features = self.normal.features(self.run)
        return features if self.earlier is None else joined(self.earlier, features)

    def _stored_features(self, store: EventStore, event_id: str) -> EventFeatures | None:
        try:
            return store.features(event_id)
        except ArtifactError as exc:
            logger.warning("%s: these features are replaced: %s", self.camera.name, exc)
            return None
