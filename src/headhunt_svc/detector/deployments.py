"""Which detector bundle is in use: a link that a service is started with, and the record of its changes.

deployed/current -> ../artifacts/detector
deployed/audit.jsonl
"""

import os
from dataclasses import dataclass
from pathlib import Path

from headhunt_svc.detector.bundle import check_model, load_bundle
from headhunt_svc.errors import ArtifactError, ConfigError
from headhunt_svc.storage.audit import audit, audited
from headhunt_svc.storage.files import write_file


@dataclass(frozen=True, slots=True)
class Version:
    """A bundle that was activated once; why it cannot be used now, if so."""

    detector_id: str
    folder: Path
    time: str
    by: str
    why: str
    active: bool
    problem: str | None


class Deployed:
    """A folder with the link `current`."""

    def __init__(self, folder: Path) -> None:
        self.current, self.log = folder / "current", folder / "audit.jsonl"

    def activate(self, bundle: Path, why: str) -> str:
        """Let `current` be this bundle, if it is whole and its model is there; returns its detector_id.

        Raises:
            ArtifactError: the bundle is broken, or its model is missing or another one.
        """
        made, _ = load_bundle(bundle)
        check_model(made, bundle)
        folder = bundle.resolve()
        audit(self.log, what="bundle", folder=str(folder), detector_id=made.detector_id, why=why)
        write_file(self.current, lambda p: _link(p, folder))
        return made.detector_id

    def history(self) -> list[Version]:
        """Every activation, oldest first."""
        found, active = audited(self.log), self.current.resolve() if self.current.is_symlink() else None
        last = max((i for i, line in enumerate(found) if Path(line["folder"]) == active), default=None)
        return [
            Version(
                line["detector_id"],
                Path(line["folder"]),
                line["time"],
                line["by"],
                line["why"],
                i == last,
                _problem(Path(line["folder"]), line["detector_id"]),
            )
            for i, line in enumerate(found)
        ]

    def rollback(self, to: str | None, why: str) -> Version:
        """Activate an earlier detector: the one named, or the last one that was active before the current one.

        Raises:
            ConfigError: there is no such one, or its folder holds another detector now.
        """
        history = self.history()
        now = next((v.detector_id for v in history if v.active), None)
        fits = [v for v in history if (v.detector_id == to if to else v.detector_id != now)]
        if not fits:
            known = ", ".join(dict.fromkeys(v.detector_id for v in history)) or "none"
            raise ConfigError(f"no {'such ' if to else 'earlier '}detector was active here; there are: {known}")
        chosen = fits[-1]
        if chosen.problem:
            raise ConfigError(f"{chosen.folder}: {chosen.problem}; put the bundle back, or name another with --to")
        self.activate(chosen.folder, why)
        return chosen


def _link(path: Path, folder: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(os.path.relpath(folder, path.parent.resolve()))


def _problem(folder: Path, detector_id: str) -> str | None:
    try:
        made, _ = load_bundle(folder)
        check_model(made, folder)
    except ArtifactError as exc:
        return str(exc)
    return None if made.detector_id == detector_id else f"holds detector {made.detector_id} now, not {detector_id}"
