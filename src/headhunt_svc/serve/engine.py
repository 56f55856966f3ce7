"""Admission, deadlines and stopping of requests around one Runner."""

import asyncio
import logging
import math
import shutil
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from jaxtyping import UInt8

from headhunt_svc.detector.report import Report
from headhunt_svc.errors import HeadHuntError, UnreachableError, VideoError
from headhunt_svc.names import camera_of
from headhunt_svc.serve import metrics
from headhunt_svc.serve.memory import FreedMemory, MemoryBudget
from headhunt_svc.serve.models import DetectOptions
from headhunt_svc.serve.problems import RETRY, Problem
from headhunt_svc.settings import EventSettings, Settings
from headhunt_svc.storage.scratch import remove_leftovers, temporary_folder
from headhunt_svc.types import FrameSpan, Segment
from headhunt_svc.video.machine import available_mib
from headhunt_svc.video.memory import OPENING_MIB, PictureSize
from headhunt_svc.video.memory import decoder_mib as decoder_mib_of
from headhunt_svc.video.opening import sandboxed
from headhunt_svc.video.sandbox import SandboxedReader, start

if TYPE_CHECKING:  # BentoML's supervisor imports this, too, and needs no torch: `Engine.load` imports it
    from headhunt_svc.detector.batches import FeatureBatch, PixelBatch, ScoredBatch
    from headhunt_svc.detector.in_use import InUse, Now
    from headhunt_svc.detector.pipeline import Detector
    from headhunt_svc.detector.runner import Runner
    from headhunt_svc.events.recording import EventRecorder, WatchedVideo
    from headhunt_svc.prediction_log.recording import Recorder

logger = logging.getLogger(__name__)
RETRY_AFTER_S = 5
LOOK_S = 0.2  # how often the links of deployed/ are looked at
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Video:
    """A video that was sent or named, as a file; `name` is what the client calls it."""

    path: Path
    name: str
    options: DetectOptions


@dataclass(eq=False)
class Work:
    """One request: where its upload lies, how long it took so far, and why it must stop, if it must."""

    now: "Now"
    runner: "Runner"
    folder: Path
    files: ExitStack = field(default_factory=ExitStack)  # open until the work is over
    seconds: dict[str, float] = field(default_factory=dict)  # by stage
    why: BaseException | None = None
    waiting: "asyncio.Future[Any] | None" = None  # an upload, or a place in the line: what `stop` may cancel
    future: "asyncio.Future[Report] | None" = None
    source: SandboxedReader | None = None  # while it is decoded

    @property
    def detector(self) -> "Detector":
        """The detector that was in use when the request came: it makes the report."""
        return self.now.detector

    def stop(self, why: BaseException) -> None:
        """End the work: its decoder at once, a call of the model when it is done; what waits for either is dropped."""
        if self.why is None:
            self.why = why
            if self.source is not None:
                self.source.stop()
            self.runner.forget(self, why)
            if self.waiting is not None:
                self.waiting.cancel()

    async def wait(self, for_: Awaitable[T]) -> T:
        """The result, unless the work is stopped before. Raises why it was."""
        self.waiting = waiting = asyncio.ensure_future(for_)
        try:
            self.check()
            return await waiting
        except asyncio.CancelledError:
            self.check()
            raise
        finally:
            waiting.cancel()
            self.waiting = None

    def check(self) -> None:
        """Raise why the work must stop, if it must."""
        if self.why is not None:
            raise self.why

    def read(self, batch: "PixelBatch") -> "FeatureBatch":
        """See FeatureReader: by the model that all requests share."""
        self.check()
        with self._model_time():
            return self.runner.read(self, batch)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """See FeatureReader."""
        with self._model_time(), self.runner.exclusive():
            yield

    @contextmanager
    def _model_time(self) -> Iterator[None]:
        before = time.perf_counter()
        try:
            yield
        finally:
            self.seconds["model"] = self.seconds.get("model", 0.0) + time.perf_counter() - before


def _store_events(watch: "WatchedVideo", report: Report, video: Video) -> None:
    """Store the events of a video that a client has sent or named: without a clip, as it is opened in no process of
    ours. Raises Problem (503): the database does not answer."""
    from headhunt_svc.events.recording import Footage

    camera = video.options.camera or camera_of(video.name)
    name = video.name.rpartition("/")[2]
    try:
        watch.store(report, Footage(video.path, camera, video.name, name, is_own=False))
    except UnreachableError as exc:
        logger.error("events were not stored: %s", exc)
        raise Problem(503, "database", "the events cannot be stored now: try again later", RETRY) from exc


