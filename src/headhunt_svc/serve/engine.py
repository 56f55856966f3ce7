"""Admission, deadlines and stopping of requests around one Runner."""

import asyncio
import ctypes
import logging
import shutil
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector, Result, Run, Scored
from headhunt_svc.detector.report import Report
from headhunt_svc.errors import HeadHuntError, VideoError
from headhunt_svc.model.extractor import Frames, VisionCache
from headhunt_svc.prediction_log.recording import Observer, observer_of
from headhunt_svc.serve import metrics
from headhunt_svc.serve.problems import Problem
from headhunt_svc.serve.runner import Runner
from headhunt_svc.settings import Settings
from headhunt_svc.video.reader import VideoSource
from headhunt_svc.video.sandbox import limited, start

logger = logging.getLogger(__name__)
RETRY_AFTER_S = 5
T = TypeVar("T")


@dataclass(eq=False)
class Work:
    """One request: where its upload lies, how long it took so far, and why it must stop, if it must."""

    runner: Runner
    folder: Path
    started: float = field(default_factory=time.perf_counter)
    seconds: dict[str, float] = field(default_factory=dict)  # by stage
    why: BaseException | None = None
    waiting: "asyncio.Future[Any] | None" = None  # an upload, or a place in the line: what `stop` may cancel
    future: "asyncio.Future[Report] | None" = None

    def stop(self, why: BaseException) -> None:
        """End the work, at its next batch if it is being scored; what waits for the model is dropped."""
        if self.why is None:
            self.why = why
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

    def run(self, pixels: torch.Tensor, view: VisionCache, frames: Frames) -> Result:
        """As Detector.run, shared with other requests."""
        self.check()
        before = time.perf_counter()
        try:
            return self.runner.run(self, pixels, view, frames)
        finally:
            self.seconds["model"] = self.seconds.get("model", 0.0) + time.perf_counter() - before


