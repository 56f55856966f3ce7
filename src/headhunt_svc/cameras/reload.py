"""Reads cameras.yaml again when it has changed; a broken one is refused, and the last good one counts.

The content is compared about once a second. Events of the file system would miss a file on a network disk, and the
links that Kubernetes exchanges; the file is small.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from headhunt_svc.cameras.config import Camera, Cameras, CamerasError, load_cameras
from headhunt_svc.errors import ConfigError


def unset_variables(cameras: Cameras) -> list[str]:
    """The environment variables that sources name and that are not set."""
    return [
        f"cameras.{camera.name}.source: {name} is not set in the environment"
        for camera in cameras.each()
        for name in camera.source.missing()
    ]


def unusable(cameras: Cameras, parameter: str, check: Callable[[Camera], None]) -> list[str]:
    """What `check` has against this parameter of cameras; it raises ConfigError."""
    problems = []
    for camera in cameras.each():
        try:
            check(camera)
        except ConfigError as exc:
            problems.append(f"cameras.{camera.name}.{parameter}: {exc}")
    return problems


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be done after a change of the file; a camera with new parameters is in both."""

    removed: tuple[Camera, ...]
    added: tuple[Camera, ...]

    @classmethod
    def between(cls, old: Cameras, new: Cameras) -> "Changes":
        """From one version of the file to the next."""
        before, after = set(old.each()), set(new.each())
        return cls(
            tuple(camera for camera in old.each() if camera not in after),
            tuple(camera for camera in new.each() if camera not in before),
        )


class CamerasFile:
    """cameras.yaml, and its last version that can be used."""

    def __init__(self, path: Path, problems: Callable[[Cameras], Sequence[str]]) -> None:
        """problems: what is wrong with cameras beside what `load_cameras` sees.

        Raises:
            ConfigError: the file cannot be read; as CamerasError all its problems.
        """
        self._path, self._problems = path, problems
        self._content = self._read()
        self.cameras = self._load()

    def _read(self) -> bytes | None:
        try:
            return self._path.read_bytes()
        except OSError:  # load_cameras says why
            return None

    def _load(self) -> Cameras:
        cameras = load_cameras(self._path)
        if problems := self._problems(cameras):
            raise CamerasError(self._path, list(problems))
        return cameras

    def changed(self) -> Cameras | None:
        """The cameras of a new version of the file; `cameras` stays as it is. None: the file has not changed.

        Raises:
            ConfigError: the new version cannot be used; raised once for each.
        """
        content = self._read()
        if content == self._content:
            return None
        self._content = content
        return self._load()

    def read_again(self) -> None:
        """What `changed` returned could not be taken over for now: the next call returns it again."""
        self._content = None
