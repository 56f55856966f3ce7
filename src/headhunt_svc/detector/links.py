"""The links `current` and `candidate` of deployed/, read again when they are exchanged. Imports no model.

A bundle can be taken over without a restart where its features are those of the bundle whose model is loaded: model,
prompt, heads and segmentation are equal, and scorer, cameras and operating points may differ. Any other bundle is
refused by name, and what was in use stays.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float32

from headhunt_svc.detector.bundle import Bundle, load_bundle, load_golden, model_key
from headhunt_svc.detector.cameras import CameraScorers
from headhunt_svc.detector.metrics import REFUSED
from headhunt_svc.errors import ConfigError, HeadHuntError
from headhunt_svc.types import Scorer

logger = logging.getLogger(__name__)
Role = Literal["active", "candidate"]
CANDIDATE = "candidate"  # name of the link beside `current`
GOLDEN_TOLERANCE = 1e-3  # share of the largest golden feature: both are of the same model and libraries


@dataclass(frozen=True, slots=True, eq=False)
class BundleParts:
    """A bundle without its model. folder: where it is, no link."""

    folder: Path
    bundle: Bundle
    scorer: Scorer
    cameras: CameraScorers
    golden: Float32[np.ndarray, "clip features"]

    @classmethod
    def load(cls, folder: Path) -> "BundleParts":
        """Read all files of a bundle. Raises ArtifactError: one is missing or broken."""
        real = folder.resolve() if folder.is_symlink() else folder
        bundle, scorer = load_bundle(real)
        return cls(real, bundle, scorer, CameraScorers.load(real, scorer, bundle.cameras), load_golden(real))

    def check_same_features(self, other: "BundleParts") -> None:
        """Raise ConfigError, which names what differs, unless `other` scores the features of this bundle."""
        ours, theirs = self.bundle, other.bundle
        differ = [
            name
            for name, mine, others in (
                ("model", *(model_key(b.mllm, b.mllm_revision) for b in (ours, theirs))),
                ("prompt", ours.prompt, theirs.prompt),
                ("heads", ours.heads, theirs.heads),
                ("segmentation", ours.segmentation, theirs.segmentation),
                ("fingerprint", ours.fingerprint, theirs.fingerprint),
            )
            if mine != others
        ]
        if not differ and not self._same_golden(other):
            differ = ["golden features"]
        if differ:
            raise ConfigError(
                f"{other.folder}: detector {theirs.detector_id} has another {' and '.join(differ)} than detector "
                f"{ours.detector_id} in use: it scores other features, and takes a restart"
            )

    def _same_golden(self, other: "BundleParts") -> bool:
        if self.golden.shape != other.golden.shape:
            return False
        return bool(np.allclose(self.golden, other.golden, rtol=0, atol=GOLDEN_TOLERANCE * np.abs(self.golden).max()))


class _Version(NamedTuple):
    """What changes when a link is exchanged, even by one to the same place; folder: where it points to."""

    inode: int
    modified_ns: int
    folder: Path


def _version(link: Path) -> _Version | None:
    """The link as it is now, also while others exchange it; None: there is no such link."""
    try:
        while True:
            before = link.lstat()
            version = _Version(before.st_ino, before.st_mtime_ns, (link.parent / link.readlink()).resolve())
            after = link.lstat()
            if version[:2] == (after.st_ino, after.st_mtime_ns):
                return version
    except (OSError, RuntimeError):  # the second for links in a circle
        return None


class BundleLinks:
    """The bundle that a process was started with and, where that is a link, what it and `candidate` point to now.

    active: the parts in use. candidate: those of the candidate, if there is one that can be scored beside it.
    refused: why a bundle that a link points to is not used.
    """

    def __init__(self, link: Path) -> None:
        """Raises ArtifactError: the bundle is missing or broken."""
        self._links: dict[Role, Path] = {}
        if link.is_symlink():
            self._links = {"active": link, "candidate": link.with_name(CANDIDATE)}
        self._seen: dict[Role, _Version | None] = {"active": _version(link), "candidate": None}
        self._lock = threading.Lock()
        self.active = BundleParts.load(link)
        self.candidate: BundleParts | None = None
        self.refused: dict[Role, str] = {}
        for role in get_args(Role):
            REFUSED.labels(role).set(0)

    def look(self, take: Callable[[Role, BundleParts | None], None]) -> None:
        """Read the links that have changed since the last look.

        take: is called with a bundle that fits, or with None where there is no candidate any more; what it raises
        refuses the bundle.
        """
        if not self._lock.acquire(blocking=False):  # another thread is at it
            return
        try:
            for role, link in self._links.items():
                version = _version(link)
                if version != self._seen[role]:
                    self._seen[role] = version
                    self._exchange(role, None if version is None else version.folder, take)
        finally:
            self._lock.release()

    def _exchange(self, role: Role, folder: Path | None, take: Callable[[Role, BundleParts | None], None]) -> None:
        try:
            parts = self._checked(role, folder)
            take(role, parts)
        except Exception as exc:  # whatever is wrong with a bundle must not end what is in use
            is_expected = isinstance(exc, (HeadHuntError, OSError))
            self.refused[role] = str(exc) if is_expected else f"not expected: {exc!r}"
            REFUSED.labels(role).set(1)
            logger.error(
                "the %s bundle is refused, detector %s stays in use: %s",
                *(role, self.active.bundle.detector_id, self.refused[role]),
                exc_info=None if is_expected else exc,
            )
            if role == "candidate":
                take(role, None)
                self.candidate = None
            return
        self.refused.pop(role, None)
        REFUSED.labels(role).set(0)
        if role == "candidate":
            self.candidate = parts
            logger.warning("candidate: %s", "none" if parts is None else f"detector {parts.bundle.detector_id}")
        elif parts is not None:
            logger.warning("detector %s takes over from %s", parts.bundle.detector_id, self.active.bundle.detector_id)
            self.active = parts

    def _checked(self, role: Role, folder: Path | None) -> BundleParts | None:
        """The parts of the bundle, of the features that are read here. Raises HeadHuntError, OSError."""
        if folder is None:
            if role == "active":
                raise ConfigError(f"{self._links[role]} is gone")
            return None
        parts = BundleParts.load(folder)
        self.active.check_same_features(parts)
        return parts
