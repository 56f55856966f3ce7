"""What the monitor finds, as plain frozen values: of one signal, of one camera, of one run; and verdict.json.

drift.py and diagnosis.py make them, run.py writes them; this module knows none of those. Whoever reads a verdict.json
gets the same values.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, TypeAdapter, ValidationError

from headhunt_svc.errors import ArtifactError
from headhunt_svc.monitoring.config import Kind
from headhunt_svc.monitoring.remedies import in_words, remedy
from headhunt_svc.names import ALL_CAMERAS
from headhunt_svc.sections import first_problem
from headhunt_svc.storage.json_text import parse_json

VERDICT, PAGE = "verdict.json", "drift.html"
_FOLDER = "%Y%m%dT%H%M%S"
# silent: no rows for longer than that may be. no data: no rows, and none are expected
Status = Literal["fine", "drift", "not enough data", "no data", "silent"]
SILENCE = "silence"  # the alarm of a silent camera; other alarms are named by their kind
FLEET = ALL_CAMERAS  # the name of the verdict on all cameras together


def _with_zone(time: datetime) -> datetime:
    if time.tzinfo is None:
        raise ValueError("a time without its zone")
    return time


Time = Annotated[datetime, AfterValidator(_with_zone)]


@dataclass(frozen=True, slots=True)
class SignalResult:
    """A signal's value, its limit for a window of this size, and the mean that chance alone gives."""

    value: float
    limit: float
    chance: float

    @property
    def over(self) -> bool:
        """Is the value beyond the limit?"""
        return self.value > self.limit

    @property
    def of_limit(self) -> float:
        """The value over its limit: above 1 is drift."""
        return self.value / self.limit if self.limit > 0 else float("inf") if self.over else 0.0


@dataclass(frozen=True, slots=True)
class CameraVerdict:
    """The result for one camera in one window; `kind` is None as long as no signal is beyond its limit.

    event_interval: Wilson's interval of the event rate. heads: 2 AUC - 1 of every head. unstable: for every head, its
    instability over prompts over that in the baseline. since: when the first bad block of the alarm began; of a silent
    camera, its last row. waiting: alarms of earlier windows, and since when; this one cannot tell whether they go on.
    """

    camera: str
    status: Status
    why: str = ""
    baseline: str | None = None
    segments: int = 0
    blocks: int = 0
    probed: int = 0
    event_rate: float = 0.0
    event_interval: tuple[float, float] = (0.0, 1.0)
    signals: Mapping[str, SignalResult] = field(default_factory=dict)
    heads: Mapping[str, float] = field(default_factory=dict)
    unstable: Mapping[str, float] = field(default_factory=dict)
    kind: Kind | None = None
    since: Time | None = None
    waiting: Mapping[str, Time] = field(default_factory=dict)

    @property
    def is_silent(self) -> bool:
        """Had it no rows for longer than it may? Older monitors called that "no data"."""
        return self.status == "silent" or (self.status == "no data" and self.kind is not None)

    @property
    def alarm(self) -> str | None:
        """What tells its alarm from others of the camera; None if there is none."""
        return SILENCE if self.is_silent else self.kind

    @property
    def word(self) -> str:
        """How the camera is, in a word: the same one on every page and in every message."""
        return "silent" if self.is_silent else self.kind or self.status

    def can_tell(self, alarm: str) -> bool:
        """Does the window say whether an alarm of earlier windows goes on?"""
        if alarm == SILENCE:
            return self.is_silent or self.segments > 0  # some rows end it, be they too few to be judged
        return self.status in ("fine", "drift")

    @property
    def over(self) -> tuple[str, ...]:
        """The signals beyond their limits."""
        return tuple(name for name, s in self.signals.items() if s.over)

    @property
    def worst(self) -> tuple[str, SignalResult] | None:
        """The signal that is furthest along to its limit, or beyond it."""
        return max(self.signals.items(), key=lambda item: item[1].of_limit, default=None)

    @property
    def of_limit(self) -> float:
        """The worst signal over its limit; 0 without signals."""
        return 0.0 if self.worst is None else self.worst[1].of_limit

    @property
    def reason(self) -> str:
        """Why there is an alarm: the signals beyond their limits, or that there are no rows."""
        signals = [(name, self.signals[name]) for name in self.over]
        if self.alarm == SILENCE or not signals:
            return self.why
        return ", ".join(f"{name} {s.value:.2f} > {s.limit:.2f}" for name, s in signals)

    @property
    def remedy(self) -> str | None:
        """What to do about it, if there is something to do."""
        return in_words(remedy(self.kind, self.camera, self.since)) if self.kind else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of one monitor run; alarms: one line for every camera whose window drifted.

    other_detectors: of which all rows are, where none can be judged for that. known: cameras that a baseline, the log
    of these days or cameras.yaml names, judged or not. expected: those that cameras.yaml names, this time or, where no
    such file is given, the last time. once_known: cameras that earlier verdicts of the same folder name, and this one
    does not.
    """

    start: Time
    stop: Time
    detector_id: str | None
    cameras: dict[str, CameraVerdict]
    excluded: dict[str, int]
    missing: dict[str, list[str]]
    alarms: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    other_detectors: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    expected: tuple[str, ...] = ()
    once_known: tuple[str, ...] = ()

    @property
    def names(self) -> set[str]:
        """All cameras that this verdict and those before it name."""
        return {*self.cameras, *self.known, *self.expected, *self.once_known}

    def is_gone(self, camera: str) -> bool:
        """Is a camera no longer there that this monitor once knew? A camera that it never knew may be another's.

        Where nothing at all is known, log and baselines may be out of reach.
        """
        if camera not in self.once_known:
            return False
        if camera == FLEET:  # it takes two cameras
            return len(self.known) == 1
        return bool(self.known) and camera not in self.expected

    @property
    def general(self) -> tuple[str, ...]:
        """Alarms that are of no single camera, in words."""
        if not self.other_detectors:
            return ()
        names = ", ".join(self.other_detectors)
        return (f"all rows are of detector {names}, not {self.detector_id}: rebaseline, or roll back",)

    @property
    def drifted(self) -> bool:
        """Is there an alarm?"""
        return bool(self.alarms)

    def as_json(self) -> dict[str, Any]:
        """As verdict.json holds it: times as text, derived fields written out."""
        document: dict[str, Any] = parse_json(json.dumps(asdict(self), default=datetime.isoformat))
        for name, verdict in self.cameras.items():
            document["cameras"][name] |= {"over": list(verdict.over), "remedy": verdict.remedy}
        return {"schema_version": 1, **document}


_VERDICT = TypeAdapter(Verdict)


def folder_name(stop: datetime) -> str:
    """The folder of the window that ends then (UTC); names sort in the order of time."""
    return stop.strftime(_FOLDER)


def read_verdict(path: Path) -> Verdict:
    """A verdict.json: of a window, or the latest. Raises ArtifactError: it is none, or is missing."""
    try:
        return _VERDICT.validate_json(path.read_bytes())
    except ValidationError as exc:
        raise ArtifactError(f"{path} is not a verdict ({first_problem(exc)}): {_again(path)}") from exc
    except OSError as exc:
        raise ArtifactError(f"{path} cannot be read ({exc.strerror}): {_again(path)}") from exc


def _again(path: Path) -> str:
    """The command that writes a verdict.json again."""
    with suppress(ValueError):
        stop = datetime.strptime(path.parent.name, _FOLDER)
        return f"run `headhunt monitor run --at {stop:%Y-%m-%dT%H:%M:%S}`"
    return "run `headhunt monitor run`"
