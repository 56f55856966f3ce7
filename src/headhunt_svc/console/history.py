"""The verdicts of the last 30 days, kept small: what the charts need of each; read again only where a file changed."""

import logging
import os
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import cast

from headhunt_svc.console.words import ALL_SIGNALS
from headhunt_svc.errors import ArtifactError
from headhunt_svc.monitoring.config import Kind
from headhunt_svc.monitoring.verdicts import VERDICT, CameraVerdict, Status, Verdict, read_verdict

logger = logging.getLogger(__name__)
KEPT = timedelta(days=30)
NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Point:
    """A camera in one window. ratios: value over limit of ALL_SIGNALS, NaN where a signal was not judged."""

    status: Status
    kind: Kind | None
    ratios: "array[float]"


@dataclass(frozen=True, slots=True)
class Judged:
    """One window. folder: its name. stamp: of its file."""

    folder: str
    stamp: tuple[int, int]
    start: datetime
    stop: datetime
    cameras: Mapping[str, Point]


class History:
    """All verdicts of a folder that are not older than the latest by more than KEPT. Threads may share it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.windows: tuple[Judged, ...] = ()  # the oldest first
        self.latest: Verdict | None = None
        self.problems: tuple[str, ...] = ()
        self._latest_stamp: tuple[int, int] | None = None
        self._broken: dict[str, tuple[tuple[int, int], str]] = {}
        self._lock = Lock()

    @property
    def version(self) -> str:
        """A text that changes with the verdicts."""
        last = self.windows[-1] if self.windows else None
        return f"{len(self.windows)} {last and last.folder} {last and last.stamp} {self._latest_stamp}"

    def refresh(self) -> None:
        """Read what is new or was written again."""
        with self._lock:
            known = {window.folder: window for window in self.windows}
            names = sorted(self._folders(), reverse=True)
            windows: list[Judged] = []
            for name in names:
                window = self._window(name, known.get(name))
                if window is None:
                    continue
                if windows and windows[0].stop - window.stop > KEPT:
                    break
                windows.append(window)
            self.windows = tuple(reversed(windows))
            self._read_latest()
            self.problems = tuple(why for _, why in self._broken.values())

    def _folders(self) -> list[str]:
        try:
            with os.scandir(self.folder) as entries:
                return [entry.name for entry in entries if entry.is_dir()]
        except FileNotFoundError:
            return []

    def _window(self, name: str, known: Judged | None) -> Judged | None:
        """A window as it is known, or read now; None if its file is missing or damaged, which `problems` says."""
        stamp = _stamp(self.folder / name / VERDICT)
        if stamp is None:
            return None
        if known is not None and known.stamp == stamp:
            return known
        if (broken := self._broken.get(name)) is not None and broken[0] == stamp:
            return None
        try:
            run = read_verdict(self.folder / name / VERDICT)
        except ArtifactError as exc:
            self._broken[name] = stamp, str(exc)
            return None
        self._broken.pop(name, None)
        return Judged(name, stamp, run.start, run.stop, {c: _point(v) for c, v in run.cameras.items()})

    def _read_latest(self) -> None:
        path = self.folder / VERDICT
        stamp = _stamp(path)
        if stamp == self._latest_stamp:
            return
        self._latest_stamp = stamp
        self._broken.pop(VERDICT, None)
        try:
            self.latest = None if stamp is None else read_verdict(path)
        except ArtifactError as exc:
            self.latest = None
            self._broken[VERDICT] = cast(tuple[int, int], stamp), str(exc)

    def run(self, folder: str) -> Verdict | None:
        """All of one window's verdicts; None where there is no such window. Raises ArtifactError: it is damaged."""
        if folder not in {window.folder for window in self.windows}:
            return None
        return read_verdict(self.folder / folder / VERDICT)

    def of(self, camera: str) -> CameraVerdict | None:
        """What the latest verdict says of a camera."""
        return None if self.latest is None else self.latest.cameras.get(camera)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return stat.st_mtime_ns, stat.st_size


def _point(verdict: CameraVerdict) -> Point:
    ratios = (verdict.signals[s].of_limit if s in verdict.signals else NAN for s in ALL_SIGNALS)
    return Point(verdict.status, verdict.kind, array("f", ratios))
