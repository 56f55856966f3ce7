"""The detector in use and the candidate beside it: exchanged while the process runs, when the links of deployed/ are.

The model stays loaded. Whoever scores a video takes `now` once and keeps it to the end of that video, so that every
report names the detector that made it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from headhunt_svc.detector.links import BundleLinks, BundleParts, Role
from headhunt_svc.detector.metrics import DETECTOR, EXCHANGES
from headhunt_svc.detector.pipeline import Detector, Reporter
from headhunt_svc.errors import ConfigError
from headhunt_svc.settings import Settings

Fits = Callable[[Reporter], None]


class Now(NamedTuple):
    """What scores at a moment. candidate: None where there is none, or where it is the detector in use."""

    detector: Detector
    candidate: Reporter | None = None


class InUse:
    """The detector of a process. Any thread may read `now`; `look` takes over what was activated."""

    def __init__(self, detector: Detector, links: BundleLinks | None = None) -> None:
        """links: without them the detector stays what it is."""
        self._links = links
        self._candidate: Reporter | None = None
        self.now = Now(detector)
        self._earlier: dict[str, Detector] = {}
        self._shown: dict[Role, str] = {}
        if links is not None:
            self._show()

    @classmethod
    def load(cls, bundle: Path, settings: Settings | None = None, whole: bool = False) -> "InUse":
        """Load a bundle and its model; `bundle` may be a link that is exchanged later. Raises: see Detector.load."""
        links = BundleLinks(bundle)
        return cls(Detector.load(links.active.folder, settings, whole), links)

    @property
    def detector(self) -> Detector:
        """The detector in use."""
        return self.now.detector

    @property
    def refused(self) -> dict[Role, str]:
        """Why the bundle that a link points to is not used, by the link's role."""
        return {} if self._links is None else dict(self._links.refused)

    def now_of(self, detector_id: str, folder: Path) -> Now:
        """What scores a video that was given to this detector, whatever is in use: an earlier one goes on for it.

        folder: of its bundle.

        Raises:
            ArtifactError, ConfigError: it is broken, holds another detector now, or scores other features.
        """
        if detector_id == self.now.detector.detector_id:
            return self.now
        if detector_id not in self._earlier:
            parts = BundleParts.load(folder)
            if parts.bundle.detector_id != detector_id:
                raise ConfigError(f"{folder} holds detector {parts.bundle.detector_id} now, not {detector_id}")
            if self._links is not None:
                self._links.active.check_same_features(parts)
            self._earlier[detector_id] = self._detector_of(parts)
        return Now(self._earlier[detector_id])

    def look(self, fits: Fits = lambda _: None) -> None:
        """Once a second, or before a video: take over what the links point to now.

        fits: raises ConfigError where a detector cannot do what is asked of it here; the bundle is refused then.
        """
        if self._links is None:
            return

        def take(role: Role, parts: BundleParts | None) -> None:
            if role == "candidate":
                candidate = None if parts is None else Reporter(parts.bundle, parts.scorer, parts.cameras)
                self._take_candidate(candidate, fits)
            elif parts is not None:
                self._take_active(parts, fits)
            self._show()

        self._links.look(take)

    def _take_active(self, parts: BundleParts, fits: Fits) -> None:
        detector = self._detector_of(parts)
        fits(detector)
        self._set(detector, self._candidate)
        EXCHANGES.inc()

    def _detector_of(self, parts: BundleParts) -> Detector:
        """A detector with the model that is loaded."""
        own = self.now.detector
        return Detector(parts.bundle, parts.scorer, own.extractor, own.batch_segments, own.describes, parts.cameras)

    def _take_candidate(self, candidate: Reporter | None, fits: Fits) -> None:
        if candidate is not None:
            if candidate.scorer.background == "median":
                raise ConfigError(
                    f"candidate {candidate.detector_id}: its scores are relative to the whole video (fit.background: "
                    "median) and not known beside those of the detector in use"
                )
            fits(candidate)
        self._set(self.now.detector, candidate)

    def _set(self, detector: Detector, candidate: Reporter | None) -> None:
        self._candidate = candidate
        is_other = candidate is not None and candidate.detector_id != detector.detector_id
        self.now = Now(detector, candidate if is_other else None)

    def _show(self) -> None:
        """In the metrics: which detectors are, and were, in use here."""
        ids: dict[Role, str] = {"active": self.now.detector.detector_id}
        if self.now.candidate is not None:
            ids["candidate"] = self.now.candidate.detector_id
        for role, detector_id in self._shown.items():
            DETECTOR.labels(role, detector_id).set(0)
        for role, detector_id in ids.items():
            DETECTOR.labels(role, detector_id).set(1)
        self._shown = ids
