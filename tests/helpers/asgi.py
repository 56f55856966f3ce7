"""Calls an application as a server does, without one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from helpers.routes import VIDEO


def scope_of(path: str, method: str = "POST", headers: dict[str, str] = VIDEO) -> dict[str, Any]:
    """What a server says of a request."""
    return {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(k.encode(), v.encode()) for k, v in headers.items()], "http_version": "1.1", "scheme": "http",
        "server": ("127.0.0.1", 1), "client": ("127.0.0.1", 2), "asgi": {"version": "3.0"}, "extensions": {},
    }  # fmt: skip


def send(app: Any, scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]]) -> list[dict[str, Any]]:
    """What the application sent to a client whose messages `receive` gives."""
    sent: list[dict[str, Any]] = []

    async def collect(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(asyncio.wait_for(app(scope, receive, collect), 30))
    return sent


def call(app: Any, scope: dict[str, Any], *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """What the application sent to a client that sends these messages and nothing more."""
    left = list(messages)

    async def receive() -> dict[str, Any]:
        return left.pop(0) if left else await asyncio.Event().wait()  # type: ignore[return-value]

    return send(app, scope, receive)
