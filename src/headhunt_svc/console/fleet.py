"""All cameras that anything is known of, each with how it is: the rows of the first page, the worst first."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock

from headhunt_svc.cameras.config import Camera, Cameras, CamerasError, load_cameras
from headhunt_svc.cameras.drift import active_baselines
from headhunt_svc.cameras.status import CameraStatus, load_state, status_of
from headhunt_svc.console import words
from headhunt_svc.console.clock import Moment, duration, moment
from headhunt_svc.console.history import History
from headhunt_svc.console.links import drift_page, event_page, events_page
from headhunt_svc.console.places import Places
from headhunt_svc.console.words import Step
from headhunt_svc.errors import ArtifactError, ConfigError
from headhunt_svc.events.records import EventFilter, EventRecord
from headhunt_svc.events.store import EventStore
from headhunt_svc.monitoring.verdicts import FLEET, CameraVerdict
from headhunt_svc.types import Polygon

HAPPENING, SILENT, DRIFT, UNJUDGED, OFF, FINE = range(6)  # ranks: the worst first
_SILENT_WORDS = ("silent", "not watched", "never watched", "retrying", "connecting")


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that is the case with a camera. rank: how bad. word: for its badge. detail: what is known of it."""

    rank: int
    word: str
    detail: str = ""
    since: Moment | None = None
    steps: tuple[Step, ...] = ()
    link: str | None = None

    @property
    def tone(self) -> str:
        """The class of its badge."""
        return ("event", "bad", "bad", "unsure", "plain", "good")[self.rank]


@dataclass(frozen=True, slots=True)
class Row:
    """A camera on the first page. ratio: the worst signal's value over its limit."""

    name: str
    conditions: tuple[Condition, ...]
    last_picture: Moment | None
    ago: str | None
    lag_s: float | None
    coverage: float | None
    signal: str | None
    ratio: float | None
    event: EventRecord | None
    event_start: Moment | None
    baseline: str | None

    @property
    def worst(self) -> Condition:
        """What the row is sorted by."""
        return self.conditions[0]


@dataclass(frozen=True, slots=True)
class Overview:
    """The rows, what is wrong with the files that they come from, and when the monitor judged last."""

    rows: tuple[Row, ...]
    problems: tuple[str, ...]
    judged: Moment | None
    is_stale: bool

    def count(self, rank: int) -> int:
        """How many cameras have this as their worst condition."""
        return sum(row.worst.rank == rank for row in self.rows if row.name != FLEET)

    @property
    def together(self) -> Row | None:
        """The row of all cameras together, where they drift together."""
        return next((row for row in self.rows if row.name == FLEET), None)


class Fleet:
    """Reads cameras.yaml and the states of cameras; the file again only when it changes. Threads may share it."""

    def __init__(self, places: Places, history: History, store: EventStore) -> None:
        self._places, self._history, self._store = places, history, store
        self._stamp: tuple[int, int] | None = None
        self._cameras = Cameras(cameras=())
        self._problems: tuple[str, ...] = ()
        self._lock = Lock()

    def cameras(self) -> Cameras:
        """What cameras.yaml says now; with a file that is wrong, what it said before."""
        with self._lock:
            stamp = _stamp(self._places.cameras)
            if stamp != self._stamp:
                self._stamp = stamp
                self._problems = ()
                try:
                    self._cameras = Cameras(cameras=()) if stamp is None else load_cameras(self._places.cameras)
                except CamerasError as exc:
                    self._problems = tuple(f"{self._places.cameras}: {problem}" for problem in exc.problems)
                except ConfigError as exc:
                    self._problems = (str(exc),)
            return self._cameras

    def zone_of(self, camera: str) -> str:
        """The time zone in which a camera's times are shown."""
        entry = next((c for c in self.cameras().each() if c.name == camera), None)
        return self._store.settings.time_zone if entry is None else entry.time_zone

    def masks_of(self, camera: str) -> tuple[Polygon, ...] | None:
        """What is black in a camera's pictures; None where cameras.yaml cannot be read, so that nobody knows."""
        entry = self.cameras().get(camera)
        return None if self._problems else () if entry is None else entry.masks

    def names(self) -> list[str]:
        """Every camera that a file, a verdict, a baseline or an event names, by name."""
        latest = self._history.latest
        judged = set() if latest is None else latest.cameras.keys() - {FLEET}
        configured = {camera.name for camera in self.cameras().each()}
        return sorted({*judged, *configured, *active_baselines(self._places.monitor), *self._store.cameras()})

    def overview(self, now: datetime) -> Overview:
        """How all cameras are, the worst first."""
        problems: list[str] = []
        configured = {camera.name: camera for camera in self.cameras().each()}
        baselines = active_baselines(self._places.monitor)
        going_on: dict[str, EventRecord] = {}
        for event in self._store.open_events():
            going_on[event.camera] = event
        rows = []
        for name in self.names():
            status = self._status(configured.get(name), now, problems)
            rows.append(self._row(name, status, going_on.get(name), baselines.get(name)))
        if fleet := self._history.of(FLEET):
            rows += self._fleet_rows(fleet)
        rows.sort(key=lambda row: (row.worst.rank, row.name != FLEET, -(row.ratio or 0.0), row.name))
        latest = self._history.latest
        return Overview(
            tuple(rows),
            (*self._problems, *self._history.problems, *problems, *(latest.problems if latest else ())),
            None if latest is None else moment(latest.stop, self._store.settings.time_zone, False),
            latest is not None and now - latest.stop > timedelta(hours=25),
        )

    def _status(self, camera: Camera | None, now: datetime, problems: list[str]) -> CameraStatus | None:
        if camera is None:
            return None
        try:
            return status_of(camera, load_state(self._places.states, camera.name), now)
        except ArtifactError as exc:
            problems.append(str(exc))
            return None

    def _row(self, name: str, status: CameraStatus | None, open_event: EventRecord | None, baseline: str | None) -> Row:
        zone, verdict = self.zone_of(name), self._history.of(name)
        event = open_event or next(iter(self._store.list(EventFilter(camera=name, questions=False), limit=1)), None)
        conditions = [*_happening(open_event, zone), *_watching(status, zone), *_judged(name, verdict, baseline, zone)]
        conditions.sort(key=lambda condition: condition.rank)
        conditions = [condition for condition in conditions if condition.rank != FINE] or conditions[-1:]
        state = None if status is None else status.state
        worst = None if verdict is None else verdict.worst
        return Row(
            name,
            tuple(conditions),
            None if state is None or state.last_picture is None else moment(state.last_picture, zone, False),
            None if status is None or status.silent_s is None else duration(status.silent_s),
            None if status is None else status.lag_s,
            None if status is None else status.coverage,
            None if worst is None else words.title_of(worst[0]),
            None if worst is None else worst[1].of_limit,
            event,
            None if event is None else moment(event.start, event.time_zone, False),
            baseline,
        )

    def _fleet_rows(self, verdict: CameraVerdict) -> Iterator[Row]:
        """A row for all cameras together, where they drift together."""
        if verdict.kind is None or verdict.worst is None:
            return
        zone, (signal, result) = self._store.settings.time_zone, verdict.worst
        conditions = tuple(_judged(FLEET, verdict, "", zone))
        title = words.title_of(signal)
        yield Row(FLEET, conditions, None, None, None, None, title, result.of_limit, None, None, None)


