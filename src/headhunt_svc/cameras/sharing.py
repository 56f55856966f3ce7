"""What the cameras that are watched share: the detector, the model, the events, the prediction log."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from sqlalchemy.engine import Engine

from headhunt_svc.cameras.config import Camera
from headhunt_svc.cameras.sources import FolderSource
from headhunt_svc.detector.batches import FeatureBatch, PixelBatch
from headhunt_svc.detector.in_use import InUse
from headhunt_svc.detector.pipeline import Reporter
from headhunt_svc.detector.readers import FeatureReader
from headhunt_svc.detector.runner import Runner
from headhunt_svc.events.store import EventStore
from headhunt_svc.prediction_log.recording import Recorder


class StoppedError(Exception):
    """The camera is no longer watched."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What all cameras share."""

    in_use: InUse
    runner: Runner
    recorder: Recorder
    store: EventStore
    engine: Engine


def check_camera(camera: Camera, detector: Reporter) -> None:
    """Raise ConfigError: the camera's operating point does not fit this detector."""
    options = camera.options("offline" if isinstance(camera.source, FolderSource) else "causal")
    of_camera = detector.at(camera.name)
    of_camera.operating_point(options)
    of_camera.check_normality(options)


class CurrentReader:
    """Reads as the reader that counts at the moment; see FeatureReader."""

    def __init__(self, current: Callable[[], FeatureReader]) -> None:
        self._current = current

    def read(self, batch: PixelBatch) -> FeatureBatch:
        """See FeatureReader."""
        return self._current().read(batch)

    def exclusive(self) -> AbstractContextManager[object]:
        """See FeatureReader."""
        return self._current().exclusive()


class SharedReader:
    """Reads features through the runner, for one camera; see FeatureReader."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._stopped = False

    def read(self, batch: PixelBatch) -> FeatureBatch:
        """Wait for the camera's turn."""
        if self._stopped:
            raise StoppedError
        return self._runner.read(self, batch)

    def exclusive(self) -> AbstractContextManager[object]:
        """See FeatureReader."""
        return self._runner.exclusive()

    def stop(self) -> None:
        """Nothing more of this camera goes into the model."""
        self._stopped = True
        self._runner.forget(self, StoppedError())
