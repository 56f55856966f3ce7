"""What clients without a key, slow clients and clients that hang up can take from the service: nothing for long."""

import asyncio
import errno
import io
import logging
import socket
import sqlite3
import threading
import time
import warnings
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psutil
import pytest
import sqlalchemy.exc
import uvicorn
from fastapi.testclient import TestClient
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from conftest import until, write_video
from headhunt_svc.detector.in_use import Now
from headhunt_svc.errors import UnreachableError, VideoDecodeError
from headhunt_svc.jobs.queue import database_errors
from headhunt_svc.params import SegmentationParams
from headhunt_svc.serve import connections, requests, uploads
from headhunt_svc.serve.connections import LIMITS
from headhunt_svc.serve.engine import Engine, Video, Work
from headhunt_svc.serve.gate import Gate
from headhunt_svc.serve.models import DetectOptions
from headhunt_svc.serve.problems import MEDIA_TYPE, Problem
from headhunt_svc.serve.quota import Quota
from headhunt_svc.settings import Settings
from headhunt_svc.video.sandbox import SandboxedReader
from headhunt_svc.video.sandbox.reader import _starter
from headhunt_svc.web.keys import Keys
from helpers.routes import MP4, application

KEY = "k" * 20
HEAD = f"Host: x\r\nAuthorization: Bearer {KEY}\r\n"
VIDEO = {"content-type": "video/mp4"}
LARGE = 2**24  # more than a slow client reads within write_s of the tests


def scope_of(path: str, method: str = "POST", headers: dict[str, str] = VIDEO) -> dict[str, Any]:
    return {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(k.encode(), v.encode()) for k, v in headers.items()], "http_version": "1.1", "scheme": "http",
        "server": ("127.0.0.1", 1), "client": ("127.0.0.1", 2), "asgi": {"version": "3.0"}, "extensions": {},
    }  # fmt: skip


