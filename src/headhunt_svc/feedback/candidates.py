"""Gathers what people could be asked about, from the prediction log and the stored events; no model is loaded.

Only segments with exact features come into question, as answers are learnt from: events that nobody has marked, normal
segments that were sampled beside events, and rows of the log where it keeps whole features.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from jaxtyping import Float, Float32

from headhunt_svc.core.scoring import distance_to_normal
from headhunt_svc.detector.bundle import load_bundle
from headhunt_svc.detector.cameras import CameraScorers
from headhunt_svc.errors import ArtifactError
from headhunt_svc.events.export import all_events
from headhunt_svc.events.features import EventFeatures
from headhunt_svc.events.records import QUESTION, EventFilter, EventRecord, EventState
from headhunt_svc.events.store import EventStore
from headhunt_svc.feedback.marks import known_detectors
from headhunt_svc.feedback.questions import Asked, Candidate, choose
from headhunt_svc.prediction_log.windows import Rows, WindowQuery, read_window
from headhunt_svc.storage.store import Store
from headhunt_svc.types import HeadRef, Polygon

ROWS = 1000  # of one camera's log are looked at, drawn from all of its rows
SAMPLED_EVENTS = 20  # of one camera, the latest, whose sampled normal segments are looked at
_SPARE = 2  # candidates of a camera and reason beyond those that can be chosen, as neighbours are passed over
_EDGE_S = 0.05
_EDGE = timedelta(seconds=_EDGE_S)  # starts of one segment differ by less, however they were computed
_BEFORE = timedelta(days=1)  # an event that reaches into the window may begin so long before it
NO_FEATURES = "segments of the log without whole features (HEADHUNT_LOG_FEATURES=all keeps them): nothing to learn from"
NO_EVENT_FEATURES = "events stored without features: nothing to learn from"
DAMAGED = "events whose features cannot be read"
OTHER_DETECTOR = "segments of another detector"
NO_DISTANCE = "segments without a distance to normal: the bundle's scorer has none"
NO_BUNDLE = "segments without a distance to normal: there is no bundle here"


@dataclass(frozen=True, slots=True)
class Sources:
    """Where questions come from. bundle: of the detector in use; None where none is here.

    masks: what is black in a camera's pictures; None: not known, so none is taken of its files. zone_of: the time zone
    in which a camera's times are shown.
    """

    events: EventStore
    log: Store
    bundle: Path | None
    masks: Callable[[str], tuple[Polygon, ...] | None]
    zone_of: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Span:
    """Which footage. camera: None: of all cameras."""

    since: datetime
    until: datetime
    camera: str | None = None

    def holds(self, time: datetime) -> bool:
        """Is a time in it?"""
        return self.since <= time < self.until


@dataclass(frozen=True, slots=True)
class Gathered:
    """Candidates, and how many segments or events could not be asked about, by reason."""

    candidates: list[Candidate] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class _Detector:
    """What is read of a bundle. active: its id. ids: of detectors with the same features; empty: none is refused."""

    active: str | None
    ids: frozenset[str]
    features_id: str | None
    scorers: CameraScorers | None
    no_distance: str

    @classmethod
    def load(cls, folder: Path | None) -> "_Detector":
        """Raises ArtifactError: the bundle is broken."""
        if folder is None or not (folder / "bundle.json").is_file():
            return cls(None, frozenset(), None, None, NO_BUNDLE)
        bundle, fleet = load_bundle(folder)
        has_distance = fleet.normality is not None and fleet.background is None
        scorers = CameraScorers.load(folder, fleet, bundle.cameras) if has_distance else None
        return cls(bundle.detector_id, known_detectors(bundle), bundle.features_id, scorers, NO_DISTANCE)

    def is_usable(self, detector_id: str) -> bool:
        """Can features of this detector be learnt from?"""
        return not self.ids or detector_id in self.ids

    def distances(
        self, camera: str, heads: tuple[HeadRef, ...], features: Float[np.ndarray, "segment head d_head"]
    ) -> list[float] | None:
        """Distances to what is normal for a camera, as multiples of a usual one; None where there are none."""
        scorer = None if self.scorers is None else self.scorers.scorer(camera)
        if scorer is None or scorer.normality is None or scorer.heads != heads or not scorer.normality.typical:
            return None
        z = features.reshape(len(features), -1)
        if z.shape[1] != len(scorer.weight):
            return None
        return [float(d) / scorer.normality.typical for d in distance_to_normal(scorer.normality, z)]


def gather(sources: Sources, span: Span, each: int, asked: Sequence[Asked], now: datetime) -> Gathered:
    """What could be asked about; of each camera only what could be chosen, so that memory does not grow with the log.

    Raises:
        ArtifactError: the bundle is broken. UnreachableError: the log or the events do not answer.
    """
    detector, gathered = _Detector.load(sources.bundle), Gathered()
    events: dict[str, list[EventRecord]] = {}
    which = EventFilter(camera=span.camera, since=span.since - _BEFORE, until=span.until)
    for event in all_events(sources.events, which):
        events.setdefault(event.camera, []).append(event)
    query = WindowQuery(span.since, span.until, detector.active, sample_rows=ROWS, now=now, camera=span.camera)
    window = read_window(sources.log, query)
    gathered.left_out.update(window.excluded)
    for camera in sorted({*events, *window.cameras}):
        near = events.get(camera, [])
        candidates = list(_of_events(sources.events, span, near, detector, gathered.left_out))
        if camera in window.cameras:
            candidates += _of_rows(window.cameras[camera], camera, near, detector, gathered.left_out)
        own = [one for one in asked if one.camera == camera]
        likely = choose(candidates, len(own) + 3 * (each + _SPARE), each + _SPARE, own)
        gathered.candidates.extend(chosen.candidate for chosen in likely)
    return gathered


def _of_events(
    store: EventStore, span: Span, events: Sequence[EventRecord], detector: _Detector, left_out: Counter[str]
) -> Iterator[Candidate]:
    """Events of one camera that nobody has marked, and the normal segments that were sampled beside its events."""
    sampled = 0
    for event in events:  # the latest first
        if event.origin == QUESTION or event.stop is None:
            continue
        if not event.features:
            left_out[NO_EVENT_FEATURES] += event.state == EventState.NEW
            continue
        if not detector.is_usable(event.detector_id):
            left_out[OTHER_DETECTOR] += 1
            continue
        if event.state == EventState.NEW and span.holds(event.start):
            yield Candidate(
                event.camera, event.video_id, event.start, event.stop, event.score, event.threshold, event.detector_id,
                start_s=event.start_s, source=event.source, event_id=event.id,
            )  # fmt: skip
        if sampled < SAMPLED_EVENTS:
            sampled += 1
            try:
                features = store.features(event.id)
            except ArtifactError:
                left_out[DAMAGED] += 1
                continue
            if features is not None:
                yield from _normal_ones(event, features, events, span, detector)


def _normal_ones(
    event: EventRecord, features: EventFeatures, events: Sequence[EventRecord], span: Span, detector: _Detector
) -> Iterator[Candidate]:
    """The normal segments beside an event; how long they are is known where the event has two segments of its own."""
    if not len(features.start_s) or not len(features.normal):
        return
    first_s = float(features.start_s.min())
    steps = np.diff(np.sort(features.start_s))
    length = timedelta(seconds=float(steps[steps > 0].min()) if (steps > 0).any() else 0.0)
    distances = detector.distances(event.camera, features.heads, features.normal)
    for i in range(len(features.normal)):
        since_s = float(features.normal_start_s[i]) - first_s
        start = event.start + timedelta(seconds=since_s)
        candidate = Candidate(
            event.camera, event.video_id, start, start + length, float(features.normal_raw[i]), event.threshold,
            event.detector_id, start_s=None if event.start_s is None else event.start_s + since_s,
            source=None if event.origin == "service" else event.source, heads=features.heads,
            features=features.normal[i],
            features_id=features.features_id, raw=float(features.normal_raw[i]),
            distance=None if distances is None else distances[i],
        )  # fmt: skip
        if span.holds(start) and not _is_stored(candidate, events):
            yield candidate


def _of_rows(
    rows: Rows, camera: str, events: Sequence[EventRecord], detector: _Detector, left_out: Counter[str]
) -> Iterator[Candidate]:
    """Rows of one camera's log, where they have whole features."""
    metadata, table = rows.metadata, rows.table
    if metadata.features != "all":
        left_out[NO_FEATURES] += rows.total
        return
    if not detector.is_usable(metadata.detector_id):
        left_out[OTHER_DETECTOR] += rows.total
        return
    table = table.filter(pc.is_valid(table["features"]))
    left_out[NO_FEATURES] += len(rows.table) - len(table)
    if not len(table):
        return
    flat = np.stack(table["features"].to_numpy()).astype(np.float32)
    features: Float32[np.ndarray, "row head d_head"] = flat.reshape(len(flat), len(metadata.heads), -1)
    distances = detector.distances(camera, metadata.heads, features)
    if distances is None:
        left_out[detector.no_distance] += len(table)
    sources = {event.video_id: event.source for event in events if _is_readable(event)}
    names = ("video", "time", "start_s", "stop_s", "raw", "smoothed", "contributions", "prompt_scores")
    for i, row in enumerate(table.select(names).to_pylist()):
        start = row["time"].astimezone(UTC)
        source = sources.get(row["video"])
        candidate = Candidate(
            camera, row["video"], start, start + timedelta(seconds=row["stop_s"] - row["start_s"]), row["smoothed"],
            metadata.threshold, metadata.detector_id, start_s=None if source is None else row["start_s"],
            source=source, heads=metadata.heads, features=features[i], features_id=detector.features_id,
            raw=row["raw"],
            contributions=tuple(row["contributions"]), distance=None if distances is None else distances[i],
            prompts=tuple(row["prompt_scores"] or ()),
        )  # fmt: skip
        if not _is_stored(candidate, events):
            yield candidate


def _is_readable(event: EventRecord) -> bool:
    """Is its video a file that was not sent by somebody?"""
    return event.source is not None and event.start_s is not None and event.origin != "service"


def _is_stored(candidate: Candidate, events: Sequence[EventRecord]) -> bool:
    """Does a candidate lie in an event, or was it asked about before?"""
    for event in events:
        stop = event.stop or event.peak
        if event.start_s is not None and candidate.start_s is not None and event.video_id == candidate.video_id:
            length_s = (stop - event.start).total_seconds()
            if event.start_s - _EDGE_S < candidate.start_s < event.start_s + max(length_s, _EDGE_S):
                return True
        elif candidate.start < max(stop, event.start + _EDGE) and candidate.stop > event.start - _EDGE:
            return True
    return False
