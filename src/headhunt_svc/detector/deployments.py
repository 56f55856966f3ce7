"""The detector bundle in use: a link that services are started with, and the log of its changes.

deployed/current -> ../artifacts/detector
deployed/audit.jsonl
"""

import os
from dataclasses import dataclass
from pathlib import Path

from headhunt_svc.detector.bundle import Bundle, check_model, load_bundle
from headhunt_svc.detector.cameras import CameraScorers
from headhunt_svc.errors import ArtifactError, ConfigError
from headhunt_svc.storage.audit import audit, audited
from headhunt_svc.storage.files import write_link
from headhunt_svc.storage.locks import exclusive


@dataclass(frozen=True, slots=True)
class Version:
    """A bundle that was activated at some time; problem: why it cannot be used now, if so."""

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
        self._lock = folder / ".lock"

    def activate(self, bundle: Path, why: str) -> str:
        """Point `current` to this bundle, if it is whole and its model exists; returns its detector_id.

        Raises:
            ArtifactError: the bundle or the file of a camera is broken, or its model is missing or another one.
            OutputError: it cannot be written; the bundle from before stays.
        """
        with exclusive(self._lock):
            return self._activate(bundle, why)

    def _activate(self, bundle: Path, why: str) -> str:
        detector = _whole(bundle)
        folder = bundle.resolve()
        self.current.parent.mkdir(parents=True, exist_ok=True)
        target = os.path.relpath(folder, self.current.parent.resolve())
        record = {"what": "bundle", "folder": str(folder), "detector_id": detector.detector_id, "why": why}
        write_link(self.current, target, before=lambda: audit(self.log, **record))
        return detector.detector_id

    def history(self) -> list[Version]:
        """Every activation, oldest first."""
        lines = audited(self.log, "folder", "detector_id", "why")
        active = self.current.resolve() if self.current.is_symlink() else None
        last = max((i for i, line in enumerate(lines) if Path(line["folder"]) == active), default=None)
        versions = []
        for i, line in enumerate(lines):
            detector_id, folder = line["detector_id"], Path(line["folder"])
            problem = _problem(folder, detector_id)
            versions.append(Version(detector_id, folder, line["time"], line["by"], line["why"], i == last, problem))
        return versions

    def rollback(self, to: str | None, why: str) -> Version:
        """Activate an earlier detector: the one named, or the last one before the current one.

        Raises:
            ConfigError: no such detector was active, or its folder holds another one now.
        """
        with exclusive(self._lock):
            return self._rollback(to, why)

    def _rollback(self, to: str | None, why: str) -> Version:
        history = self.history()
        current = next((v.detector_id for v in history if v.active), None)
        candidates = [v for v in history if (v.detector_id == to if to else v.detector_id != current)]
        if not candidates:
            names = ", ".join(dict.fromkeys(v.detector_id for v in history)) or "none"
            raise ConfigError(f"no {'such ' if to else 'earlier '}detector was active here; there are: {names}")
        version = candidates[-1]
        if version.problem:
            raise ConfigError(f"{version.folder}: {version.problem}; put the bundle back, or name another with --to")
        self._activate(version.folder, why)
        return version


def _whole(folder: Path) -> Bundle:
    """The bundle of a folder. Raises ArtifactError unless all that a service reads when it starts is there."""
    detector, scorer = load_bundle(folder)
    CameraScorers.load(folder, scorer, detector.cameras)
    check_model(detector, folder)
    return detector


def _problem(folder: Path, detector_id: str) -> str | None:
    try:
        detector = _whole(folder)
    except ArtifactError as exc:
        return str(exc)
    now = detector.detector_id
    return None if now == detector_id else f"holds detector {now} now, not {detector_id}"
