"""What the cameras that are watched share: the detector, the model, the events, the prediction log."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

from sqlalchemy.engine import Engine

from headhunt_svc.detector.batches import FeatureBatch, PixelBatch
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.runner import Runner
from headhunt_svc.events.store import EventStore
from headhunt_svc.prediction_log.recording import Recorder


class StoppedError(Exception):
    """The camera is no longer watched."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What all cameras share."""

    detector: Detector
    runner: Runner
    recorder: Recorder
    store: EventStore
    engine: Engine


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