def _give_back_memory() -> None:
    """Freed pictures go back to the system: glibc keeps them for each thread that made some, and would only grow."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
    if trim is not None:
        trim(0)


class Engine:
    """The detector of one process, and who may use it."""

    def __init__(self, settings: Settings, bundle: Path) -> None:
        self.settings, self.bundle = settings, bundle
        self.detector: Detector | None = None
        self.stopping = False
        self._runner: Runner | None = None
        self.observer: Observer | None = None
        self._slots = asyncio.Semaphore(settings.max_videos)
        self._pool = ThreadPoolExecutor(settings.max_videos, "video")
        self._works: set[Work] = set()
        self._loop = asyncio.get_running_loop()

    def load(self, failed: Callable[[HeadHuntError], object]) -> None:
        """Load in a thread, so that probes are answered meanwhile; `failed` is called if that is not possible."""

        def load() -> None:
            try:
                detector = Detector.load(self.bundle, self.settings)
            except HeadHuntError as exc:
                failed(exc)
                return
            self.observer = observer_of(self.settings)
            self._runner, self.detector = Runner(detector), detector
            metrics.READY.set(1)
            logger.info("ready", extra={"about": {"detector_id": detector.detector_id}})

        start()
        threading.Thread(target=load, name="load", daemon=True).start()

    @property
    def ready(self) -> bool:
        """Did the golden vectors match, and is nobody stopping the service?"""
        return self.detector is not None and not self.stopping

    def loaded(self) -> Detector:
        """The detector. Raises Problem (503) while it is being loaded or the service stops."""
        if self.detector is None or self.stopping:
            why = "the service is stopping" if self.stopping else "the model is being loaded"
            raise Problem(503, "not ready", f"{why}: try again later", {"Retry-After": str(RETRY_AFTER_S)})
        return self.detector

    def drain(self) -> None:
        """No new work; what runs has grace_s to finish."""
        self.stopping = True
        metrics.READY.set(0)

        def end() -> None:
            for work in list(self._works):
                work.stop(Problem(503, "stopping", "the service stopped before this video was scored: send it again"))

        self._loop.call_soon_threadsafe(self._loop.call_later, self.settings.grace_s, end)

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[Work]:
        """A place in the line, with a folder for an upload.

        Raises:
            Problem: not ready (503), or too many wait (429).
        """
        self.loaded()
        assert self._runner is not None
        if len(self._works) >= self.settings.max_videos + self.settings.max_waiting:
            retry = {"Retry-After": str(RETRY_AFTER_S)}
            raise Problem(429, "busy", f"{len(self._works)} videos are being scored or wait: try again later", retry)
        work = Work(self._runner, Path(tempfile.mkdtemp(prefix="headhunt-", dir=self.settings.upload_folder)))
        self._works.add(work)
        late = Problem(504, "deadline", f"not done after {self.settings.deadline_s:g} s: send shorter pieces of video")
        timer = self._loop.call_later(self.settings.deadline_s, work.stop, late)

        def leave(_: object = None) -> None:
            timer.cancel()
            self._works.discard(work)
            shutil.rmtree(work.folder, ignore_errors=True)

        try:
            yield work
        finally:
            if work.future is None or work.future.done():
                leave()
            else:  # the client has gone: the thread ends at its next batch
                work.stop(Problem(408, "gone", "the client hung up"))
                work.future.add_done_callback(leave)

    def start(
        self, work: Work, path: Path, name: str, options: Options, camera: str, scored: Scored | None = None
    ) -> "asyncio.Future[Report]":
        """Score a video in a thread, when it is its turn."""

        async def turn() -> Report:
            metrics.QUEUE_DEPTH.inc()
            waited = time.perf_counter()
            try:
                await work.wait(self._slots.acquire())
            finally:
                metrics.QUEUE_DEPTH.dec()
            work.seconds["queue"] = time.perf_counter() - waited
            metrics.QUEUE_WAIT_SECONDS.observe(work.seconds["queue"])
            metrics.VIDEOS_ACTIVE.inc()
            try:
                return await self._loop.run_in_executor(
                    self._pool, self._detect, work, path, name, options, camera, scored
                )
            finally:
                metrics.VIDEOS_ACTIVE.dec()
                self._slots.release()

        work.future = asyncio.ensure_future(turn())
        work.future.add_done_callback(lambda done: done.cancelled() or done.exception())  # the client may be gone
        return work.future

    def _detect(
        self, work: Work, path: Path, name: str, options: Options, camera: str, scored: Scored | None
    ) -> Report:
        detector = self.loaded_for(work)
        closed = 0.0

        @contextmanager
        def reader(at: Path) -> Iterator[VideoSource]:
            nonlocal closed
            with limited(at, self.settings) as video:
                yield video
            closed = time.perf_counter()
            _give_back_memory()

        started = time.perf_counter()
        try:
            if self.observer is None:
                report = detector.detect(path, name, options, reader=reader, run=work.run, scored=scored)
            else:
                report = self.observer.detect(
                    detector,
                    path,
                    name,
                    options,
                    camera=camera or None,
                    alone=work.runner.alone,
                    reader=reader,
                    run=work.run,
                    scored=scored,
                )
        except VideoError as exc:
            metrics.DECODE_FAILURES.labels(type(exc).__name__).inc()
            raise
        ended = time.perf_counter()
        work.seconds["locate"] = ended - closed
        work.seconds["decode"] = closed - started - work.seconds.get("model", 0.0)
        for stage in ("decode", "model", "locate"):
            metrics.STAGE_SECONDS.labels(stage).observe(work.seconds[stage])
        if report.gaps:
            metrics.DECODE_FAILURES.labels("gap").inc()
        label = metrics.camera(camera)
        for s in report.scores:
            metrics.SCORE.labels(label).observe(s.smoothed)
        metrics.EVENTS.labels(label).inc(len(report.events))
        metrics.FOOTAGE_SECONDS.labels(label).inc(report.duration_s)
        return report

    def loaded_for(self, work: Work) -> Detector:
        """The detector of a request that was admitted, also while the service drains."""
        work.check()
        assert self.detector is not None
        return self.detector

    async def score(self, run: Callable[[Detector, Run], Result]) -> Result:
        """A model call beside those of videos."""
        async with self.admitted() as work:
            detector = self.loaded()
            return await self._loop.run_in_executor(None, run, detector, work.run)
