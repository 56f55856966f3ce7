"""Before every page: who may ask, from which site; and the headers that keep foreign scripts out."""

from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headhunt_svc.console.sessions import COOKIE, HOURS, Sessions
from headhunt_svc.web.sites import is_own_name, is_own_page

POLICY = (
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "frame-src 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
OPEN = ("/login", "/livez")  # for everybody
STATIC = "/static/"
MOST_BODY = 64 * 1024  # of a form


class Guard:
    """ASGI middleware; `scope["state"]` gets `author` (who asks) and `cookie`."""

    def __init__(self, app: ASGIApp, sessions: Sessions) -> None:
        self._app, self._sessions = app, sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        cookie = request.cookies.get(COOKIE)
        is_new = cookie is None
        cookie = cookie or self._sessions.new_cookie()
        author = self._sessions.author(None if is_new else cookie, request.headers.get("authorization"))
        scope.setdefault("state", {}).update(author=author, cookie=cookie)
        is_static = scope["path"].startswith(STATIC)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("cache-control", "no-store")
                if is_new and not is_static and "set-cookie" not in headers:
                    headers.append("set-cookie", cookie_header(request, cookie))
            await send(message)

        await (self._refusal(request, author) or self._app)(scope, receive, send_guarded)

    def _refusal(self, request: Request, author: str | None) -> Response | None:
        """The answer to a request that is refused; None for all others."""
        headers, path = request.headers, request.url.path
        if not self._sessions.needs_key and not is_own_name(headers):
            return _plain(403, "without API keys only this machine is answered, as localhost or 127.0.0.1")
        if request.method not in ("GET", "HEAD"):
            if not is_own_page(headers):
                return _plain(403, "this form is of another site")
            if not _is_short(headers):
                return _plain(413, f"a form has a stated length of at most {MOST_BODY} bytes")
        if author is not None or path in OPEN or path.startswith(STATIC):
            return None
        if request.method == "GET" and "text/html" in headers.get("accept", ""):
            target = path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"/login?next={quote(target, safe='')}", 303)
        return _plain(401, "a key is needed: open /login, or send it as `Authorization: Bearer KEY`")


def _plain(status: int, text: str) -> Response:
    return PlainTextResponse(text + "\n", status)


def _is_short(headers: Headers) -> bool:
    length = headers.get("content-length", "")
    return length.isascii() and length.isdigit() and len(length) < 9 and int(length) <= MOST_BODY


def cookie_header(request: Request, cookie: str) -> str:
    """The header that sets the session's cookie: for no script, and for no request of another site."""
    secure = "; Secure" if request.url.scheme == "https" else ""
    return f"{COOKIE}={cookie}; Path=/; Max-Age={HOURS * 3600}; HttpOnly; SameSite=Lax{secure}"
