"""How every camera is: what the process that watches it wrote last, compared with what cameras.yaml expects.

Each camera has one small file, which is replaced whole: reading needs no lock. Its age says whether anybody writes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, Field, ValidationError

from headhunt_svc.cameras.config import Camera
from headhunt_svc.errors import ArtifactError
from headhunt_svc.monitoring.verdicts import Verdict
from headhunt_svc.names import CameraName
from headhunt_svc.sections import Section, first_problem
from headhunt_svc.storage.files import read_json, write_text

Phase = Literal["connecting", "receiving", "off", "retrying", "stopped"]
Word = Literal["not known", "never watched", "not watched", "off", "silent", "connecting", "retrying", "receiving"]
NOT_WATCHED_S = 30.0  # whoever watches writes more often


class LastEvent(Section):
    """The latest stored event of a camera."""

    id: str
    start: AwareDatetime
    score: float = Field(ge=0, le=1)
    is_open: bool


class CameraState(Section):
    """What is known of a camera while it is watched.

    written: when this was. phase: off outside its active hours; stopped when nobody watches it any more. last_picture:
    received, and not the same as those before it for long; last_scored: end of the footage that was scored. offered_s,
    scored_s, dropped_s: of footage since it is watched; dropped: skipped, as the device was behind. lost_packets: did
    not arrive whole. frozen: pictures come, and are all the same. problem: what is wrong now, or was a moment ago.
    detector_id: of the detector that scores it.
    """

    camera: Annotated[str, AfterValidator(CameraName)]
    written: AwareDatetime
    phase: Phase
    last_picture: AwareDatetime | None = None
    last_scored: AwareDatetime | None = None
    offered_s: float = Field(default=0, ge=0)
    scored_s: float = Field(default=0, ge=0)
    dropped_s: float = Field(default=0, ge=0)
    dropped_segments: int = Field(default=0, ge=0)
    lost_packets: int = Field(default=0, ge=0)
    frozen: bool = False
    reconnects: int = Field(default=0, ge=0)
    problem: str | None = None
    detector_id: str | None = None
    last_event: LastEvent | None = None

    @property
    def lag_s(self) -> float | None:
        """How far scoring is behind the last picture."""
        if self.last_picture is None or self.last_scored is None:
            return None
        return max((self.last_picture - self.last_scored).total_seconds(), 0.0)


def state_file(folder: Path, camera: str) -> Path:
    """Where the state of a camera is."""
    return folder / f"{CameraName(camera).folder}.json"


def save_state(folder: Path, state: CameraState) -> None:
    """Replace the state of a camera. Raises OutputError."""
    write_text(state_file(folder, state.camera), state.model_dump_json() + "\n")


def load_state(folder: Path, camera: str) -> CameraState | None:
    """The state of a camera; None if it was never watched.

    Raises:
        ArtifactError: the file is broken.
    """
    path = state_file(folder, camera)
    if not path.exists():
        return None
    try:
        return CameraState.model_validate(read_json(path, "headhunt watch"))
    except ValidationError as exc:
        raise ArtifactError(f"{path} is not the state of a camera ({first_problem(exc)}): delete it") from exc


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """How a camera is. silent_s: since its last picture. lag_s: of scoring behind the last picture. coverage: share of
    its footage that was scored."""

    camera: Camera
    word: Word
    state: CameraState | None = None
    silent_s: float | None = None
    lag_s: float | None = None
    coverage: float | None = None

    def as_json(self, verdict: Verdict | None, baselines: Mapping[str, str]) -> str:
        """One line of JSON, with what the monitor says of the camera."""
        state = None if self.state is None else self.state.model_dump(mode="json", exclude={"camera"})
        drift = None if verdict is None else verdict.cameras.get(CameraName(self.camera.name))
        names = ("silent_s", "lag_s", "coverage")
        line = {"camera": self.camera.name, "status": self.word, **{name: getattr(self, name) for name in names}}
        line |= {"state": state, "drift": None if drift is None else {"status": drift.status, "kind": drift.kind}}
        return json.dumps(line | {"baseline": baselines.get(self.camera.name)})

    @property
    def is_good(self) -> bool:
        """Is it watched, or off on purpose?"""
        return self.word in ("receiving", "off")


def status_of(camera: Camera, state: CameraState | None, now: datetime) -> CameraStatus:
    """How a camera is at a time."""
    if state is None:
        return CameraStatus(camera, "never watched")
    last = state.last_picture
    return CameraStatus(
        camera,
        _word(camera, state, now),
        state,
        None if last is None else max((now - last).total_seconds(), 0.0),
        state.lag_s,
        state.scored_s / state.offered_s if state.offered_s else None,
    )


def _word(camera: Camera, state: CameraState, now: datetime) -> Word:
    if state.phase == "stopped" or now - state.written > timedelta(seconds=NOT_WATCHED_S):
        return "not watched"
    if state.phase == "off":
        return "off"
    if state.last_picture is not None and now - state.last_picture > timedelta(seconds=camera.expect_every_s):
        return "silent"
    return state.phase
