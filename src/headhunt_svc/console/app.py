"""The console's application: routes, errors, start and end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.staticfiles import StaticFiles

from headhunt_svc.console import drift_routes, event_routes, general_routes, learning_routes, question_routes
from headhunt_svc.console.desk import Desk
from headhunt_svc.console.guard import Guard
from headhunt_svc.console.live import Live
from headhunt_svc.console.pages import STATIC_FOLDER, Pages, static_version
from headhunt_svc.console.sessions import Sessions
from headhunt_svc.errors import HeadHuntError
from headhunt_svc.events.store import NoSuchEventError
from headhunt_svc.names import printable
from headhunt_svc.web.keys import Keys


def create_app(desk: Desk, keys: Callable[[], Keys | None]) -> FastAPI:
    """The application; `keys`: those that count now, None where nobody needs one."""
    sessions = Sessions(keys)
    pages, live = Pages(sessions), Live(desk.versions)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(desk.refresh)
        await asyncio.to_thread(event_routes.warm, desk)
        watching = asyncio.create_task(live.watch())
        yield
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await asyncio.to_thread(desk.learning.end)

    app = FastAPI(title="headhunt console", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.desk, app.state.pages, app.state.sessions, app.state.live = desk, pages, sessions, live
    app.add_middleware(Guard, sessions=sessions)
    app.mount(f"/static/{static_version()}", _Static(directory=STATIC_FOLDER), name="static")
    app.include_router(general_routes.router)
    app.include_router(learning_routes.router)  # first: /events/learn is no event
    app.include_router(question_routes.router)
    app.include_router(event_routes.router)
    app.include_router(drift_routes.router)
    app.add_exception_handler(HeadHuntError, _on_error)
    app.add_exception_handler(HTTPException, _on_refusal)
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
