"""What the monitor finds, as plain frozen values: of one signal, of one camera, of one run.

drift.py and diagnosis.py make them, run.py writes them; this module knows none of those.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

from headhunt_svc.core.drift import Sample
from headhunt_svc.monitoring.config import Kind
from headhunt_svc.monitoring.remedies import in_words, remedy
from headhunt_svc.names import ALL_CAMERAS
from headhunt_svc.storage.json_text import parse_json

# silent: no rows for longer than that may be. no data: no rows, and none are expected
Status = Literal["fine", "drift", "not enough data", "no data", "silent"]
SILENCE = "silence"  # the alarm of a silent camera; other alarms are named by their kind
FLEET = ALL_CAMERAS  # the name of the verdict on all cameras together


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
class Comparison:
    """A camera's window and the baseline that it was compared with, as arrays, and the results."""

    reference: Sample
    current: Sample
    threshold: float
    signals: Mapping[str, SignalResult]


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
    since: datetime | None = None
    waiting: Mapping[str, datetime] = field(default_factory=dict)

    @property
    def alarm(self) -> str | None:
        """What tells its alarm from others of the camera; None if there is none."""
        return SILENCE if self.status == "silent" else self.kind

    @property
    def word(self) -> str:
        """How the camera is, in a word: the same one on every page and in every message."""
        return self.alarm or self.status

    def can_tell(self, alarm: str) -> bool:
        """Does the window say whether an alarm of earlier windows goes on?"""
        if alarm == SILENCE:
            return self.status == "silent" or self.segments > 0  # some rows end it, be they too few to be judged
        return self.status in ("fine", "drift")

    @property
    def over(self) -> tuple[str, ...]:
        """The signals beyond their limits."""
        return tuple(name for name, s in self.signals.items() if s.over)

    @property
    def of_limit(self) -> float:
        """The worst signal over its limit; 0 without signals."""
        return max((s.of_limit for s in self.signals.values()), default=0.0)

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
class Judgement:
    """The verdicts of one window by camera, and the comparisons that were possible."""

    cameras: dict[str, CameraVerdict]
    comparisons: dict[str, Comparison]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of one monitor run; alarms: one line for every camera whose window drifted.

    other_detectors: of which all rows are, where none can be judged for that. known: cameras that a baseline, the log
    of these days or cameras.yaml names, judged or not. expected: those that cameras.yaml names, this time or, where no
    such file is given, the last time. once_known: cameras that earlier verdicts of the same folder name, and this one
    does not.
    """

    start: datetime
    stop: datetime
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
