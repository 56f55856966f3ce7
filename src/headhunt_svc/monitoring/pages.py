"""Content-Security-Policy of the monitor's pages, and who may ask its dashboard: no foreign script runs there.

The policy is the second wall: names of cameras are written so that they are no markup (names.CameraName.page).
"""

import base64
import hashlib
import ipaddress
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


def scripts_of(page: str) -> list[str]:
    """The scripts that stand in a page, without those that it loads."""
    return _SCRIPT.findall(page)


def policy(scripts: Iterable[str], source: str = "'none'") -> str:
    """A policy that lets these scripts run and no others, and loads nothing but from `source`."""
    digests = [hashlib.sha256(script.replace("\r\n", "\n").encode()).digest() for script in scripts]
    hashes = [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]
    loaded = [source] if source != "'none'" else []
    own = " ".join(loaded)
    rules = {
        "default-src": source,
        "script-src": " ".join([*loaded, *hashes]) or "'none'",
        "style-src": f"'unsafe-inline' {own}",  # Evidently's library writes its styles into the page
        "img-src": f"data: blob: {own}",
        "font-src": f"data: {own}",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value.strip()}" for name, value in rules.items())


def with_policy(page: str) -> str:
    """A self-contained page that runs its own scripts and no others, and loads nothing."""
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy(scripts_of(page))}">'
    return page.replace("<head>", f"<head>\n        {meta}", 1)


def hosts_of(address: str) -> frozenset[str] | None:
    """The names under which a server on this address may be asked; None: under any.

    On loopback only its own: another name is that of a page elsewhere, whose name was made to lead here.
    """
    try:
        is_loopback = ipaddress.ip_address(address).is_loopback
    except ValueError:
        is_loopback = address == "localhost"
    return LOOPBACK | {address} if is_loopback else None


class Protected:
    """An ASGI application that sends the policy with every answer, and lets no page of another site change anything."""

    def __init__(self, app: App, header: str, hosts: frozenset[str] | None) -> None:
        """header: the policy. hosts: see hosts_of."""
        headers = {
            "content-security-policy": f"{header}; frame-ancestors 'none'",
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
            "referrer-policy": "no-referrer",
            "cross-origin-resource-policy": "same-origin",
        }
        self._app, self._hosts = app, hosts
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one request."""

        async def send_protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                ours = {name for name, _ in self._headers}
                kept = [(name, value) for name, value in message.get("headers", []) if name.lower() not in ours]
                message = {**message, "headers": [*kept, *self._headers]}
            await send(message)

        if scope["type"] != "http" or self._is_allowed(scope):
            await self._app(scope, receive, send_protected)
            return
        body = b"refused: this is the request of another site, or the name of this server is not one that it knows\n"
        await send_protected(
            {"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]}
        )
        await send_protected({"type": "http.response.body", "body": body})

    def _is_allowed(self, scope: Message) -> bool:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get(b"host", ""), headers.get(b"origin")
        try:
            name, source = urlsplit(f"//{host}").hostname, urlsplit(origin or "").netloc
        except ValueError:
            return False
        is_own_host = self._hosts is None or name in self._hosts
        return is_own_host and (scope["method"] in ("GET", "HEAD") or origin is None or source == host)