def _happening(event: EventRecord | None, zone: str) -> Iterator[Condition]:
    if event is not None:
        step = Step("Look at it.", link=event_page(event.id))
        detail = f"going on, score {event.score:.2f}"
        yield Condition(HAPPENING, "event", detail, moment(event.start, zone, False), (step,), event_page(event.id))


def _watching(status: CameraStatus | None, zone: str) -> Iterator[Condition]:
    """What the process that watches says; nothing of cameras that are in no cameras.yaml."""
    if status is None:
        return
    state = status.state
    since = None if state is None or state.last_picture is None else moment(state.last_picture, zone, False)
    if status.word in _SILENT_WORDS:
        problem = (state.problem if state is not None else None) or _SILENCE[status.word]
        if status.word in ("never watched", "not watched"):
            steps = (Step("Start what watches the cameras", words.command("watch")),)
        else:
            steps = (Step("Does the source answer, and what does it show?", words.command("cameras", "check")),)
        yield Condition(SILENT, status.word, problem, since, steps)
    elif status.word == "off":
        yield Condition(OFF, "off", "outside its active hours")
    else:
        yield Condition(FINE, "fine")


_SILENCE = {
    "silent": "no new picture for longer than expect_every_s allows",
    "not watched": "nothing has watched it for more than 30 s",
    "never watched": "it is in cameras.yaml, and nothing has ever watched it",
    "retrying": "its source does not answer",
    "connecting": "its source has not answered yet",
}


def _judged(name: str, verdict: CameraVerdict | None, baseline: str | None, zone: str) -> Iterator[Condition]:
    """What the monitor says."""
    link = drift_page(name)
    if verdict is not None and verdict.kind is not None:
        since = None if verdict.since is None else moment(verdict.since, zone, False)
        steps = words.remedy(verdict.kind, name, verdict.since, events_page(name))
        yield Condition(
            SILENT if verdict.is_silent else DRIFT,
            verdict.word,
            verdict.why if verdict.is_silent else words.KINDS[verdict.kind],
            since,
            steps,
            link,
        )
    elif baseline is None:
        yield Condition(UNJUDGED, "no baseline", NO_BASELINE, None, (Step(MAKE_BASELINE, words.rebaseline(name)),))
    elif verdict is None or verdict.status == "no data":
        run = Step("Compare the last day with the baselines", words.command("monitor", "run"))
        yield Condition(UNJUDGED, "not judged", "the last run of the monitor does not name it", None, (run,))
    elif verdict.status == "not enough data":
        yield Condition(UNJUDGED, "not enough data", verdict.why, None, (), link)
    else:
        yield Condition(FINE, "fine", "", None, (), link)


NO_BASELINE = "nothing to compare it with: changes of light or view stay unnoticed"
MAKE_BASELINE = "Make the last seven days its normal state, if they were good"


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return stat.st_mtime_ns, stat.st_size
