"""Makes sure that no two processes watch one camera: a lock for each, beside the events."""

import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from headhunt_svc.errors import ConfigError, unwritable
from headhunt_svc.names import CameraName
from headhunt_svc.storage.locks import locked

WAIT_S = 3.0  # for a process that is ending, or one that looks whether a camera is watched


class ClaimedError(ConfigError):
    """Another process watches the camera."""


class CameraClaims:
    """The cameras that this process watches, locked until they are given up; use it in a `with`."""

    def __init__(self, events: Path) -> None:
        """events: the folder of the events."""
        self._folder = events / "watched"
        self._held: dict[str, ExitStack] = {}

    def __enter__(self) -> "CameraClaims":
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._held):
            self.give_up(name)

    def claim(self, cameras: Iterable[str]) -> None:
        """Lock cameras; all or none.

        Raises:
            ClaimedError: another process watches one of them. OutputError: no lock can be made.
        """
        new: list[str] = []
        deadline = time.monotonic() + WAIT_S
        try:
            for camera in cameras:
                if camera not in self._held:
                    self._claim(camera, deadline)
                    new.append(camera)
        except BaseException:
            for camera in new:
                self.give_up(camera)
            raise

    def _claim(self, camera: str, deadline: float) -> None:
        stack = ExitStack()
        path = self._path(camera)
        try:
            while not stack.enter_context(locked(path)):
                if time.monotonic() > deadline:
                    raise ClaimedError(
                        f"another `headhunt watch` watches the camera {camera!r} and stores in {self._folder.parent}: "
                        "end it first, or give this one its own cameras (--cameras)"
                    )
                time.sleep(0.1)
        except OSError as exc:
            raise unwritable(path, exc) from exc
        self._held[camera] = stack

    def keep(self, cameras: Iterable[str]) -> None:
        """Unlock all others."""
        for camera in set(self._held) - set(cameras):
            self.give_up(camera)

    def give_up(self, camera: str) -> None:
        """Unlock a camera."""
        self._held.pop(camera, ExitStack()).close()

    def is_elsewhere(self, camera: str) -> bool:
        """Does another process watch this camera?"""
        if camera in self._held:
            return False
        with locked(self._path(camera)) as free:
            return not free

    def _path(self, camera: str) -> Path:
        return self._folder / f"{CameraName(camera).folder}.lock"