class Engine:
    """The detector of one process, and who may use it."""

    def __init__(self, settings: Settings, bundle: Path) -> None:
        self.settings, self.bundle = settings, bundle
        self.in_use: InUse | None = None
        self.recorder: Recorder  # set before the detector is
        self.events: EventRecorder | None = None  # where the service stores its events
        self.stopping = False
        self._runner: Runner | None = None
        self._slots = asyncio.Semaphore(settings.max_videos)
        self._memory = MemoryBudget(settings.memory_mib or available_mib() // 2)
        self._pool = ThreadPoolExecutor(settings.max_videos, "video")
        self._works: set[Work] = set()
        self._loop = asyncio.get_running_loop()
        self._freed = FreedMemory(self._loop)

    def load(self, failed: Callable[[HeadHuntError], object]) -> None:
        """Load in a thread, so that probes are answered meanwhile; `failed` is called if that is not possible.

        The thread then takes over what is activated.
        """

        def load() -> None:
            from headhunt_svc.detector.in_use import InUse
            from headhunt_svc.detector.runner import Runner
            from headhunt_svc.events.recording import EventRecorder
            from headhunt_svc.prediction_log.recording import recorder_of

            try:
                self.events = EventRecorder.requested(EventSettings(), "service")
                in_use = InUse.load(self.bundle, self.settings)
            except HeadHuntError as exc:
                failed(exc)
                return
            self.recorder = recorder_of(self.settings)
            self._warn_of_limits(in_use.detector)
            remove_leftovers(self.settings.upload_folder)  # of a service that was killed
            self._runner, self.in_use = Runner(in_use.detector), in_use
            metrics.READY.set(1)
            logger.info("ready", extra={"fields": {"detector_id": in_use.detector.detector_id}})
            while not self.stopping:
                in_use.look()
                time.sleep(LOOK_S)

        start()
        threading.Thread(target=load, name="load", daemon=True).start()

    def _warn_of_limits(self, detector: "Detector") -> None:
        """Say so where the largest pictures that are allowed need more memory than is allowed."""
        side = math.isqrt(self.settings.max_pixels)
        largest = PictureSize(side, side, side * side * 3 // 2, 30.0)
        in_decoder = decoder_mib_of(largest, detector.bundle.segmentation)
        in_all = in_decoder + detector.reader_mib(largest)
        if in_decoder > self.settings.decode_memory_mib or in_all > self._memory.total_mib:
            logger.warning(
                "videos of %d pixels (max_pixels) at 30 frames a second need about %d MiB, %d of them to decode; "
                "memory_mib is %d, decode_memory_mib %d: the largest may fail",
                *(self.settings.max_pixels, in_all, in_decoder),
                *(self._memory.total_mib, self.settings.decode_memory_mib),
            )

    @property
    def ready(self) -> bool:
        """Did the golden vectors match, and is nobody stopping the service?"""
        return self.in_use is not None and not self.stopping

    def loaded(self) -> "Detector":
        """The detector in use. Raises Problem (503) while it is being loaded or the service stops."""
        if self.in_use is None or self.stopping:
            why = "the service is stopping" if self.stopping else "the model is being loaded"
            raise Problem(503, "not ready", f"{why}: try again later", {"Retry-After": str(RETRY_AFTER_S)})
        return self.in_use.detector

    def drain(self) -> None:
        """No new work; what runs has grace_s to finish. For a signal handler: it takes no lock, because the code that
        a signal interrupts may hold it (a metric's, at the end of every request)."""
        self.stopping = True

        def end() -> None:
            for work in list(self._works):
                work.stop(Problem(503, "stopping", "the service stopped before this video was scored: send it again"))

        def begin() -> None:
            metrics.READY.set(0)
            self._loop.call_later(self.settings.grace_s, end)

        self._loop.call_soon_threadsafe(begin)

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[Work]:
        """A place in the line, with a folder for an upload. Raises Problem: not ready (503), or too many wait (429)."""
        self.loaded()
        assert self._runner is not None
        assert self.in_use is not None
        if len(self._works) >= self.settings.max_videos + self.settings.max_waiting:
            retry = {"Retry-After": str(RETRY_AFTER_S)}
            raise Problem(429, "busy", f"{len(self._works)} videos are being scored or wait: try again later", retry)
        folder = temporary_folder(self.settings.upload_folder)
        work = Work(self.in_use.now, self._runner, folder)
        self._works.add(work)
        late = Problem(504, "deadline", f"not done after {self.settings.deadline_s:g} s: send shorter pieces of video")
        timer = self._loop.call_later(self.settings.deadline_s, work.stop, late)

        def leave(_: object = None) -> None:
            timer.cancel()
            self._works.discard(work)
            work.files.close()
            shutil.rmtree(folder, ignore_errors=True)

        try:
            yield work
        finally:
            if work.future is None or work.future.done():
                leave()
            else:  # the client has gone: the thread ends at its next batch
                work.stop(Problem(408, "gone", "the client hung up"))
                work.future.add_done_callback(leave)

    async def detect(self, work: Work, video: Video) -> AsyncGenerator["ScoredBatch | Report"]:
        """Score a video in a thread, when it is its turn: its batches as they are scored, and last the report."""
        work.check()
        work.detector.check(video.options.for_detector)
        batches: asyncio.Queue[ScoredBatch | None] = asyncio.Queue()

        def put(batch: "ScoredBatch | None") -> None:
            with suppress(RuntimeError):  # the loop has stopped
                self._loop.call_soon_threadsafe(batches.put_nowait, batch)

        async def turn() -> Report:
            started = time.perf_counter()
            with metrics.QUEUE_DEPTH.track_inprogress():
                await work.wait(self._slots.acquire())
            work.seconds["queue"] = time.perf_counter() - started
            metrics.QUEUE_WAIT_SECONDS.observe(work.seconds["queue"])
            try:
                with metrics.VIDEOS_ACTIVE.track_inprogress():
                    return await self._loop.run_in_executor(self._pool, self._detect, work, video, put)
            finally:
                self._slots.release()
                self._freed.give_back_soon()

        work.future = asyncio.ensure_future(turn())
        work.future.add_done_callback(lambda done: done.cancelled() or done.exception())  # the client may be gone
        work.future.add_done_callback(lambda _: put(None))
        while (batch := await batches.get()) is not None:
            yield batch
        yield await work.future

    def _detect(self, work: Work, video: Video, put: Callable[["ScoredBatch"], None]) -> Report:
        work.check()
        options, camera = video.options.for_detector, video.options.camera
        detector = work.detector.at(camera or camera_of(video.name))
        started = scored = time.perf_counter()

        def passed_on(batches: Iterable["ScoredBatch"]) -> Iterator["ScoredBatch"]:
            nonlocal scored
            for batch in batches:
                put(batch)
                yield batch
            scored = time.perf_counter()

        try:
            with self._opened(work, video) as source:
                watch = None if self.events is None else self.events.watch(detector, options)
                read_from = source if watch is None else watch.source(source)
                batches = detector.score(read_from, self.recorder.probing(detector, work), options=options)
                batches = self.recorder.record(
                    detector,
                    video.name,
                    batches,
                    options,
                    camera=camera or None,
                    candidate=lambda: work.now.candidate,
                )
                batches = batches if watch is None else watch.record(batches)
                with closing(batches):
                    report = detector.report(source, passed_on(batches), options)
        except VideoError as exc:
            work.check()  # it was stopped: no fault of the video
            metrics.DECODE_FAILURES.labels(type(exc).__name__).inc()
            raise
        if watch is not None:
            _store_events(watch, report, video)
        work.seconds["locate"] = time.perf_counter() - scored
        work.seconds["decode"] = scored - started - work.seconds.get("model", 0.0)
        self._count(work, report, camera)
        return report

    @contextmanager
    def _opened(self, work: Work, video: Video) -> Iterator[SandboxedReader]:
        """The video, once there is memory for it; raises VideoLimitError where there never is."""
        needed_mib = 0  # not known before the file is open
        while True:
            share_mib = needed_mib or OPENING_MIB
            with self._memory.share(share_mib, work.check, video.name) as share, self._decoder(work, video) as source:
                reader_mib = work.detector.reader_mib(source.size)
                decoder_mib = min(
                    decoder_mib_of(source.size, work.detector.bundle.segmentation),
                    self.settings.decode_memory_mib,
                    max(self._memory.total_mib - reader_mib, OPENING_MIB),
                )
                needed_mib = reader_mib + decoder_mib
                if share.grow(needed_mib):
                    source.allow(decoder_mib)
                    yield source
                    return

    @contextmanager
    def _decoder(self, work: Work, video: Video) -> Iterator[SandboxedReader]:
        """The opened video; `Work.stop` ends its decoding, however long a picture takes."""
        work.source = source = sandboxed(video.path, video.name, self.settings, video.options.stream)
        try:
            work.check()
            with source:
                yield source
        finally:
            work.source = None

    def _count(self, work: Work, report: Report, camera: str) -> None:
        for stage in ("decode", "model", "locate"):
            metrics.STAGE_SECONDS.labels(stage).observe(work.seconds[stage])
        if report.gaps:
            metrics.DECODE_FAILURES.labels("gap").inc()
        label = metrics.camera(camera)
        for s in report.scores:
            metrics.SCORE.labels(label).observe(s.smoothed)
        metrics.EVENTS.labels(label).inc(len(report.events))
        metrics.FOOTAGE_SECONDS.labels(label).inc(report.duration_s)

    async def score(
        self, pictures: UInt8[np.ndarray, "frame height width 3"], fps: float, camera: str = ""
    ) -> "tuple[Detector, ScoredBatch]":
        """Score the pictures of one segment of a camera, beside those of videos; with the detector that did."""
        from headhunt_svc.detector.batches import PixelBatch, TimedSegment
        from headhunt_svc.detector.scores import VideoScores
        from headhunt_svc.model.extractor import VisionCache

        async with self.admitted() as work:
            detector = work.detector.at(camera)

            def run() -> "ScoredBatch":
                pixels = work.detector.extractor.preprocess(pictures)[None]
                n = len(pictures)
                segment = Segment("", 0, FrameSpan(0, n), tuple(range(n)))
                cache = VisionCache(work.detector.bundle.segmentation.frame_s(fps))
                batch = PixelBatch((TimedSegment(segment, 0.0, n / fps),), pixels, cache)
                return VideoScores(detector.scorer).add(work.read(batch))

            return detector, await self._loop.run_in_executor(None, run)
