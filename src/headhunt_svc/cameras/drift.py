"""What the monitor said last about each camera: the latest verdict, and the baseline that is active."""

from pathlib import Path

from headhunt_svc.monitoring.baselines import Baselines
from headhunt_svc.monitoring.verdicts import VERDICT, Verdict, read_verdict


def latest_verdict(folder: Path) -> Verdict | None:
    """The latest verdict in the monitor's folder; None before its first run.

    Raises:
        ArtifactError: the file is broken.
    """
    path = folder / "verdicts" / VERDICT
    return read_verdict(path) if path.is_file() else None


def active_baselines(folder: Path) -> dict[str, str]:
    """The version of the active baseline of every camera that has one."""
    return Baselines(folder / "baselines").active()