def call(app: Any, scope: dict[str, Any], *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """Call an application as a server does, whose client then sends nothing more; what the application sent."""
    sent: list[dict[str, Any]] = []
    left = list(messages)

    async def receive() -> dict[str, Any]:
        return left.pop(0) if left else await asyncio.Event().wait()  # type: ignore[return-value]

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(asyncio.wait_for(app(scope, receive, send), 20))
    return sent


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


# connections


class Loopback:
    """The gate on a port of loopback, with the protocol that the service's server uses."""

    def __init__(self, app: Any) -> None:
        connections.install()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
        self._thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    def __enter__(self) -> "Loopback":
        self._thread.start()
        until(lambda: self.server.started)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self._thread.join(10)
        self._socket.close()

    def connect(self, text: str = "") -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection.sendall(text.encode())
        return connection

    @property
    def open(self) -> int:
        return len(self.server.server_state.connections)


@pytest.fixture
def ended() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def loopback(ended: threading.Event) -> Iterator[Loopback]:
    async def wait(_: object) -> PlainTextResponse:
        while not ended.is_set():
            await asyncio.sleep(0.05)
        return PlainTextResponse("done")

    async def endless(_: object) -> StreamingResponse:
        async def body() -> AsyncGenerator[bytes]:
            while not ended.is_set():
                yield bytes(2**16)

        return StreamingResponse(body())

    async def live(_: object) -> PlainTextResponse:
        return PlainTextResponse("\n")

    async def large(_: object) -> PlainTextResponse:
        return PlainTextResponse(LARGE * "x")

    keys = Keys([("gate", KEY)])
    routes = [Route("/livez", live), Route("/v1/wait", wait), Route("/v1/endless", endless), Route("/v1/large", large)]
    with Loopback(Gate(Starlette(routes=routes), lambda: keys)) as server:
        yield server
        ended.set()


def closed(connection: socket.socket, within_s: float) -> bytes:
    """What comes before the other end closes the connection."""
    connection.settimeout(within_s)
    parts = []
    try:
        while part := connection.recv(2**16):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def takes(connection: socket.socket, piece: bytes, n: int, pause_s: float = 0) -> bool:
    """Does the other end take so many pieces?"""
    try:
        for _ in range(n):
            connection.sendall(piece)
            time.sleep(pause_s)
    except ConnectionError:
        return False
    return True


def limit(monkeypatch: pytest.MonkeyPatch, **limits: float) -> None:
    for name, value in limits.items():
        monkeypatch.setattr(LIMITS, name, value, raising=True)


def test_idle_connections_keep_nobody_out(loopback: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, connections=40)
    with ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(loopback.connect("GET /livez HTTP/1.1\r\n"))
        until(lambda: loopback.open <= 40, 5)
        assert httpx.get(f"{loopback.url}/livez", timeout=5).status_code == 200


@pytest.mark.parametrize("text", ["", "GET /livez HTTP/1.1\r\n", "GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET"])
def test_a_request_whose_head_does_not_come_is_not_waited_for(
    loopback: Loopback, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    limit(monkeypatch, head_s=0.5)
    with loopback.connect(text) as connection:
        closed(connection, 5)


def test_drops_of_a_head_do_not_hold_a_connection(loopback: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, head_s=0.5)
    with loopback.connect("GET /livez HTTP/1.1\r\n") as connection:
        assert not takes(connection, b"X-1: 1\r\n", 40, pause_s=0.1)


def test_a_head_has_a_limited_length(loopback: Loopback) -> None:
    with loopback.connect("GET /livez HTTP/1.1\r\nX: ") as connection:
        assert not takes(connection, b"x" * 2**16, 1000)


def test_a_client_that_stops_reading_is_let_go(loopback: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, write_s=0.5)
    with loopback.connect(f"GET /v1/endless HTTP/1.1\r\n{HEAD}\r\n"):
        until(lambda: loopback.open == 1, 5)
        until(lambda: loopback.open == 0, 10)


def test_a_client_that_reads_slowly_gets_all_of_a_large_answer(
    loopback: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, write_s=0.5)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)  # the kernel takes little of it ahead
        connection.settimeout(10)
        connection.connect(("127.0.0.1", loopback.port))
        connection.sendall(f"GET /v1/large HTTP/1.1\r\nConnection: close\r\n{HEAD}\r\n".encode())
        n = 0
        while part := connection.recv(2**18):
            n += len(part)
            time.sleep(0.01)
    assert n > LARGE


def test_requests_beyond_the_limit_are_told_to_come_back(
    loopback: Loopback, ended: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, requests=3)
    wait = f"GET /v1/wait HTTP/1.1\r\n{HEAD}\r\n"
    with ExitStack() as stack:
        waiting = [stack.enter_context(loopback.connect(wait)) for _ in range(3)]
        until(lambda: len(loopback.server.server_state.tasks) == 3, 5)
        answer = httpx.get(f"{loopback.url}/v1/wait", headers={"Authorization": f"Bearer {KEY}"}, timeout=5)
        assert (answer.status_code, answer.json()["kind"], answer.headers["retry-after"]) == (503, "busy", "5")
        assert httpx.get(f"{loopback.url}/livez", timeout=5).status_code == 200
        ended.set()
        assert all(b"200 OK" in connection.recv(1000) for connection in waiting)


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


# disk and database


class FullDisk(io.FileIO):
    """A file whose disk is full, which shows when what was buffered is written."""

    def write(self, data: Any) -> int:
        return len(data)

    def close(self) -> None:
        if not self.closed:
            super().close()
            raise OSError(errno.ENOSPC, "No space left on device", "/srv/uploads")


@pytest.mark.parametrize("path", ["/detect", "/detect/stream", "/jobs/uploads"])
def test_a_full_disk_is_a_507_and_leaves_nothing(tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app, *_ = application(tmp_path)
    temporary = uploads.NamedTemporaryFile
    monkeypatch.setattr(uploads, "NamedTemporaryFile", lambda **options: FullDisk(temporary(**options).name, "wb"))
    answer = TestClient(app).post(path, content=MP4, headers=VIDEO)
    assert (answer.status_code, answer.headers["content-type"]) == (507, MEDIA_TYPE), answer.text
    assert "/srv" not in answer.text
    assert not list(tmp_path.glob("**/video-*"))


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
                (decoder,) = [child for child in starter.children() if child.status() != psutil.STATUS_ZOMBIE]
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


# uploads for jobs


def test_uploads_for_jobs_have_a_place_in_the_line(tmp_path: Path) -> None:
    app, engine, _ = application(tmp_path)
    engine.refusal = Problem(429, "busy", "many")
    assert TestClient(app).post("/jobs/uploads", content=MP4, headers=VIDEO).status_code == 429


@pytest.mark.parametrize(("ends", "status"), [("deadline", 504), ("drain", 503)])
def test_an_upload_that_does_not_arrive_ends(tmp_path: Path, ends: str, status: int) -> None:
    app, *_ = application(tmp_path)
    messages = [{"type": "http.request", "body": MP4, "more_body": True}]
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def service() -> None:
        engine = Engine(Settings(deadline_s=0.5 if ends == "deadline" else 60, grace_s=0, max_waiting=0), tmp_path)
        engine.in_use = SimpleNamespace(detector=SimpleNamespace(), now=SimpleNamespace(candidate=None))
        engine._runner = SimpleNamespace(forget=lambda *_: None)
        app.state.engine = engine

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            if ends == "drain":
                engine.drain()
            return await asyncio.Event().wait()  # type: ignore[return-value]

        await asyncio.wait_for(app(scope_of("/jobs/uploads"), receive, send), 10)
        assert not engine._works

    asyncio.run(service())
    assert sent[0]["status"] == status
    assert not list(tmp_path.glob("**/video-*"))


def test_uploads_for_jobs_have_a_quota(tmp_path: Path) -> None:
    app, _, queue = application(tmp_path)
    queue.settings = queue.settings.model_copy(update={"upload_bytes": 2 * len(MP4) + 100})
    client = TestClient(app)

    def post(content: bytes) -> httpx.Response:
        return client.post("/jobs/uploads", content=content, headers=VIDEO)

    assert [post(MP4 + bytes([i])).status_code for i in range(2)] == [201, 201]
    third = post(MP4 + b"2")
    assert (third.status_code, third.json()["kind"]) == (507, "storage")
    assert "HEADHUNT_JOBS_UPLOAD_BYTES" in third.json()["detail"]
    assert len(list((tmp_path / "uploads").iterdir())) == 2
    assert client.post("/jobs/uploads", files={"video": ("a.mp4", MP4 + b"3")}).status_code == 507


def test_an_upload_that_is_complete_still_counts_for_those_that_arrive(tmp_path: Path) -> None:
    quota = Quota(tmp_path)
    with quota.taking(100) as slow:
        with quota.taking(100) as fast:
            fast(80)
            (tmp_path / "fast").write_bytes(bytes(80))
        slow(20)
        with pytest.raises(Problem, match="100 bytes together"):
            slow(1)


def test_an_upload_that_is_purged_while_it_is_counted_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "glob", lambda *_: iter([tmp_path / "purged"]))
    with Quota(tmp_path).taking(100) as take:
        take(100)


def multipart(parts: Callable[[int], bytes], n: int) -> bytes:
    return b"".join(b"--b\r\n" + parts(i) for i in range(n)) + b"--b--\r\n"


@pytest.mark.parametrize("path", ["/detect", "/jobs/uploads"])
@pytest.mark.parametrize(
    "parts",
    [
        lambda i: b'Content-Disposition: form-data; name="f%d"\r\n\r\nx\r\n' % i,
        lambda i: b'Content-Disposition: form-data; name="video"; filename="a"\r\n\r\n\r\n',
        lambda i: b"\r\n\r\n",
        lambda i: b"X-%d: y\r\n" % i * 50 + b"\r\nx\r\n",
    ],
)
def test_thousands_of_parts_are_refused_at_once(tmp_path: Path, path: str, parts: Callable[[int], bytes]) -> None:
    app, *_ = application(tmp_path)
    headers = {"content-type": "multipart/form-data; boundary=b"}
    started = time.process_time()
    answer = TestClient(app).post(path, content=multipart(parts, 20_000), headers=headers)
    assert answer.status_code in (400, 422), answer.text
    assert time.process_time() - started < 2
    assert not list(tmp_path.glob("**/video-*"))
