"""A live camera over several connections: what is scored, counted and stored, with streams that a test makes up."""

import time
from collections.abc import Callable, Generator, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from headhunt_svc.cameras import live_camera
from headhunt_svc.cameras.config import Camera
from headhunt_svc.cameras.live_camera import LiveCamera
from headhunt_svc.cameras.sharing import CurrentReader, Shared, SharedReader, StoppedError
from headhunt_svc.cameras.watched import Backoff
from headhunt_svc.detector.batches import PixelBatch, ScoredBatch
from headhunt_svc.detector.in_use import InUse, Now
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.readers import FeatureReader
from headhunt_svc.detector.runner import Runner
from headhunt_svc.errors import VideoOpenError
from headhunt_svc.events.database import connect
from headhunt_svc.events.store import EventStore
from headhunt_svc.model.extractor import VisionCache
from headhunt_svc.prediction_log.recording import Recorder
from headhunt_svc.settings import EventSettings
from headhunt_svc.types import HeadRef, OperatingPoint, Scorer
from headhunt_svc.video.live import LiveFacts, LiveVideo
from headhunt_svc.video.masks import MaskedVideo
from headhunt_svc.video.source import VideoSource
from helpers.events import NOON
from helpers.scored import scored_batches


class Stream(LiveVideo):
    """A connection of `raw` scores, a second each; then it ends, or waits until it is stopped."""

    script: list[Any] = []  # noqa: RUF012 - of all connections: scores, or the error of opening
    number = 0

    def __enter__(self) -> "Stream":
        step = self.script.pop(0) if self.script else np.zeros(0)
        if isinstance(step, Exception):
            raise step
        self.raw, self.is_last = step, not self.script
        type(self).number += 1
        self.begins = NOON + timedelta(seconds=100 * self.number)
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def utc(self, time_s: float) -> datetime:
        return self.begins + timedelta(seconds=time_s)

    def facts(self) -> LiveFacts:
        n = len(self.raw)
        return LiveFacts(last_picture=self.utc(n), offered_s=n + 2.0, dropped_s=2.0, dropped_segments=2)

    def wait_for_stop(self) -> None:
        while self.is_last and not self._stop():
            time.sleep(0.002)
        self.ends = "the stream has ended"


class Scores(Detector):
    """A detector whose scores are those of the stream; keeps the videos that it was given."""

    scorer = Scorer((HeadRef(0, 0),), np.ones(1), 0.0)

    def __init__(self, detector_id: str = "d" * 12) -> None:
        self.normality, self.detector_id = None, detector_id
        self.bundle: Any = SimpleNamespace(features_id="f" * 12)
        self.videos: list[VideoSource] = []
        self.before: dict[int, Callable[[], None]] = {}  # what happens before the segment of this number

    def at(self, camera: str | None) -> "Scores":
        return self

    def check_normality(self, options: Options = Options()) -> None:
        pass

    def operating_point(self, options: Options = Options()) -> OperatingPoint:
        return OperatingPoint(0.0, 0.5 if options.threshold is None else options.threshold, "causal")

    def model_reader(self, explain: bool = False) -> Any:
        raise AssertionError("cameras share the model")

    def read(self, video: VideoSource, reader: FeatureReader, resume: Any = ()) -> Any:
        assert isinstance(reader, CurrentReader)
        self.videos.append(video)
        stream = video._source if hasattr(video, "_source") else video
        stream = stream.source if isinstance(stream, MaskedVideo) else stream
        assert isinstance(stream, Stream)
        for i, batch in enumerate(scored_batches(stream.raw, 1), 1):
            self.before.get(i, lambda: None)()
            yield None, batch
        stream.wait_for_stop()

    def scored(self, batches: Any, reader: FeatureReader, options: Options = Options()) -> Generator[ScoredBatch]:
        assert isinstance(reader, SharedReader)
        assert options.smoothing == "causal"
        for _, batch in batches:
            yield batch


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shared]:
    monkeypatch.setattr(live_camera, "LiveVideo", Stream)
    monkeypatch.setattr(Stream, "number", 0)
    settings, detector = EventSettings(folder=tmp_path / "events"), Scores()
    engine = connect(settings)
    with EventStore(engine, settings) as store:
        yield Shared(InUse(detector), Runner(detector), Recorder(None), store, engine)


def begun(shared: Shared, script: list[Any], **parameters: Any) -> LiveCamera:
    Stream.script = script
    source = {"name": "yard", "source": "rtsp://host/1", "merge_s": 3, "keep_clips": False}
    camera = LiveCamera(Camera.model_validate(source | parameters), shared, None)
    camera._backoff = Backoff(0.02, 0.02, 0.01)
    camera.start()
    return camera


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


