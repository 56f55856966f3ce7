"""What idle, slow and many connections can take from the service: nothing for long."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from conftest import until
from headhunt_svc.serve import connections
from headhunt_svc.serve.connections import LIMITS
from headhunt_svc.serve.gate import Gate
from headhunt_svc.web.keys import Keys

KEY = "k" * 20
HEAD = f"Host: x\r\nAuthorization: Bearer {KEY}\r\n"
LARGE = 2**24  # more than a slow client reads within write_s of the tests


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
    limit(monkeypatch, write_s=1.5)  # less than all of it takes; a busy machine may stand still for half a second
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
