"""Routes of the first page, of sessions, and of live updates."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from sse_starlette.sse import EventSourceResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from headhunt_svc.console.event_routes import TheDesk, ThePages
from headhunt_svc.console.guard import cookie_header
from headhunt_svc.console.live import Live, TooManyPagesError
from headhunt_svc.console.sessions import Sessions

logger = logging.getLogger(__name__)
router = APIRouter()
PING_S = 15
WRONG_KEY_S = 0.5  # before the answer
_NO_KEY = "No key is this one. Keys are those of the service (HEADHUNT_API_KEYS); type what stands behind name:"


def sessions_of(request: Request) -> Sessions:
    """Who is logged in."""
    sessions: Sessions = request.app.state.sessions
    return sessions


TheSessions = Annotated[Sessions, Depends(sessions_of)]


@router.get("/")
def status(request: Request, desk: TheDesk, pages: ThePages) -> Response:
    """How all cameras are."""
    desk.refresh()
    return pages.show(request, "status.html", overview=desk.overview(), page="status")


@router.get("/livez")
def livez() -> Response:
    """The process answers."""
    return PlainTextResponse("ok\n")


@router.get("/login")
def login(request: Request, pages: ThePages, target: Annotated[str, Query(alias="next")] = "/") -> Response:
    """The form for a key."""
    if request.scope["state"]["author"] is not None:
        return RedirectResponse(own(target), 303)
    return pages.show(request, "login.html", target=own(target), problem="", page="")


@router.post("/login")
async def log_in(request: Request, pages: ThePages, sessions: TheSessions) -> Response:
    """Begin a session."""
    form = await request.form()
    target, key = own(str(form.get("next", "/"))), str(form.get("key", ""))

    def again(status: int, problem: str) -> Response:
        return pages.show(request, "login.html", status, target=target, problem=problem, page="")

    if not sessions.is_token(request.scope["state"]["cookie"], str(form.get("csrf", ""))):
        return again(403, "This page was open for too long: type the key again.")
    cookie = sessions.log_in(key)
    if cookie is None:
        logger.warning("somebody at %s has typed a wrong key", request.client.host if request.client else "-")
        await asyncio.sleep(WRONG_KEY_S)
        return again(403, _NO_KEY)
    return RedirectResponse(target, 303, {"set-cookie": cookie_header(request, cookie)})


@router.post("/logout")
async def log_out(request: Request, sessions: TheSessions) -> Response:
    """End a session."""
    form = await request.form()
    if not sessions.is_token(request.scope["state"]["cookie"], str(form.get("csrf", ""))):
        raise HTTPException(403, "this page was open for too long: open it again")
    sessions.log_out(request.scope["state"]["cookie"])
    return RedirectResponse("/login", 303)


@router.get("/live")
async def changes(request: Request) -> Response:
    """Which pages have changed, as server-sent events."""
    live: Live = request.app.state.live
    if live.is_full:
        raise HTTPException(503, "too many pages are open")

    async def events() -> AsyncIterator[dict[str, str]]:
        with suppress(TooManyPagesError):
            async for subject in live.changes():
                yield {"event": "changed", "data": subject}

    return EventSourceResponse(events(), ping=PING_S)


def own(target: str) -> str:
    """An address of this console; the first page where it is none."""
    is_own = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if is_own else "/"
