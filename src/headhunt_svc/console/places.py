"""Where the console reads, as one frozen value."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Places:
    """cameras: cameras.yaml. states: what the process that watches writes. monitor: the monitor's folder.

    log: the prediction log. reference: baseline of cameras without one of their own.
    """

    cameras: Path
    states: Path
    monitor: Path
    log: str
    reference: Path

    @property
    def verdicts(self) -> Path:
        """Where the monitor writes verdicts."""
        return self.monitor / "verdicts"

    @property
    def baselines(self) -> Path:
        """The cameras' baselines."""
        return self.monitor / "baselines"
