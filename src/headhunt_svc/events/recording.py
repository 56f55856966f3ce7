"""Stores the events of videos that are scored: `detect --events`, jobs, archives and the service.

events = recorder.watch(detector, options)
with open_video(path) as video:
    batches = events.record(detector.score(events.source(video), options=options))
    report = detector.report(video, batches, options)
events.store(report, footage)
"""

import hashlib
import json
import logging
import tempfile
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Literal

from headhunt_svc.detector.batches import ScoredBatch
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.report import Report, ReportEvent
from headhunt_svc.errors import UnreachableError, VideoError
from headhunt_svc.events.candidates import Candidates
from headhunt_svc.events.clips import cut
from headhunt_svc.events.parts import attach_part_clip
from headhunt_svc.events.pictures import PeakPictures
from headhunt_svc.events.records import EventRecord, NewEvent, Origin
from headhunt_svc.events.rules import EventRules
from headhunt_svc.events.store import EventStore, NoSuchEventError
from headhunt_svc.events.times import Started, compile_pattern, started
from headhunt_svc.names import CameraName, VideoId, absolute, uri_of
from headhunt_svc.settings import EventSettings
from headhunt_svc.storage.files import sha256
from headhunt_svc.video.source import VideoSource

logger = logging.getLogger(__name__)
PURGE_S = 3600.0


@dataclass(frozen=True, slots=True)
class Footage:
    """The file of a video.

    content: its SHA-256, where that is known already. name: of the file as its camera named it, if that is known.
    source: path or URI, as it is shown. is_own: may it be opened in this process? Not one that somebody has sent.
    """

    path: Path
    camera: str
    source: str
    name: str | None = None
    content: str | None = None
    is_own: bool = True


class EventRecorder:
    """Stores the events of many videos; close it at the end."""

    def __init__(self, store: EventStore, origin: Origin) -> None:
        """Raises ConfigError: the settings' name pattern is wrong."""
        self.store, self.origin = store, origin
        if store.settings.name_pattern is not None:
            compile_pattern(store.settings.name_pattern)  # known before anything is scored
        self._purged = -PURGE_S

    @classmethod
    def open(cls, settings: EventSettings, origin: Origin) -> "EventRecorder":
        """A recorder as the environment says. Raises ConfigError, OutputError, UnreachableError: see EventStore."""
        return cls(EventStore.open(settings), origin)

    @classmethod
    def requested(cls, settings: EventSettings, origin: Literal["job", "service", "archive"]) -> "EventRecorder | None":
        """A recorder, where HEADHUNT_EVENTS_RECORD says that this part stores its events. Raises: see `open`."""
        name = origin if origin == "service" else f"{origin}s"
        return cls.open(settings, origin) if name in settings.record else None

    def close(self) -> None:
        """Disconnect from the database."""
        self.store.close_store()

    def watch(self, detector: Detector, options: Options, rules: EventRules | None = None) -> "WatchedVideo":
        """One video that is about to be scored. rules: of its camera; by default as the settings say.

        Raises:
            ConfigError: the name pattern is wrong.
        """
        if rules is not None and rules.name_pattern is not None:
            compile_pattern(rules.name_pattern)
        return WatchedVideo(self, detector, options, rules or EventRules.of_settings(self.store.settings))

    def purge(self) -> None:
        """Delete what is too old or too much, at most once an hour; where that fails, the log says so."""
        now = monotonic()
        if now - self._purged >= PURGE_S:
            self._purged = now
            try:
                self.store.purge()
            except (OSError, UnreachableError) as exc:  # the video's events are stored: its result must not be lost
                logger.warning("old events were not deleted, which is tried again in an hour (%s)", exc)


