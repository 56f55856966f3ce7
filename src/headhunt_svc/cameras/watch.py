"""`headhunt watch`: all cameras of cameras.yaml with one model, until it is stopped.

Each camera has a thread of its own (live_camera.py, folders.py). This module begins and ends them, reads cameras.yaml
and the links of deployed/ again when they have changed, and about once a second looks after what they have in common:
states for `cameras status`, alarms, what is too old.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from prometheus_client import REGISTRY

from headhunt_svc.cameras import metrics
from headhunt_svc.cameras.alarms import WatchAlarms
from headhunt_svc.cameras.claims import CameraClaims, ClaimedError
from headhunt_svc.cameras.config import Camera, Cameras, CamerasError
from headhunt_svc.cameras.folders import FolderCamera
from headhunt_svc.cameras.live_camera import LiveCamera
from headhunt_svc.cameras.reload import CamerasFile, Changes
from headhunt_svc.cameras.sharing import Shared, check_camera
from headhunt_svc.cameras.sources import FolderSource
from headhunt_svc.cameras.states import CameraStates
from headhunt_svc.cameras.watched import WatchedCamera
from headhunt_svc.detector.in_use import InUse
from headhunt_svc.detector.pipeline import Reporter
from headhunt_svc.detector.runner import Runner
from headhunt_svc.errors import ArtifactError, ConfigError, OutputError, UnreachableError
from headhunt_svc.events.database import connect
from headhunt_svc.events.live import recover
from headhunt_svc.events.media import Media
from headhunt_svc.events.store import EventStore
from headhunt_svc.events.telling import Teller
from headhunt_svc.notify.channels import Channel
from headhunt_svc.notify.deliverer import Deliverer
from headhunt_svc.notify.outbox import Outbox
from headhunt_svc.prediction_log.recording import Recorder, recorder_of
from headhunt_svc.settings import EventSettings, NotifySettings, Settings
from headhunt_svc.storage.exposition import LOOPBACK, metrics_served
from headhunt_svc.storage.stopping import StopRequest

logger = logging.getLogger(__name__)
LOOK_S, STATES_S, ALARMS_S, PURGE_S = 1.0, 5.0, 5.0, 3600.0
PURGE_AFTER_S = 60.0  # the first time
LEAVE_S = 4.0  # what cameras have to end; one that is just connecting may take longer


@dataclass(frozen=True, slots=True)
class WatchPlaces:
    """Where things are. channels: of notify.yaml, by name."""

    bundle: Path
    states: Path
    settings: Settings
    events: EventSettings
    notify: NotifySettings
    channels: Mapping[str, Channel]
    metrics_port: int | None = None
    metrics_address: str = LOOPBACK


class Watch:
    """The cameras that are watched now."""

    def __init__(
        self, file: CamerasFile, shared: Shared, claims: CameraClaims, alarms: WatchAlarms, states: CameraStates
    ) -> None:
        self._file, self._shared, self._claims = file, shared, claims
        self._alarms, self._states = alarms, states
        self._cameras: dict[str, WatchedCamera] = {}
        self._due = {"states": 0.0, "alarms": 0.0, "purge": time.monotonic() + PURGE_AFTER_S}
        self._troubles: dict[str, str] = {}
        self.left_behind = 0  # threads that did not end in time

    def prepared(self, cameras: Iterable[Camera]) -> list[WatchedCamera]:
        """Cameras that could be watched. Raises ConfigError: one does not fit the detector."""
        return [self._watched(camera) for camera in cameras]

    def _watched(self, camera: Camera) -> WatchedCamera:
        earlier = self._states.earlier(camera.name)
        kind = FolderCamera if isinstance(camera.source, FolderSource) else LiveCamera
        return kind(camera, self._shared, earlier)

    def begin(self, cameras: Iterable[WatchedCamera]) -> None:
        """Watch these cameras, too."""
        for camera in cameras:
            self._cameras[camera.camera.name] = camera
            camera.start()

    def end(self, names: Iterable[str]) -> None:
        """Stop watching; what goes on there is interrupted."""
        ending = [self._cameras.pop(name) for name in list(names)]
        for camera in ending:
            camera.stop()
        deadline = time.monotonic() + LEAVE_S
        for camera in ending:
            if not camera.join(max(deadline - time.monotonic(), 0.1)):
                self.left_behind += 1
                self._try(f"end of {camera.camera.name}", camera.finish)
            self._states.write_stopped(camera)

    def end_all(self) -> None:
        """Stop watching all cameras."""
        self.end(self._cameras)

    def look_after(self) -> None:
        """Once a second: what has changed, states, alarms, what is too old."""
        metrics.HEARTBEAT.set(time.time())
        self._try("bundle", lambda: self._shared.in_use.look(self._fits))
        self._try("changes", self._reload)
        cameras, writes_all = list(self._cameras.values()), self._is_due("states", STATES_S)
        self._try("states", lambda: self._states.update(cameras, writes_all))
        if self._is_due("alarms", ALARMS_S):
            self._try("alarms", lambda: self._alarms.update(cameras, self._states.latest(), datetime.now(UTC)))
        if self._is_due("purge", PURGE_S):
            self._try("purge", self._shared.store.purge)

    def _fits(self, detector: Reporter) -> None:
        """Raise ConfigError unless a bundle has what every camera asks for."""
        for camera in self._file.cameras.each():
            try:
                check_camera(camera, detector)
            except ConfigError as exc:
                raise ConfigError(f"detector {detector.detector_id}: camera {camera.name}: {exc}") from exc

    def _is_due(self, what: str, every_s: float) -> bool:
        now = time.monotonic()
        if now < self._due[what]:
            return False
        self._due[what] = now + every_s
        return True

    def _try(self, what: str, action: Callable[[], object]) -> None:
        """Do something that needs a disk or a database, and will be done again; why it failed is logged once."""
        try:
            action()
        except (OutputError, UnreachableError, ClaimedError) as exc:
            metrics.TROUBLES.inc()
            if self._troubles.get(what) != str(exc):
                logger.error("%s of cameras: %s", what, exc)
            self._troubles[what] = str(exc)
        except Exception as exc:  # a bug here must not end the cameras
            metrics.CRASHES.inc()
            if self._troubles.get(what) != repr(exc):
                logger.error("%s of cameras: not expected", what, exc_info=exc)
            self._troubles[what] = repr(exc)
        else:
            if self._troubles.pop(what, None) is not None:
                logger.warning("%s of cameras: all is well again", what)

    def _reload(self) -> None:
        """Take over changes of cameras.yaml; cameras that did not change are not touched."""
        try:
            cameras = self._file.changed()
            if cameras is None:
                return
            self._claims.claim(camera.name for camera in cameras.each())
            changes = Changes.between(self._file.cameras, cameras)
            added = self.prepared(changes.added)
        except (ClaimedError, OutputError):  # for now: another process watches one, or a lock cannot be written
            metrics.REFUSED.set(1)
            self._file.read_again()
            raise
        except (ArtifactError, ConfigError) as exc:
            metrics.REFUSED.set(1)
            self._claims.keep(camera.name for camera in self._file.cameras.each())
            for problem in exc.problems if isinstance(exc, CamerasError) else (str(exc),):
                logger.error("cameras.yaml has changed and is refused, its last good version counts: %s", problem)
            return
        self._take_over(cameras, changes, added)

    def _take_over(self, cameras: Cameras, changes: Changes, added: Sequence[WatchedCamera]) -> None:
        self.end(camera.name for camera in changes.removed)
        self._file.cameras = cameras
        metrics.REFUSED.set(0)
        for camera in changes.removed:
            if cameras.get(camera.name) is None:
                self._claims.give_up(camera.name)
                self._try("states", partial(self._states.forget, camera.name))
        names = [camera.camera.name for camera in added]
        self._try("open events", lambda: recover(self._shared.store, names, datetime.now(UTC)))
        self.begin(added)
        logger.warning(
            "cameras.yaml has changed: %d cameras begin, %d end, %d go on",
            len(added),
            len(changes.removed),
            len(cameras) - len(added),
        )


def run(file: CamerasFile, places: WatchPlaces, ready: Callable[[], None]) -> bool:
    """Watch the cameras of a file until SIGTERM or SIGINT. ready: is called once they are being watched.

    Returns whether all threads have ended; else one hangs in a library, and nothing of it is lost.

    Raises:
        ConfigError: another process watches one of them, or one does not fit the detector. HeadHuntError: the detector
            cannot be loaded, or the database does not answer.
    """
    with ExitStack() as stack:
        claims = stack.enter_context(CameraClaims(places.events.folder))
        claims.claim(camera.name for camera in file.cameras.each())
        in_use = InUse.load(places.bundle, places.settings)
        stopping = StopRequest()
        stopping.set_by_signals()
        recorder = stack.enter_context(closing(recorder_of(places.settings)))
        watch = stack.enter_context(_watching(file, places, in_use, recorder, claims))
        watch.look_after()
        ready()
        while not stopping.wait(LOOK_S):
            watch.look_after()
    return watch.left_behind == 0


@contextmanager
def _watching(
    file: CamerasFile, places: WatchPlaces, in_use: InUse, recorder: Recorder, claims: CameraClaims
) -> Iterator[Watch]:
    """All cameras of the file, watched; at the end they are closed before what they need is."""
    engine = connect(places.events)
    outbox = Outbox(engine, places.channels, places.notify)
    teller = Teller(outbox, Media(places.events.folder), lambda name: file.cameras.get(name))
    with EventStore(engine, places.events, teller) as store, Deliverer(outbox):
        recover(store, [camera.name for camera in file.cameras.each()], datetime.now(UTC))
        shared = Shared(in_use, Runner(in_use.detector), recorder, store, engine)
        log = recorder.log
        alarms = WatchAlarms(
            engine, outbox, lambda: file.cameras, claims, lambda: None if log is None else log.status.stopped
        )
        states = CameraStates(places.states, store)
        watch = Watch(file, shared, claims, alarms, states)
        cameras = watch.prepared(file.cameras.each())
        with _served(states, places):
            try:
                watch.begin(cameras)
                yield watch
            finally:
                watch.end_all()


@contextmanager
def _served(states: CameraStates, places: WatchPlaces) -> Iterator[None]:
    """Metrics over HTTP."""
    if places.metrics_port is None:
        yield
        return
    collector = metrics.CameraCollector(states.latest)
    REGISTRY.register(collector)
    try:
        with metrics_served(places.metrics_port, places.metrics_address):
            yield
    finally:
        REGISTRY.unregister(collector)
