"""Verdicts as verdict.json holds them, read back."""

from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from headhunt_svc.errors import ArtifactError
from headhunt_svc.monitoring.config import Kind
from headhunt_svc.monitoring.verdicts import Status
from headhunt_svc.sections import first_problem


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class StoredSignal(_Stored):
    """A signal in verdict.json."""

    value: float
    limit: float
    chance: float

    @property
    def ratio(self) -> float:
        """Value over limit; a value beyond a limit of 0 is infinitely far beyond."""
        if self.limit > 0:
            return self.value / self.limit
        return float("inf") if self.value > 0 else 0.0


class StoredVerdict(_Stored):
    """A camera in verdict.json."""

    camera: str
    status: Status
    why: str = ""
    baseline: str | None = None
    segments: int = 0
    blocks: int = 0
    probed: int = 0
    event_rate: float = 0.0
    event_interval: tuple[float, float] = (0.0, 1.0)
    signals: dict[str, StoredSignal] = Field(default_factory=dict)
    heads: dict[str, float] = Field(default_factory=dict)
    unstable: dict[str, float] = Field(default_factory=dict)
    kind: Kind | None = None
    since: AwareDatetime | None = None

    @property
    def is_silent(self) -> bool:
        """Had it no rows for longer than it may? Older monitors called that "no data"."""
        return self.kind is not None and self.status in ("silent", "no data")

    @property
    def word(self) -> str:
        """How the camera is, in the word of the monitor (CameraVerdict.word)."""
        return "silent" if self.is_silent else self.kind or self.status

    @property
    def worst(self) -> tuple[str, StoredSignal] | None:
        """The signal that is furthest along to its limit, or beyond it."""
        return max(self.signals.items(), key=lambda item: item[1].ratio, default=None)


class StoredRun(_Stored):
    """verdict.json."""

    start: AwareDatetime
    stop: AwareDatetime
    detector_id: str | None = None
    cameras: dict[str, StoredVerdict]
    excluded: dict[str, int] = Field(default_factory=dict)
    missing: dict[str, list[str]] = Field(default_factory=dict)
    alarms: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def read_run(path: Path) -> StoredRun:
    """A verdict.json. Raises ArtifactError: it is none, or is missing."""
    try:
        return StoredRun.model_validate_json(path.read_bytes())
    except ValidationError as exc:
        raise ArtifactError(f"{path} is not a verdict ({first_problem(exc)}): run `headhunt monitor run`") from exc
    except OSError as exc:
        raise ArtifactError(f"{path} cannot be read ({exc.strerror}): run `headhunt monitor run`") from exc
