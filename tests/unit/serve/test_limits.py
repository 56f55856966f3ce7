"""What clients without a key and clients that hang up can take from the service: nothing for long."""

import asyncio
import errno
import logging
import sqlite3
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import sqlalchemy.exc
from fastapi.testclient import TestClient
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from conftest import write_video
from headhunt_svc.detector.in_use import Now
from headhunt_svc.errors import UnreachableError, VideoDecodeError
from headhunt_svc.jobs.queue import database_errors
from headhunt_svc.params import SegmentationParams
from headhunt_svc.serve import requests
from headhunt_svc.serve.engine import Engine, Video, Work
from headhunt_svc.serve.gate import Gate
from headhunt_svc.serve.models import DetectOptions
from headhunt_svc.serve.problems import MEDIA_TYPE, Problem
from headhunt_svc.settings import Settings
from headhunt_svc.video.sandbox import SandboxedReader
from headhunt_svc.video.sandbox.reader import _starter
from headhunt_svc.web.keys import Keys
from helpers.asgi import call, scope_of
from helpers.routes import MP4, VIDEO, application

KEY = "k" * 20


# without a key


@pytest.fixture
def whole() -> Starlette:
    """The application with everything that BentoML adds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of BentoML's imports
        from headhunt_svc.serve.service import HeadHunt

        app: Starlette = HeadHunt.to_asgi()
    return app


def test_metrics_do_not_grow_with_the_paths_that_strangers_ask_for(whole: Starlette) -> None:
    client = TestClient(whole)
    assert client.get("/first").status_code == 401

    def samples() -> int:
        return sum(len(metric.samples) for metric in REGISTRY.collect())

    before = samples()
    for i in range(200):
        assert client.get(f"/v1/{i}").status_code == 401
    assert samples() == before


def test_an_answered_request_leaves_no_timer(whole: Starlette) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_: dict[str, Any]) -> None:
        pass

    async def timers() -> int:
        for _ in range(20):
            await whole(scope_of("/v1/detect"), receive, send)
        return len(asyncio.get_running_loop()._scheduled)  # type: ignore[attr-defined]

    assert asyncio.run(timers()) == 0


def test_metrics_need_a_key_and_a_get() -> None:
    keys = Keys([("gate", KEY)])
    client = TestClient(Gate(Starlette(), lambda: keys))
    assert client.get("/metrics").status_code == 401
    headers = {"Authorization": f"Bearer {KEY}"}
    answer = client.get("/metrics", headers=headers)
    assert (answer.status_code, answer.headers["content-type"][:10]) == (200, "text/plain")
    assert "headhunt_requests_total" in answer.text
    assert client.post("/metrics", headers=headers).status_code == 405


# clients that hang up, and what is not here


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("headhunt_svc"), "propagate", True)
    caplog.set_level(logging.INFO)
    return caplog


@pytest.mark.parametrize("path", ["/v1/detect", "/v1/detect/stream", "/v1/jobs/uploads", "/v1/score", "/v1/jobs"])
def test_a_client_that_hangs_up_while_it_sends_is_no_error(
    tmp_path: Path, path: str, lines: pytest.LogCaptureFixture
) -> None:
    app, engine, _ = application(tmp_path)
    json = path in ("/v1/score", "/v1/jobs")
    scope = scope_of(path, headers={"content-type": "application/json"} if json else VIDEO)
    part = {"type": "http.request", "body": b"{" if json else MP4, "more_body": True}
    gated = Gate(Starlette(routes=[Mount("/v1", app)]), lambda: None)
    sent = call(gated, scope, part, {"type": "http.disconnect"})
    assert sent[0]["status"] == 408
    assert not [record for record in lines.records if record.levelno >= logging.ERROR]
    assert engine.admitted_now == 0
    assert not list(tmp_path.glob("**/video-*"))


def test_an_error_within_an_answer_names_no_file_in_any_log(lines: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("/srv/footage/children 7.mp4")

    sent = call(Gate(app, lambda: None), scope_of("/v1/detect"))  # returns: the server logs what is raised
    assert [message["type"] for message in sent] == ["http.response.start"]
    assert [record.levelname for record in lines.records] == ["ERROR", "INFO"]


@pytest.mark.parametrize(
    ("text", "says"), [("[" * 100_000, "nested more than"), (f"[{9 * '1' * 1000}]", "digits"), (b"\xff", "utf-8")]
)
@pytest.mark.parametrize("path", ["/score", "/jobs"])
def test_json_that_cannot_be_read_is_told_what_is_wrong(
    tmp_path: Path, path: str, text: str | bytes, says: str
) -> None:
    app, *_ = application(tmp_path)
    answer = TestClient(app).post(path, content=text, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["kind"]) == (400, "options")
    assert says in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/v1/score", "/v1/jobs"])
def test_json_that_does_not_arrive_is_not_waited_for(
    tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "JSON_S", 0.2, raising=False)
    app, *_ = application(tmp_path)
    part = {"type": "http.request", "body": b"{", "more_body": True}
    sent = call(app, scope_of(path.removeprefix("/v1"), headers={"content-type": "application/json"}), part)
    assert sent[0]["status"] == 408


# databases and disks


def sqlite_error(kind: type[sqlalchemy.exc.DBAPIError], code: int, text: str) -> sqlalchemy.exc.DBAPIError:
    cause = sqlite3.DatabaseError(text)
    cause.sqlite_errorcode = code
    return kind("select /srv/footage/7.mp4", {}, cause)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 507),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 507),
        (sqlite_error(sqlalchemy.exc.OperationalError, sqlite3.SQLITE_FULL, "database or disk is full"), 507),
        (sqlite_error(sqlalchemy.exc.DatabaseError, sqlite3.SQLITE_CORRUPT, "database disk image is malformed"), 503),
        (sqlite_error(sqlalchemy.exc.DatabaseError, sqlite3.SQLITE_NOTADB, "file is not a database"), 503),
        (sqlite3.DatabaseError("file is not a database"), 503),
    ],
)
def test_a_broken_database_or_full_disk_is_a_problem_with_a_way_out(
    tmp_path: Path, error: Exception, status: int
) -> None:
    app, _, queue = application(tmp_path)
    raised = [error]
    try:
        with database_errors():  # as the queue's client raises it
            raise error
    except (UnreachableError, OSError) as exc:
        raised.append(exc)
    for queue.error in raised:
        answer = TestClient(app).get("/jobs")
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == MEDIA_TYPE
        assert "footage" not in answer.text
        assert ("damaged" in answer.text) == (status == 503)


# work that nobody waits for


def test_decoding_ends_with_the_request(tmp_path: Path) -> None:
    """At the next batch is too late: 60 clients that hung up kept their places for as long as 60 batches take."""
    video = Video(write_video(tmp_path / "a.avi", 400, 25, (640, 480), "mpeg4"), "a.avi", DetectOptions())
    cut = SegmentationParams(length_s=1.6, frames_per_segment=8)

    def score(source: Any, *_: object, **options: object) -> Iterator[Any]:
        yield from source.segments(cut)

    def report(source: Any, batches: Any, *_: object) -> int:
        return len(list(batches))

    detector = SimpleNamespace(
        bundle=SimpleNamespace(segmentation=cut), reader_mib=lambda size: 1, score=score, report=report
    )
    detector.at = lambda camera: detector
    passing = SimpleNamespace(probing=lambda *_: None, record=lambda d, name, batches, options, **_: batches)

    async def service() -> None:
        engine = Engine(Settings(), tmp_path)
        engine.recorder = passing
        work = Work(Now(detector), SimpleNamespace(forget=lambda *_: None), tmp_path)
        stopped = threading.Event()

        def stop_decoder(batch: object) -> None:
            """With the first batch the decoder hangs, as with a picture that takes long."""
            if not stopped.is_set():
                starter = psutil.Process(_starter._process.pid)
                alive = [child for child in starter.children() if child.status() != psutil.STATUS_ZOMBIE]
                (decoder,) = [child for child in alive if child.open_files()]  # others wait for a video
                decoder.suspend()
                stopped.set()

        scoring = asyncio.to_thread(engine._detect, work, video, stop_decoder)
        future = asyncio.ensure_future(scoring)
        await asyncio.to_thread(stopped.wait, 20)
        started = time.monotonic()
        work.stop(Problem(408, "gone", "the client hung up"))
        with pytest.raises(Problem, match="hung up"):
            await asyncio.wait_for(future, 10)
        assert time.monotonic() - started < 5
        assert engine._memory.free_mib == engine._memory.total_mib

    asyncio.run(service())


def test_a_reader_can_be_stopped_before_it_is_open(tmp_path: Path) -> None:
    reader = SandboxedReader(write_video(tmp_path / "a.mp4", 20))
    reader.stop()
    with pytest.raises(VideoDecodeError, match="was stopped"), reader:
        pass
