"""What the monitor said last about each camera: the latest verdict, and the baseline that is active."""

from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from headhunt_svc.monitoring.baselines import Baselines
from headhunt_svc.names import CameraName
from headhunt_svc.storage.files import read_model


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
    return read_model(folder / "verdicts" / "verdict.json", LatestVerdict, "headhunt monitor run")


def active_baselines(folder: Path) -> dict[str, str]:
    """The version of the active baseline of every camera that has one."""
    return Baselines(folder / "baselines").active()
