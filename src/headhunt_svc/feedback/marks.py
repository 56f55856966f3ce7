"""Marks: stored events that people have called false alarms, confirmed or missed, as segments to learn from.

A mark that was withdrawn (the event's state is new again) is no mark.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import numpy as np
from jaxtyping import Float64
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from headhunt_svc.core.labelled import Marks
from headhunt_svc.detector.bundle import Bundle, load_bundle
from headhunt_svc.errors import ArtifactError, ConfigError
from headhunt_svc.events.features import EventFeatures
from headhunt_svc.events.records import EventFilter, EventRecord, EventState, Utc
from headhunt_svc.events.store import EventStore, NoSuchEventError
from headhunt_svc.names import CameraName
from headhunt_svc.storage.files import read_model, write_json
from headhunt_svc.types import HeadRef

MARKS_FILE = "marks.json"
MARKED = (EventState.FALSE_ALARM, EventState.CONFIRMED)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MarkedEvent(_Model):
    """A mark in marks.json.

    day: of the event's start, as its camera's clock shows it. features_sha256: of the segments that are learnt from.
    outvoted: the camera's other marks contradict it, so nothing was learnt from it.
    """

    event_id: str
    camera: Annotated[str, AfterValidator(CameraName)]
    state: EventState
    origin: str
    by: str | None
    marked: Utc | None
    start: Utc
    day: date
    segments: int = Field(ge=1)
    features_sha256: str
    outvoted: bool = False

    @property
    def anomalous(self) -> bool:
        """Was it marked as an anomaly?"""
        return self.state == EventState.CONFIRMED


class LeftOut(_Model):
    """Marked events that nothing was learnt from, and why."""

    reason: str
    events: tuple[str, ...]


class MarksFile(_Model):
    """The marks that a bundle learnt from; its digest is their version."""

    schema_version: Literal[1] = 1
    marks: tuple[MarkedEvent, ...]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def digest(self) -> str:
        """Sixteen hex digits that name these marks."""
        text = json.dumps([mark.model_dump(mode="json", exclude={"outvoted"}) for mark in self.marks])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def save_marks(folder: Path, marks: MarksFile) -> None:
    """Write marks.json into the folder of a bundle. Raises OutputError."""
    write_json(folder / MARKS_FILE, marks.model_dump(mode="json"))


def load_marks(folder: Path) -> MarksFile | None:
    """The marks that the bundle in this folder learnt from; None where there are none.

    Raises:
        ArtifactError: they cannot be read.
    """
    return read_model(folder / MARKS_FILE, MarksFile, "headhunt recalibrate --from-events")


@dataclass(frozen=True, slots=True)
class Marked:
    """A marked event with its features: rows of expert features, of the event and of normal segments beside it."""

    event: MarkedEvent
    record: EventRecord
    z: Float64[np.ndarray, "segment features"]
    normal: Float64[np.ndarray, "normal features"]
    normal_start_s: Float64[np.ndarray, " normal"]
    start_s: Float64[np.ndarray, " segment"]


@dataclass(frozen=True, slots=True)
class AllMarks:
    """Usable marks by camera, the oldest event first; and the others, by reason."""

    cameras: Mapping[str, tuple[Marked, ...]]
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of usable marks."""
        return sum(map(len, self.cameras.values()))

    def file(self, outvoted: Collection[str] = ()) -> MarksFile:
        """As marks.json says it. outvoted: ids of events."""
        events = [mark.event for marks in self.cameras.values() for mark in marks]
        return MarksFile(
            marks=tuple(e.model_copy(update={"outvoted": e.event_id in outvoted}) for e in events),
            left_out=tuple(LeftOut(reason=reason, events=events) for reason, events in self.left_out.items()),
        )


@dataclass(frozen=True, slots=True)
class MarkQuery:
    """Which marks count.

    cameras: only of these; none: of all. since: events from then on. without: ids of events that do not count.
    """

    cameras: tuple[str, ...] = ()
    since: datetime | None = None
    without: tuple[str, ...] = ()


def known_detectors(bundle: Bundle, others: Sequence[Path] = ()) -> frozenset[str]:
    """Detectors with the same expert features: this one, those that it was recalibrated from, and `others` like it.

    others: folders of bundles that were in use, as far as they are still there.
    """
    names = {bundle.detector_id, *(step["from"] for step in bundle.data.get("recalibrated", []))}
    for folder in others:
        try:
            other = load_bundle(folder)[0]
        except ArtifactError:  # removed or changed since: its events name their features, or cannot be told
            continue
        if other.features_id == bundle.features_id:
            names.add(other.detector_id)
    return frozenset(names)


def marked_events(store: EventStore, query: MarkQuery) -> Iterator[EventRecord]:
    """Events with a mark that counts, the latest first.

    Raises:
        ConfigError: an event to leave out has no mark.
    """
    pending = set(query.without)
    for camera in query.cameras or (None,):
        for state in MARKED:
            which, after = EventFilter(camera=camera, state=state, since=query.since), None
            while page := store.list(which, after):
                after = page[-1].cursor
                pending -= {event.id for event in page}
                yield from (event for event in page if event.id not in query.without)
    if pending:
        raise ConfigError(
            f"--without {', '.join(sorted(pending))}: no such marked event; `headhunt events list --state false_alarm` "
            "and `--state confirmed` show which there are"
        )