class WatchedVideo:
    """What is kept of one video until its events are known."""

    def __init__(self, recorder: EventRecorder, detector: Detector, options: Options, rules: EventRules) -> None:
        self._recorder, self._stream, self._rules = recorder, options.stream, rules
        self._pictures: PeakPictures | None = None
        point, heads = detector.operating_point(options), tuple(detector.scorer.heads)
        features_id = detector.bundle.features_id
        self._candidates = Candidates(point, detector.detector_id, heads, self._take, features_id=features_id)

    def _take(self, index: int, is_needed: bool) -> bytes | None:
        return None if self._pictures is None else self._pictures.take(index, is_needed)

    def source(self, video: VideoSource) -> VideoSource:
        """The opened video, for the detector to read from."""
        self._pictures = PeakPictures(video)
        return self._pictures

    def record(self, batches: Generator[ScoredBatch]) -> Generator[ScoredBatch]:
        """The same batches; closes them at the end."""
        with closing(batches):
            for batch in batches:
                self._candidates.add(batch)
                yield batch
        self._candidates.finish()

    def store_own(self, report: Report, path: Path, camera: str) -> list[EventRecord]:
        """The same of a file of this machine. Raises: see `store`."""
        return self.store(report, Footage(path, camera, uri_of(absolute(path)), path.name))

    def store(self, report: Report, footage: Footage) -> list[EventRecord]:
        """Store the events of the report; what is stored already stays as it is.

        Raises:
            OutputError, UnreachableError: see EventStore.
        """
        if not report.events:
            return []
        begun = started(
            footage.path,
            report.duration_s,
            name=footage.name,
            pattern=self._rules.name_pattern,
            time_zone=self._rules.time_zone,
            is_own=footage.is_own,
        )
        content = footage.content or sha256(footage.path)
        keys = [self._key(report, event, footage, content) for event in report.events]
        stored = self._recorder.store.stored(keys)
        groups: dict[str, list[ReportEvent]] = {}
        records: dict[str, EventRecord] = {}
        key_of: dict[str, str] = {}  # one of those that lead to each event
        fresh: set[str] = set()  # events with something that was not stored
        for event, key in zip(report.events, keys, strict=True):
            record = self._add(report, event, footage, begun, key)
            records[record.id] = record
            key_of[record.id] = key
            groups.setdefault(record.id, []).append(event)
            fresh |= set() if key in stored else {record.id}
        for event_id in fresh:
            record = records[event_id]
            if footage.is_own and self._rules.keep_clips and (not record.clip or record.video_id == report.video_id):
                records[event_id] = self._attach_clip(
                    record, key_of[event_id], report, groups[event_id], footage, begun
                )
        self._recorder.purge()
        return list({record.id: record for record in records.values()}.values())  # two may have become one

    def _key(self, report: Report, event: ReportEvent, footage: Footage, content: str) -> str:
        """Names the footage, the detector and the event's start."""
        stream = None if report.stream is None else report.stream.number
        text = json.dumps([CameraName(footage.camera), content, stream, report.detector_id, event.start_frame])
        return hashlib.sha256(text.encode()).hexdigest()[:40]

    def _add(self, report: Report, event: ReportEvent, footage: Footage, begun: Started, key: str) -> EventRecord:
        run, store = self._candidates.run(event.start_s, event.stop_s), self._recorder.store
        return store.add(
            NewEvent(
                camera=CameraName(footage.camera),
                video_id=VideoId(report.video_id),
                start=begun.at(event.start_s),
                stop=begun.at(event.stop_s),
                peak=begun.at(event.peak_s),
                time_basis=begun.basis,
                time_zone=self._rules.time_zone,
                score=event.peak,
                threshold=report.threshold,
                detector_id=report.detector_id,
                contributions=event.contributions,
                origin=self._recorder.origin,
                key=key,
                source=footage.source,
                start_s=event.start_s,
                description=event.description,
            ),
            merge_s=self._rules.merge_s,
            picture=None if run is None else run.picture,
            features=None if run is None else self._candidates.features(run),
            places=None if run is None else self._candidates.places(run),
        )

    def _attach_clip(
        self,
        record: EventRecord,
        key: str,
        report: Report,
        events: Sequence[ReportEvent],
        footage: Footage,
        begun: Started,
    ) -> EventRecord:
        """Cut a clip of what belongs to one event; where that is not possible, the log says why and there is none."""
        settings = self._recorder.store.settings
        begins_s = min(event.start_s for event in events)
        start_s = max(begins_s - settings.clip_margin_s, 0.0)
        stop_s = max(event.stop_s for event in events) + settings.clip_margin_s
        stop_s = min(stop_s, start_s + settings.clip_most_s)
        if any(jump.time_s <= stop_s for jump in report.discontinuities):
            logger.warning("%s: no clip at %.1f s, as the file's clock jumps before", report.video_id, begins_s)
            return record
        try:
            with tempfile.TemporaryDirectory(prefix="headhunt-") as folder:
                clip = cut(footage.path, start_s, stop_s, Path(folder) / "clip", self._stream)
                return attach_part_clip(self._recorder.store, record, key, clip.path, begun.at(clip.start_s))
        except (VideoError, NoSuchEventError) as exc:  # or its event was deleted meanwhile
            logger.warning("%s: no clip at %.1f s (%s)", report.video_id, begins_s, exc)
            return record
