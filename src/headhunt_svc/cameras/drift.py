"""What the monitor said last about each camera: the latest verdict, and the baseline that is active."""

from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from headhunt_svc.errors import ArtifactError
from headhunt_svc.monitoring.baselines import Baselines
from headhunt_svc.names import CameraName
from headhunt_svc.sections import first_problem
from headhunt_svc.storage.files import read_json


class CameraDrift(BaseModel):
    """status: as verdicts.Status. kind: of drift, if there is any."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    status: str
    kind: str | None = None

    @property
    def word(self) -> str:
        """As CameraVerdict.word."""
        return "silent" if self.status == "silent" else self.kind or self.status


class LatestVerdict(BaseModel):
    """The parts of verdict.json that a table of cameras shows."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    stop: datetime
    cameras: dict[str, CameraDrift]

    def of(self, camera: str) -> CameraDrift | None:
        """What it says of a camera, if anything."""
        return self.cameras.get(CameraName(camera))


def latest_verdict(folder: Path) -> LatestVerdict | None:
    """The latest verdict in the monitor's folder; None before its first run.

    Raises:
        ArtifactError: the file is broken.
    """
    path = folder / "verdicts" / "verdict.json"
    if not path.exists():
        return None
    try:
        return LatestVerdict.model_validate(read_json(path, "headhunt monitor run"))
    except ValidationError as exc:
        raise ArtifactError(f"{path} is not a verdict ({first_problem(exc)}): run `headhunt monitor run`") from exc


def active_baselines(folder: Path) -> dict[str, str]:
    """The version of the active baseline of every camera that has one."""
    return Baselines(folder / "baselines").active()