def read_marks(store: EventStore, bundle: Bundle, query: MarkQuery, known: frozenset[str]) -> AllMarks:
    """The marks of stored events, with the features that they teach.

    known: detectors with the same expert features (known_detectors).

    Raises:
        ConfigError: see marked_events. UnreachableError: the database does not answer.
    """
    cameras: dict[str, list[Marked]] = {}
    left_out: dict[str, list[str]] = {}
    for record in marked_events(store, query):
        try:
            marked = _marked(record, _usable_features(store, record, bundle, known), _spans(store, record, bundle))
        except ArtifactError as exc:
            left_out.setdefault(str(exc), []).append(record.id)
        except NoSuchEventError:
            left_out.setdefault("it was deleted meanwhile", []).append(record.id)
        else:
            cameras.setdefault(record.camera, []).append(marked)
    ordered = {
        name: tuple(sorted(cameras[name], key=lambda m: (m.record.start, m.record.id))) for name in sorted(cameras)
    }
    return AllMarks(ordered, {reason: tuple(sorted(events)) for reason, events in sorted(left_out.items())})


def _usable_features(store: EventStore, record: EventRecord, bundle: Bundle, known: frozenset[str]) -> EventFeatures:
    """The features of an event. Raises ArtifactError: the reason why there are none that this bundle can use."""
    try:
        features = store.features(record.id)
    except ArtifactError as exc:
        raise ArtifactError("its file of features is damaged") from exc
    if features is None or not len(features.values):
        raise ArtifactError("no features are stored with it")
    same = features.features_id == bundle.features_id or (
        features.features_id is None and features.detector_id in known
    )
    if not same or features.heads != tuple(HeadRef(*head) for head in bundle.heads):
        raise ArtifactError(
            f"its features are of detector {features.detector_id}, with another model, other heads, prompt or segments"
        )
    return features


def _rows(values: np.ndarray) -> Float64[np.ndarray, "segment features"]:
    return values.reshape(len(values), int(np.prod(values.shape[1:]))).astype(np.float64)


def _spans(store: EventStore, record: EventRecord, bundle: Bundle) -> list[tuple[float, float]] | None:
    """When a confirmed event happened, if somebody has corrected that: the times at which its segments may begin.

    In seconds as its features count them.
    """
    spans = store.marks(record.id)[-1].spans if record.state == EventState.CONFIRMED else None
    if spans is None or record.start_s is None:
        return None
    length_s, offset_s = bundle.segmentation.length_s or 0.0, record.start_s
    relative = [[(time - record.start).total_seconds() + offset_s for time in span] for span in spans]
    return [(start - length_s, stop) for start, stop in relative]


def _marked(record: EventRecord, features: EventFeatures, spans: list[tuple[float, float]] | None) -> Marked:
    """spans: only segments that begin within these carry the mark. Raises ArtifactError: there are none."""
    start_s = features.start_s
    inside = np.ones(len(start_s), bool)
    if spans is not None:
        inside = np.any([(start_s > start) & (start_s < stop) for start, stop in spans], axis=0)
        if not inside.any():
            raise ArtifactError("no features are stored of the time at which it happened, as somebody has corrected it")
    z = _rows(features.values)[inside]
    event = MarkedEvent(
        event_id=record.id,
        camera=record.camera,
        state=record.state,
        origin=record.origin,
        by=record.marked_by,
        marked=record.marked,
        start=record.start,
        day=local_day(record),
        segments=len(z),
        features_sha256=hashlib.sha256(z.astype(np.float32).tobytes()).hexdigest()[:16],
    )
    return Marked(event, record, z, _rows(features.normal), features.normal_start_s, start_s[inside])


def local_day(record: EventRecord) -> date:
    """The day of an event's start, as the clock of its camera shows it."""
    return record.start.astimezone(ZoneInfo(record.time_zone)).date()


def as_arrays(marks: Sequence[Marked]) -> Marks:
    """Marks of one camera as the core learns from them. What is left out together is a day of one video."""
    n = [len(mark.z) for mark in marks]
    return Marks(
        np.concatenate([mark.z for mark in marks]),
        np.repeat([mark.event.anomalous for mark in marks], n),
        tuple(f"{m.event.day} {m.record.video_id}" for m in marks for _ in range(len(m.z))),
        np.repeat(np.arange(len(marks)), n),
    )


def normals_of(marks: Sequence[Marked], n_features: int) -> Float64[np.ndarray, "normal features"]:
    """Normal segments that were sampled beside marked events, each once, without those within a marked anomaly."""
    rows: dict[tuple[str, bytes], Float64[np.ndarray, " features"]] = {}
    for mark in marks:
        for z, start_s in zip(mark.normal, mark.normal_start_s.tolist(), strict=True):
            if not _is_anomalous(marks, mark.record.video_id, start_s):
                rows.setdefault((mark.record.video_id, z.tobytes()), z)
    return np.stack(list(rows.values())) if rows else np.zeros((0, n_features))


def _is_anomalous(marks: Sequence[Marked], video_id: str, start_s: float) -> bool:
    """Is the segment of a video that begins at this time part of a marked anomaly?"""
    return any(
        mark.event.anomalous and mark.record.video_id == video_id and bool((mark.start_s == start_s).any())
        for mark in marks
    )


def count_states(marks: Sequence[MarkedEvent]) -> Counter[str]:
    """Number of marks by what was said: false alarms, confirmed, missed."""
    return Counter("missed" if m.origin == "manual" and m.anomalous else str(m.state).replace("_", " ") for m in marks)