HIGH, LOW = np.full(4, 0.9), np.full(4, 0.1)


def test_connections_follow_each_other_and_their_counts_add_up(shared: Shared) -> None:
    script = [LOW, VideoOpenError("nothing listens"), np.concatenate([LOW, HIGH, LOW]), LOW]
    camera = begun(shared, script)
    wait_for(lambda: camera.state(NOON).scored_s == 20)
    wait_for(lambda: camera.state(NOON).phase == "receiving")
    state = camera.state(NOON)
    assert (state.reconnects, state.offered_s, state.dropped_s, state.dropped_segments) == (2, 26, 6, 6)
    assert (state.problem, state.last_scored) == (None, NOON + timedelta(seconds=304))
    (event,) = shared.store.list()
    assert (event.start, event.stop) == (NOON + timedelta(seconds=204), NOON + timedelta(seconds=208))
    assert (event.interrupted, event.camera, event.origin, event.time_basis) == (False, "yard", "live", "stream")
    camera.stop()
    assert camera.join(5)


def test_what_goes_on_when_the_camera_is_stopped_is_interrupted(shared: Shared) -> None:
    camera = begun(shared, [HIGH])
    wait_for(lambda: camera.state(NOON).scored_s == 4)
    assert camera.open_event == shared.store.list()[0].id
    camera.stop()
    assert camera.join(5)
    (event,) = shared.store.list()
    assert (event.stop, event.interrupted) == (NOON + timedelta(seconds=104), True)
    assert camera.open_event is None


def test_a_threshold_of_the_camera_counts_and_masks_are_laid_on_the_pictures(shared: Shared) -> None:
    mask = [[0, 0], [1, 0], [0, 1]]
    camera = begun(shared, [HIGH], threshold=0.95, masks=[mask])
    wait_for(lambda: camera.state(NOON).scored_s == 4)
    camera.stop()
    assert camera.join(5)
    assert shared.store.list() == []
    (video,) = shared.in_use.detector.videos  # type: ignore[attr-defined]
    assert isinstance(video._source, MaskedVideo)
    assert len(video._source.masks) == 1


def test_a_detector_that_is_activated_scores_from_the_next_segment_on(shared: Shared) -> None:
    """Within one connection; an event that goes on ends, and what the next detector sees of it is its own."""
    old, new = shared.in_use.detector, Scores("e" * 12)
    assert isinstance(old, Scores)
    old.before[6] = lambda: setattr(shared.in_use, "now", Now(new))
    camera = begun(shared, [np.concatenate([LOW, HIGH, HIGH])])
    wait_for(lambda: camera.state(NOON).scored_s == 12)
    assert (camera.state(NOON).reconnects, camera.state(NOON).detector_id) == (0, "e" * 12)
    second, first = shared.store.list()
    assert (first.detector_id, first.start, first.stop) == ("d" * 12, at(104), at(106))
    assert (first.interrupted, first.id != second.id) == (False, True)
    assert (second.detector_id, second.start, second.stop) == ("e" * 12, at(106), None)
    assert shared.store.features(first.id).detector_id == "d" * 12  # type: ignore[union-attr]
    assert shared.store.features(second.id).detector_id == "e" * 12  # type: ignore[union-attr]
    camera.stop()
    assert camera.join(5)


def test_a_detector_that_is_activated_between_connections_scores_the_next_one(shared: Shared) -> None:
    old, new = shared.in_use.detector, Scores("e" * 12)
    assert isinstance(old, Scores)
    old.before[4] = lambda: setattr(shared.in_use, "now", Now(new))
    camera = begun(shared, [LOW, HIGH])
    wait_for(lambda: camera.state(NOON).scored_s == 8)
    (event,) = shared.store.list()
    assert event.detector_id == "e" * 12
    camera.stop()
    assert camera.join(5)


def test_counters_never_fall_while_connections_change(shared: Shared) -> None:
    camera = begun(shared, [LOW] * 40)
    offered: list[float] = []
    while not offered or (offered[-1] < 40 * 6 and len(offered) < 1_000_000):
        offered.append(camera.state(NOON).offered_s)
    assert offered == sorted(offered)
    camera.stop()
    assert camera.join(5)


def test_a_reader_that_is_stopped_waits_for_no_turn(shared: Shared) -> None:
    reader = SharedReader(shared.runner)
    reader.stop()
    (batch,) = scored_batches(np.zeros(1), 1)
    with pytest.raises(StoppedError):
        reader.read(PixelBatch(batch.segments, torch.zeros(1, 1, 3, 2, 2), VisionCache(0.1)))
