"""One live camera: connects, scores what comes segment by segment, stores events, and connects again.

A connection is a video that the detector scores as it scores files: `LiveVideo` -> `Detector.read` and `scored` -> the
prediction log -> `LiveEvents`. The model is shared with all other cameras through the Runner.
"""

import threading
from collections.abc import Callable, Generator
from contextlib import closing
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime

from headhunt_svc.cameras.check import address_of
from headhunt_svc.cameras.config import Camera
from headhunt_svc.cameras.metrics import LATENCY
from headhunt_svc.cameras.sharing import CurrentReader, Shared, SharedReader, check_camera
from headhunt_svc.cameras.sources import AnySource, DeviceSource, HttpSource, LoopSource, RtspSource
from headhunt_svc.cameras.status import CameraState
from headhunt_svc.cameras.watched import WatchedCamera
from headhunt_svc.detector.batches import ScoredBatch
from headhunt_svc.detector.pipeline import ReadBatches
from headhunt_svc.events.live import LiveEvents
from headhunt_svc.names import VideoId
from headhunt_svc.video.live import LiveFacts, LiveVideo, LoopedFile
from headhunt_svc.video.masks import MaskedVideo
from headhunt_svc.video.ring import PacketRing
from headhunt_svc.video.source import VideoSource
from headhunt_svc.video.streams import StreamAddress

STALLED_S = 10.0  # a stream that sends nothing for so long has ended
RING_S = 15.0  # kept beside a clip's margin: what is received until a segment before it is scored


def live_source(source: AnySource) -> StreamAddress | LoopedFile:
    """What to connect to. Raises ConfigError: a variable of the address is not set."""
    if isinstance(source, LoopSource):
        return LoopedFile(source.path)
    assert isinstance(source, RtspSource | HttpSource | DeviceSource)  # folders are watched by folders.py
    return address_of(source)


@dataclass(slots=True)
class _Counts:
    """Of earlier connections, and of what was scored in all."""

    connections: int = 0
    offered_s: float = 0.0
    dropped_s: float = 0.0
    dropped_segments: int = 0
    lost_packets: int = 0
    scored_s: float = 0.0


class LiveCamera(WatchedCamera):
    """A camera whose pictures come in real time."""

    def __init__(
        self,
        camera: Camera,
        shared: Shared,
        earlier: CameraState | None,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        """Raises ConfigError: the operating point does not fit the detector."""
        super().__init__(camera, earlier, clock)
        self._shared = shared
        self._options = camera.options("causal")
        self._fleet = shared.in_use.detector
        check_camera(camera, self._fleet)
        self._detector = self._fleet.at(camera.name)
        self._shared_reader = SharedReader(shared.runner)
        self._reader = shared.recorder.probing(self._detector, self._shared_reader)
        settings = shared.store.settings
        self._ring = None
        if camera.keep_clips:
            self._ring = PacketRing(settings.clip_margin_s + RING_S, clip_most_s=settings.clip_most_s)
        self._events = LiveEvents(shared.store, camera, self._detector, self._options, self._ring)
        self._counts = _Counts()
        self._live: LiveVideo | None = None
        self._lock = threading.Lock()

    def stop(self) -> None:
        """See WatchedCamera; also gives up its place in front of the model."""
        super().stop()
        self._shared_reader.stop()

    @property
    def open_event(self) -> str | None:
        """See WatchedCamera."""
        return self._events.open_event

    def watch_source(self) -> str | None:
        """One connection."""
        address = live_source(self.camera.source)
        name = f"{self.camera.name}/live-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}Z"
        live = LiveVideo(
            address,
            VideoId(name),
            timeout_s=STALLED_S,
            freeze_s=self.camera.freeze_s,
            stop=self.is_over,
            ring=self._ring,
        )
        with live:
            self._counts.connections += 1
            self._live = live
            try:
                self._score(live)
            finally:
                facts = live.facts()
                with self._lock:  # counters must not fall, even for a moment
                    self._live = None
                    self._last_picture = facts.last_picture or self._last_picture
                    self._counts.offered_s += facts.offered_s
                    self._counts.dropped_s += facts.dropped_s
                    self._counts.dropped_segments += facts.dropped_segments
                    self._counts.lost_packets += facts.lost_packets
        return live.ends

    def _score(self, live: LiveVideo) -> None:
        video: VideoSource = live
        if self.camera.masks:
            video = MaskedVideo(source=live, masks=self.camera.masks)
        source = self._events.connected(live, video)
        with closing(self._events.record(self._batches(live, source))) as recorded:
            for batch in recorded:
                self._count(live, batch)

    def _batches(self, live: LiveVideo, source: VideoSource) -> Generator[ScoredBatch]:
        """The batches of a connection: a detector that is activated meanwhile scores them from the next segment on."""
        with closing(self._fleet.read(source, CurrentReader(lambda: self._reader))) as read:
            while True:
                self._take_over()
                batches = self._detector.scored(self._of_one_detector(read), self._reader, self._options)
                yield from self._shared.recorder.record(
                    self._detector,
                    live.video_id,
                    batches,
                    self._options,
                    camera=self.camera.name,
                    candidate=lambda: self._shared.in_use.now.candidate,
                )
                if self._fleet is self._shared.in_use.detector:
                    return

    def _of_one_detector(self, read: ReadBatches) -> ReadBatches:
        """What is read until the connection ends or another detector is in use; does not close `read`."""
        while self._fleet is self._shared.in_use.detector:
            batch = next(read, None)
            if batch is None:
                return
            yield batch

    def _take_over(self) -> None:
        """Score with the detector that is in use now."""
        fleet = self._shared.in_use.detector
        if fleet is self._fleet:
            return
        self._fleet, self._detector = fleet, fleet.at(self.camera.name)
        self._reader = self._shared.recorder.probing(self._detector, self._shared_reader)
        self._events.use(self._detector, self._options)

    def _count(self, live: LiveVideo, batch: ScoredBatch) -> None:
        self._phase, self._problem = "receiving", None
        self._last_scored = live.utc(batch.stop_s)
        self._counts.scored_s += sum(segment.stop_s - segment.start_s for segment in batch.segments)
        LATENCY.observe(max((self._clock() - self._last_scored).total_seconds(), 0.0))

    def tick(self) -> None:
        """An event whose stream went away ends."""
        self._events.tick(self._clock())

    def finish(self) -> None:
        """What is open is interrupted."""
        self._events.close()

    def state(self, now: datetime) -> CameraState:
        """See WatchedCamera."""
        with self._lock:
            facts: LiveFacts | None = None if self._live is None else self._live.facts()
            counts = copy(self._counts)
        problem = facts and facts.problem
        if facts is not None and facts.frozen:  # the number in its own text changes all the time
            problem = f"the picture has not changed for more than {self.camera.freeze_s:g} s"
        return CameraState(
            camera=self.camera.name,
            written=now,
            phase=self._phase,
            last_picture=(facts and facts.last_picture) or self._last_picture,
            last_scored=self._last_scored,
            offered_s=counts.offered_s + (facts.offered_s if facts else 0.0),
            scored_s=counts.scored_s,
            dropped_s=counts.dropped_s + (facts.dropped_s if facts else 0.0),
            dropped_segments=counts.dropped_segments + (facts.dropped_segments if facts else 0),
            lost_packets=counts.lost_packets + (facts.lost_packets if facts else 0),
            frozen=facts is not None and facts.frozen,
            reconnects=max(counts.connections - 1, 0),
            problem=self._problem or problem or self._events.problem,
            detector_id=self._detector.detector_id,
        )
