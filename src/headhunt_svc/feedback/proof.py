"""The proof of a recalibrated bundle, proof.json beside its bundle.json: what it changes, measured, and a verdict.

Everything is before and after: `from_detector_id` and `detector_id`.
"""

from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from headhunt_svc.errors import ConfigError
from headhunt_svc.events.records import EventState, Utc
from headhunt_svc.storage.files import read_model, write_json

PROOF_FILE = "proof.json"


class Verdict(StrEnum):
    """The proof in a word."""

    BETTER = "better"
    SAME = "not distinguishable"
    WORSE = "worse"
    TOO_FEW = "too few marks"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Change(_Model):
    """A figure before and after; low, high: 95 % interval of the difference over resamples of videos, the same ones."""

    before: float
    after: float
    low: float | None = None
    high: float | None = None

    @property
    def difference(self) -> float:
        """After minus before."""
        return self.after - self.before


class TestSplit(_Model):
    """The project's test videos, scored as if they were of this camera.

    Frame ROC-AUC and average precision; found: the share of the true spans with an alarm at the threshold. kinds,
    kinds_found: AUC and found spans by kind of anomaly. is_worse: did AUC or AP fall by more than `bound`, or the found
    spans by more than `found_bound`?
    """

    __test__ = False  # no test of pytest

    camera: str
    videos: int
    bound: float
    found_bound: float
    roc_auc: Change
    average_precision: Change
    found: Change
    kinds: dict[str, Change]
    kinds_found: dict[str, Change]
    is_worse: bool


class HeldOutDay(_Model):
    """Marks of one day, judged by a correction that was learnt from the marks of all other days.

    Of `segments` marked ones so many are above the threshold (single segments, not smoothed) without any marks, and
    with the correction; so many of the events hold such a segment. anomalous: marked as confirmed or missed; else as a
    false alarm.
    """

    camera: str
    day: date
    anomalous: bool
    events: int
    segments: int
    above_before: int
    above_after: int
    alarms_before: int
    alarms_after: int


class DayEvents(_Model):
    """Events that one camera had on a day, and would have had: replayed from the features in the prediction log."""

    camera: str
    day: date
    hours: float
    before: int
    after: int


class Flip(_Model):
    """A marked event that alarms before and not after, or the other way round. picture: the file, where there is one.

    peak_before, peak_after: its highest raw score.
    """

    event_id: str
    camera: str
    state: EventState
    start: Utc
    peak_before: float
    peak_after: float
    alarms_before: bool
    alarms_after: bool
    picture: str | None = None


class SignalAgain(_Model):
    """A signal of drift with the scores of before and the new ones. limit, is_over: of the new ones."""

    before: float
    after: float
    limit: float
    is_over: bool


class JudgedAgain(_Model):
    """The window of an alarm of kind activity or view, judged as the monitor would with the new bundle's scores.

    kind, baseline: as the monitor has said. status, kind_after: of the new verdict; None where there is none, and `why`
    says what is missing. not_judged: signals that were beyond their limits and cannot be replayed.
    """

    camera: str
    start: Utc
    stop: Utc
    kind: str
    baseline: str | None
    status: str | None = None
    kind_after: str | None = None
    signals: dict[str, SignalAgain] = {}
    not_judged: tuple[str, ...] = ()
    why: str | None = None

    @property
    def is_over(self) -> bool:
        """Would the alarm be over, as far as everything that was beyond a limit is judged again?"""
        return self.status == "fine" and not self.not_judged

    @property
    def words(self) -> str:
        """What the verdict would be, in a sentence."""
        window = f"{self.camera}, {self.kind} in the window until {self.stop:%Y-%m-%d %H:%M}"
        if self.status is None:
            return f"{window}: not judged again: {self.why}"
        if self.is_over:
            return f"{window}: fine with the new bundle"
        stays = [
            f"{name} {s.before:.2f}, now {s.after:.2f} > {s.limit:.2f}" for name, s in self.signals.items() if s.is_over
        ]
        stays += [f"{name} cannot be replayed" for name in self.not_judged]
        word = self.kind_after or ("not known" if self.status == "fine" else self.status)
        return f"{window}: {word} with the new bundle: {', '.join(stays)}"


class Proof(_Model):
    """What a recalibrated bundle changes.

    sentences: the verdict in words. more_marks: how many more marks are needed, where there are too few.
    no_test, no_days: why there are no test videos, or no days, to compare. windows: alarms that were judged
    again. no_windows: why none was. outvoted: events whose marks the rest contradicts.
    """

    schema_version: Literal[1] = 1
    detector_id: str
    from_detector_id: str
    marks_sha256: str
    marks: int
    verdict: Verdict
    sentences: tuple[str, ...]
    more_marks: int | None = None
    test: tuple[TestSplit, ...] = ()
    no_test: str | None = None
    held_out: tuple[HeldOutDay, ...] = ()
    days: tuple[DayEvents, ...] = ()
    no_days: str | None = None
    flips: tuple[Flip, ...] = ()
    windows: tuple[JudgedAgain, ...] = ()
    no_windows: str | None = None
    outvoted: tuple[str, ...] = ()


def save_proof(folder: Path, proof: Proof) -> None:
    """Write proof.json into the folder of a bundle. Raises OutputError."""
    write_json(folder / PROOF_FILE, proof.model_dump(mode="json"))


def load_proof(folder: Path) -> Proof | None:
    """The proof in the folder of a bundle; None where there is none.

    Raises:
        ArtifactError: it cannot be read.
    """
    return read_model(folder / PROOF_FILE, Proof, "headhunt recalibrate --from-events")


def check_proof(folder: Path, anyway: bool = False) -> None:
    """Refuse to use a bundle whose proof says that it is worse. anyway: somebody wants it nevertheless.

    Raises:
        ConfigError: it is worse. ArtifactError: its proof cannot be read.
    """
    proof = load_proof(folder)
    if proof is not None and proof.verdict == Verdict.WORSE and not anyway:
        raise ConfigError(f"{folder}: its proof says that it is worse ({'; '.join(proof.sentences)}): --anyway uses it")
