"""Where the console reads, as one frozen value."""

from dataclasses import dataclass
from pathlib import Path

from headhunt_svc import paths


@dataclass(frozen=True, slots=True)
class Places:
    """cameras: cameras.yaml. states: what the process that watches writes. monitor: the monitor's folder.

    log: the prediction log. reference: baseline of cameras without one of their own. bundle: of the detector,
    where none is deployed; candidate: where a bundle that has learnt from marks is put; deployed: folder of `current`.
    drift: the limits of the monitor. evidently: where its dashboard answers, if it does.
    """

    cameras: Path
    states: Path
    monitor: Path
    log: str
    reference: Path
    bundle: Path = paths.BUNDLE
    candidate: Path = paths.CANDIDATE
    deployed: Path = paths.DEPLOYED
    drift: Path = paths.DRIFT
    evidently: str | None = None

    @property
    def active(self) -> Path:
        """The bundle in use."""
        current = self.deployed / "current"
        return current if current.exists() else self.bundle

    @property
    def verdicts(self) -> Path:
        """Where the monitor writes verdicts."""
        return self.monitor / "verdicts"

    @property
    def baselines(self) -> Path:
        """The cameras' baselines."""
        return self.monitor / "baselines"
