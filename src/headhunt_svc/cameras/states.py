"""Writes how every camera is, for `headhunt cameras status`, and says in the log what is wrong, once."""

import logging
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from headhunt_svc.cameras.status import CameraState, LastEvent, load_state, save_state, state_file
from headhunt_svc.cameras.watched import WatchedCamera
from headhunt_svc.errors import ArtifactError, OutputError, UnreachableError
from headhunt_svc.events.records import EventFilter
from headhunt_svc.events.store import EventStore

logger = logging.getLogger(__name__)
LOG_AFTER_S = 3.0  # a lost packet is a problem for a moment


def last_event(store: EventStore, camera: str) -> LastEvent | None:
    """The latest stored event of a camera. Raises UnreachableError."""
    for record in store.list(EventFilter(camera=camera, questions=False), limit=1):
        return LastEvent(id=record.id, start=record.start, score=record.score, is_open=record.stop is None)
    return None


class CameraStates:
    """The states of the cameras that are watched, in files and for metrics."""

    def __init__(self, folder: Path, store: EventStore) -> None:
        self._folder, self._store = folder, store
        self._states: dict[str, CameraState] = {}  # the latest
        self._written: dict[str, tuple[object, ...]] = {}  # what a change of which is written at once
        self._events: dict[str, tuple[LastEvent | None, str | None]] = {}  # the last, and which was open then
        self._logged: dict[str, str | None] = {}
        self._seen: dict[str, tuple[str | None, float, float]] = {}  # a problem, since when, and since when any

    def earlier(self, camera: str) -> CameraState | None:
        """What is known from before; nothing where the file is damaged."""
        try:
            return load_state(self._folder, camera)
        except ArtifactError as exc:
            logger.warning("camera %s: %s", camera, exc)
            return None

    def latest(self) -> list[CameraState]:
        """The states at the last update."""
        return list(self._states.values())

    def update(self, cameras: Iterable[WatchedCamera], writes_all: bool) -> None:
        """Take over how the cameras are; written are those that changed or, with writes_all, all.

        Raises:
            OutputError, UnreachableError: the first trouble, after all cameras were tried.
        """
        trouble: Exception | None = None
        for camera in cameras:
            try:
                self._update(camera, datetime.now(UTC), writes_all)
            except Exception as exc:  # one camera's trouble, be it a bug, is not that of the others
                trouble = trouble or exc
        if trouble is not None:
            raise trouble

    def _update(self, camera: WatchedCamera, now: datetime, writes_all: bool) -> None:
        name, state = camera.camera.name, camera.state(now)
        self._log(state, time.monotonic())
        event, was_open = self._events.get(name, (None, None))
        try:
            if writes_all or name not in self._events or camera.open_event != was_open:
                is_open = camera.open_event
                event = last_event(self._store, name)
                self._events[name] = event, is_open
        finally:  # the state is written, too, where the database is away
            state = state.model_copy(update={"last_event": event})
            self._states[name] = state
            change = state.phase, state.problem, state.last_event, state.reconnects, state.frozen
            if writes_all or self._written.get(name) != change:
                save_state(self._folder, state)
                self._written[name] = change

    def _log(self, state: CameraState, now_s: float) -> None:
        """Say what is wrong with a camera, once, when that has been so for a while."""
        text, name = state.problem, state.camera
        before, since_s, bad_since_s = self._seen.get(name, (None, now_s, now_s))
        if text != before:
            since_s = now_s
        if text is None or before is None:
            bad_since_s = since_s
        self._seen[name] = text, since_s, bad_since_s
        if text == self._logged.get(name) or now_s - (since_s if text is None else bad_since_s) < LOG_AFTER_S:
            return
        if text is not None:
            logger.warning("camera %s: %s", name, text)
        elif state.phase == "receiving":
            logger.warning("camera %s: all is well again", name)
        self._logged[name] = text

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
        for known in (self._states, self._written, self._events, self._logged, self._seen):
            known.pop(camera, None)
        state_file(self._folder, camera).unlink(missing_ok=True)
