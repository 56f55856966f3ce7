"""Writes how every camera is, for `headhunt cameras status`, and says in the log what is wrong, once."""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from headhunt_svc.cameras.status import CameraState, LastEvent, load_state, save_state, state_file
from headhunt_svc.cameras.watched import WatchedCamera
from headhunt_svc.errors import ArtifactError, OutputError, UnreachableError
from headhunt_svc.events.records import EventFilter
from headhunt_svc.events.store import EventStore

logger = logging.getLogger(__name__)


def last_event(store: EventStore, camera: str) -> LastEvent | None:
    """The latest stored event of a camera. Raises UnreachableError."""
    for record in store.list(EventFilter(camera=camera), limit=1):
        return LastEvent(id=record.id, start=record.start, score=record.score, is_open=record.stop is None)
    return None


class CameraStates:
    """The states of the cameras that are watched, in files and for metrics."""

    def __init__(self, folder: Path, store: EventStore) -> None:
        self._folder, self._store = folder, store
        self._states: dict[str, CameraState] = {}  # the latest
        self._written: dict[str, tuple[object, ...]] = {}  # what a change of which is written at once
        self._logged: dict[str, str | None] = {}

    def earlier(self, camera: str) -> CameraState | None:
        """What is known from before; nothing where the file is damaged."""
        try:
            return load_state(self._folder, camera)
        except ArtifactError as exc:
            logger.warning("camera %s: %s", camera, exc)
            return None

    def latest(self) -> list[CameraState]:
        """The states as of now."""
        return list(self._states.values())

    def update(self, cameras: Iterable[WatchedCamera], writes_all: bool) -> None:
        """Take over how the cameras are; written are those that changed or, with writes_all, all.

        Raises:
            OutputError, UnreachableError: the first trouble, after all cameras were tried.
        """
        trouble: OutputError | UnreachableError | None = None
        for camera in cameras:
            try:
                self._update(camera, datetime.now(UTC), writes_all)
            except (OutputError, UnreachableError) as exc:
                trouble = trouble or exc
        if trouble is not None:
            raise trouble

    def _update(self, camera: WatchedCamera, now: datetime, writes_all: bool) -> None:
        name = camera.camera.name
        state, before = camera.state(now), self._states.get(name)
        self._log(state)
        event = None if before is None else before.last_event
        self._states[name] = state.model_copy(update={"last_event": event})
        try:
            event = last_event(self._store, name)
        finally:  # the state is written, too, where the database is away
            state = state.model_copy(update={"last_event": event})
            self._states[name] = state
            change = state.phase, state.problem, state.last_event, state.reconnects, state.frozen
            if writes_all or self._written.get(name) != change:
                save_state(self._folder, state)
                self._written[name] = change

    def _log(self, state: CameraState) -> None:
        """Say what is wrong with a camera when that changes."""
        before = self._logged.get(state.camera)
        if state.problem == before:
            return
        if state.problem is not None:
            logger.warning("camera %s: %s", state.camera, state.problem)
        elif state.phase == "receiving":
            logger.warning("camera %s: all is well again", state.camera)
        self._logged[state.camera] = state.problem

    def write_stopped(self, camera: WatchedCamera) -> None:
        """Write that a camera is no longer watched."""
        now = datetime.now(UTC)
        state = camera.state(now).model_copy(update={"phase": "stopped", "problem": None})
        try:
            event = last_event(self._store, camera.camera.name)
            save_state(self._folder, state.model_copy(update={"last_event": event}))
        except (OutputError, UnreachableError) as exc:
            logger.error("camera %s: its state cannot be written: %s", camera.camera.name, exc)

    def forget(self, camera: str) -> None:
        """A camera is gone from cameras.yaml."""
        for known in (self._states, self._written, self._logged):
            known.pop(camera, None)
        state_file(self._folder, camera).unlink(missing_ok=True)
