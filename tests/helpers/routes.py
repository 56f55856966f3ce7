"""The application under /v1 with an engine and a queue that keep to a script: no model, no database."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
from fastapi.testclient import TestClient

from conftest import ROOT
from headhunt_svc.detector.batches import ScoredBatch, TimedSegment
from headhunt_svc.detector.bundle import load_bundle
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.report import Lineage, Report
from headhunt_svc.errors import HeadHuntError
from headhunt_svc.jobs.client import Jobs, NoSuchJobError
from headhunt_svc.jobs.models import Delivery, Job, JobRequest
from headhunt_svc.serve.api import create_app
from headhunt_svc.serve.engine import Engine, Video
from headhunt_svc.serve.openapi import Application
from headhunt_svc.serve.problems import MEDIA_TYPE, Problem
from headhunt_svc.settings import JobSettings, Settings
from headhunt_svc.types import FrameSpan, Segment

VIDEO = {"content-type": "video/mp4"}
MP4 = b"\0\0\0\x18ftypisom" + bytes(range(256)) * 4
BUNDLE = ROOT / "artifacts" / "detector"
JOB = "0123456789ab"


def report(video_id: str, options: Options) -> Report:
    return Report(
        detector_id="d" * 12,
        code="1",
        lineage=Lineage(mllm="m", mllm_revision="r", prompt="p", heads=((0, 1),), bias=-0.5, data_sha256="0"),
        video_id=video_id,
        fps=1 / 3,
        n_frames=16,
        duration_s=1e-7,
        operating_point=options.operating_point,
        sigma_segments=1.0,
        threshold=0.5 if options.threshold is None else options.threshold,
        smoothing=options.smoothing,
        scores=(),
        events=(),
        gaps=(),
        repaired_times=0,
    )


class Work:
    """One request; `stopped` is set when it is over."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.files, self.seconds = folder, ExitStack(), {"model": 0.25}

    async def wait(self, result: Any) -> Any:
        return await result


class ScriptedEngine(Engine):
    """Yields `batches`, then raises `error` or yields a report; waits for ever where `batches` has an Event."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder, self.bundle = folder, BUNDLE
        self.settings = Settings.model_validate(settings)
        self.batches: list[ScoredBatch | asyncio.Event] = []
        self.error: HeadHuntError | Problem | None = None
        self.refusal: Problem | None = None
        self.in_use = None
        self.calls: list[tuple[bytes, str, Options, str]] = []
        self.admitted_now = 0
        bundle, scorer = load_bundle(BUNDLE)
        self._detector = SimpleNamespace(
            bundle=bundle,
            scorer=scorer,
            detector_id=bundle.detector_id,
            code="1",
            describes=False,
            normality=None,
            correction=None,
        )
        self._detector.at = lambda camera: self._detector

    def loaded(self) -> Any:
        if self.refusal is not None:
            raise self.refusal
        return self._detector

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[Work]:
        self.loaded()
        self.admitted_now += 1
        work = Work(self.folder)
        try:
            yield work
        finally:
            work.files.close()
            self.admitted_now -= 1

    async def detect(self, work: Work, video: Video) -> AsyncGenerator[ScoredBatch | Report, None]:
        options = video.options.for_detector
        self.calls.append((video.path.read_bytes(), video.name, options, video.options.camera))
        for item in self.batches:
            if isinstance(item, asyncio.Event):
                await item.wait()
            else:
                yield item
        if isinstance(self.error, HeadHuntError):  # {} in its text: the file that is read
            raise type(self.error)(str(self.error).replace("{}", str(video.path)))
        if self.error is not None:
            raise self.error
        yield report(video.name, options)

    async def score(self, pictures: np.ndarray, fps: float, camera: str = "") -> Any:
        n_heads = len(self._detector.scorer.heads)
        return self._detector, batch(0.25, shares=np.arange(float(n_heads))[None])


def batch(*raw: float, shares: np.ndarray | None = None) -> ScoredBatch:
    """A batch of segments of one second."""
    segments = tuple(
        TimedSegment(Segment("v", i, FrameSpan(i, i + 1), (i,)), float(i), i + 1.0) for i in range(len(raw))
    )
    shares = np.zeros((len(raw), 1)) if shares is None else shares
    features = np.zeros((len(raw), shares.shape[1], 1), np.float32)
    return ScoredBatch(segments, features, np.array(raw), shares)


class ScriptedQueue(Jobs):
    """The queue of one job."""

    def __init__(self, folder: Path) -> None:
        self.settings = JobSettings()
        self.store = SimpleNamespace(uploads=folder / "uploads", incoming=folder / "incoming")
        self.requests: list[JobRequest] = []
        self.done: list[str] = []
        self.pages: list[tuple[int, int | None]] = []
        self.error: Exception | None = None

    def submit(self, request: JobRequest, bundle: Path, allowed: Callable[[str], bool]) -> str:
        self.requests.append(request)
        return JOB

    def show(self, job_id: str, offset: int = 0, limit: int | None = None, *, notable: bool = False) -> Job:
        self.pages.append((offset, limit))
        if self.error is not None:
            raise self.error
        if job_id != JOB:
            raise NoSuchJobError(f"there is no job {job_id}")
        request = JobRequest(inputs=("upload:0",))
        return Job(
            job_id=JOB, state="queued", created=0, detector_id="d", request=request, counts={}, percent=0, eta_s=None
        )

    def all(self) -> list[Job]:
        return [self.show(JOB, limit=0)]

    def cancel(self, job_id: str) -> None:
        self.show(job_id)
        self.done.append("cancel")

    def retry(self, job_id: str) -> int:
        self.show(job_id)
        self.done.append("retry")
        return 0

    def rows(self, job_id: str) -> Iterator[dict[str, Any]]:
        yield {"video_id": "a", "uri": "upload:0", "state": "failed", "error": "no video", "scores": None}

    def json_lines(self, job_id: str) -> Iterator[str]:
        return iter(['{"video_id": "a"}', '{"video_id": "b"}'])

    def deliveries(self, job_id: str) -> list[Delivery]:
        return [Delivery(delivery_id="x", event="finished", state="succeeded", attempts=1)]


def application(folder: Path, **settings: object) -> tuple[Application, ScriptedEngine, ScriptedQueue]:
    app, engine, queue = create_app(), ScriptedEngine(folder, **settings), ScriptedQueue(folder)
    app.state.engine, app.state.jobs = engine, queue
    return app, engine, queue


class Service:
    """The application, what it scores with and keeps jobs in, and a client."""

    def __init__(self, folder: Path) -> None:
        self.app, self.engine, self.queue = application(folder, uri_roots=str(folder))
        self.http = TestClient(self.app)


def problem(answer: httpx.Response, status: int, kind: str) -> str:
    """The detail of an answer, which must be a problem of this status and kind."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE
    body = answer.json()
    assert (body["status"], body["kind"]) == (status, kind)
    detail: str = body["detail"]
    return detail
