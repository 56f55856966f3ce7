"""The detector bundle in use: a link that services are started with, and the log of its changes.

deployed/current -> ../artifacts/detector
deployed/candidate -> ../artifacts/candidate    # scored in shadow, if there is one
deployed/audit.jsonl
"""

import os
from dataclasses import dataclass
from pathlib import Path

from headhunt_svc.detector.bundle import Bundle, check_model, load_bundle
from headhunt_svc.detector.cameras import CameraScorers
from headhunt_svc.detector.links import CANDIDATE, BundleParts
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
    """A folder with the links `current` and `candidate`."""

    def __init__(self, folder: Path, by: str | None = None) -> None:
        """by: who changes something, for the record; by default the user of this process."""
        self.current, self.candidate = folder / "current", folder / CANDIDATE
        self.log = folder / "audit.jsonl"
        self._lock = folder / ".lock"
        self._author = {} if by is None else {"by": by}

    def activate(self, bundle: Path, why: str) -> str:
        """Point `current` to this bundle, if it is whole and its model exists; returns its detector_id.

        Raises:
            ArtifactError: the bundle or the file of a camera is broken, or its model is missing or another one.
            OutputError: it cannot be written; the bundle from before stays.
        """
        with exclusive(self._lock):
            return self._activate(bundle, why)

    def _activate(self, bundle: Path, why: str) -> str:
        detector_id = self._point(self.current, bundle, "bundle", why)
        if self.candidate.is_symlink() and self.candidate.resolve() == self.current.resolve():
            self.candidate.unlink()  # it is in use now
        return detector_id

    def _point(self, link: Path, bundle: Path, what: str, why: str) -> str:
        """Exchange a link, recorded before; returns the detector_id."""
        detector = _whole(bundle)
        folder = bundle.resolve()
        link.parent.mkdir(parents=True, exist_ok=True)
        target = os.path.relpath(folder, link.parent.resolve())
        record = {"what": what, "folder": str(folder), "detector_id": detector.detector_id, "why": why}
        record |= self._author
        write_link(link, target, before=lambda: audit(self.log, **record))
        return detector.detector_id

    def shadow(self, bundle: Path, why: str) -> str:
        """Point `candidate` to this bundle: it is scored beside the one in use. Returns its detector_id.

        Raises:
            ArtifactError: see `activate`. ConfigError: nothing is in use, or the bundle scores other features or is
                the one in use. OutputError: it cannot be written.
        """
        with exclusive(self._lock):
            if not self.current.is_symlink():
                raise ConfigError(f"nothing is in use in {self.current.parent}: `headhunt bundles activate` first")
            current, other = BundleParts.load(self.current), BundleParts.load(bundle)
            current.check_same_features(other)
            if current.bundle.detector_id == other.bundle.detector_id:
                raise ConfigError(f"detector {other.bundle.detector_id} is in use: there is nothing to compare")
            return self._point(self.candidate, bundle, "candidate", why)

    def stop_shadow(self, why: str) -> str:
        """Remove `candidate`; returns the detector_id that it had. Raises ConfigError: there is none."""
        with exclusive(self._lock):
            folder = self._candidate_folder()
            detector_id = load_bundle(folder)[0].detector_id if (folder / "bundle.json").exists() else "gone"
            audit(self.log, what="candidate stopped", folder=str(folder), detector_id=detector_id, why=why)
            self.candidate.unlink()
            return detector_id

    def activate_candidate(self, why: str) -> str:
        """Activate the candidate; it is no candidate any more. Raises: see `activate`; ConfigError: there is none."""
        with exclusive(self._lock):
            return self._activate(self._candidate_folder(), why)

    def shadow_since(self) -> str | None:
        """When the candidate of now was last named, as the log says; None: there is none."""
        if not self.candidate.is_symlink():
            return None
        folder = self.candidate.resolve()
        lines = audited(self.log, "what", "folder", "detector_id", "why")
        named = [line for line in lines if line["what"] == "candidate" and Path(line["folder"]) == folder]
        return named[-1]["time"] if named else None

    def _candidate_folder(self) -> Path:
        if not self.candidate.is_symlink():
            raise ConfigError(f"there is no candidate in {self.candidate.parent}: `headhunt bundles shadow BUNDLE`")
        return self.candidate.resolve()

    def history(self) -> list[Version]:
        """Every activation, oldest first."""
        lines = [line for line in audited(self.log, "what", "folder", "detector_id", "why") if line["what"] == "bundle"]
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
