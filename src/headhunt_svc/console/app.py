"""The console's application: routes, errors, start and end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import FastAPI, Query
from sse_starlette.sse import EventSourceResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from headhunt_svc.console import drift_routes, event_routes
from headhunt_svc.console.desk import Desk
from headhunt_svc.console.guard import Guard, cookie_header
from headhunt_svc.console.live import Live, TooManyPagesError
from headhunt_svc.console.pages import STATIC_FOLDER, Pages
from headhunt_svc.console.sessions import Sessions, TooManyFailedError
from headhunt_svc.errors import HeadHuntError
from headhunt_svc.events.store import NoSuchEventError
from headhunt_svc.names import printable
from headhunt_svc.web.keys import Keys

PING_S = 15


def create_app(desk: Desk, keys: Callable[[], Keys | None]) -> FastAPI:
    """The application; `keys`: those that count now, None where nobody needs one."""
    sessions = Sessions(keys)
    pages, live = Pages(sessions), Live(desk.versions)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(desk.refresh)
        watching = asyncio.create_task(live.watch())
        yield
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching

    app = FastAPI(title="headhunt console", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.desk, app.state.pages, app.state.sessions, app.state.live = desk, pages, sessions, live
    app.add_middleware(Guard, sessions=sessions)
    app.mount("/static", _Static(directory=STATIC_FOLDER), name="static")
    app.include_router(event_routes.router)
    app.include_router(drift_routes.router)
    app.add_exception_handler(HeadHuntError, _on_error)
    app.add_exception_handler(HTTPException, _on_refusal)
    _add_general(app)
    return app


class _Static(StaticFiles):
    """Our own styles and scripts; their address changes with their content."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """A file that browsers keep."""
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "public, max-age=31536000, immutable"
        return response


async def _on_error(request: Request, exc: Exception) -> Response:
    """What cannot be read or is not there, in one sentence, and what to do about it."""
    status = 404 if isinstance(exc, NoSuchEventError) else 503
    return _problem(request, status, printable(str(exc)))


async def _on_refusal(request: Request, exc: Exception) -> Response:
    status = exc.status_code if isinstance(exc, HTTPException) else 500
    return _problem(request, status, str(exc.detail) if isinstance(exc, HTTPException) else "")


def _problem(request: Request, status: int, text: str) -> Response:
    if "text/html" not in request.headers.get("accept", ""):
        return PlainTextResponse(text + "\n", status)
    pages: Pages = request.app.state.pages
    return pages.show(request, "problem.html", status, text=text, page="")


def _add_general(app: FastAPI) -> None:
    """Status, sessions, live updates."""
    desk: Desk = app.state.desk
    pages: Pages = app.state.pages
    sessions: Sessions = app.state.sessions
    live: Live = app.state.live

    @app.get("/")
    def status(request: Request) -> Response:
        """How all cameras are."""
        desk.refresh()
        overview = desk.fleet.overview(datetime.now(UTC))
        return pages.show(request, "status.html", overview=overview, page="status")

    @app.get("/livez")
    def livez() -> Response:
        """The process answers."""
        return PlainTextResponse("ok\n")

    @app.get("/login")
    def login(request: Request, target: Annotated[str, Query(alias="next")] = "/") -> Response:
        """The form for a key."""
        if request.scope["state"]["author"] is not None:
            return RedirectResponse(_own(target), 303)
        return pages.show(request, "login.html", target=_own(target), problem="", page="")

    @app.post("/login")
    async def log_in(request: Request) -> Response:
        """Begin a session."""
        form = await request.form()
        target, key = _own(str(form.get("next", "/"))), str(form.get("key", ""))
        if not sessions.is_token(request.scope["state"]["cookie"], str(form.get("csrf", ""))):
            problem = "This page was open for too long: type the key again."
            return pages.show(request, "login.html", 403, target=target, problem=problem, page="")
        try:
            cookie = sessions.log_in(key)
        except TooManyFailedError:
            problem = "Too many wrong keys were typed: wait a minute."
            return pages.show(request, "login.html", 429, target=target, problem=problem, page="")
        if cookie is None:
            problem = "No key is this one. Keys are those of the service (HEADHUNT_API_KEYS); type what is behind name:"
            return pages.show(request, "login.html", 403, target=target, problem=problem, page="")
        return RedirectResponse(target, 303, {"set-cookie": cookie_header(request, cookie)})

    @app.post("/logout")
    async def log_out(request: Request) -> Response:
        """End a session."""
        form = await request.form()
        if not sessions.is_token(request.scope["state"]["cookie"], str(form.get("csrf", ""))):
            raise HTTPException(403, "this page was open for too long: open it again")
        sessions.log_out(request.scope["state"]["cookie"])
        return RedirectResponse("/login", 303)

    @app.get("/live")
    async def changes(request: Request) -> Response:
        """Which pages have changed, as server-sent events."""
        if live.is_full:
            raise HTTPException(503, "too many pages are open")

        async def events() -> AsyncIterator[dict[str, str]]:
            with suppress(TooManyPagesError):
                async for subject in live.changes():
                    yield {"event": "changed", "data": subject}

        return EventSourceResponse(events(), ping=PING_S)


def _own(target: str) -> str:
    """An address of this console; the first page where it is none."""
    return target if target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable() else "/"
