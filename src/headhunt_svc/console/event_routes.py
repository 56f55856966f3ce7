"""Routes of events: the list, an event, its files, and what people say about it."""

from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Header
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from headhunt_svc.console import event as event_page
from headhunt_svc.console import media, missed
from headhunt_svc.console.desk import Desk
from headhunt_svc.console.listing import Filters, listing, local_time
from headhunt_svc.console.marked import store_missed
from headhunt_svc.console.pages import Pages, length_of
from headhunt_svc.console.pictured import pictured
from headhunt_svc.console.sessions import Sessions
from headhunt_svc.errors import ConfigError, HeadHuntError
from headhunt_svc.events.records import EventFilter, EventRecord, EventState
from headhunt_svc.names import CameraName

router = APIRouter(prefix="/events")
_PRIVATE = {"cache-control": "private, max-age=3600"}
_KINDS = {".mp4": "video/mp4", ".mkv": "video/x-matroska"}


def desk_of(request: Request) -> Desk:
    """Where the pages read."""
    desk: Desk = request.app.state.desk
    return desk


def pages_of(request: Request) -> Pages:
    """The templates."""
    pages: Pages = request.app.state.pages
    return pages


TheDesk = Annotated[Desk, Depends(desk_of)]
ThePages = Annotated[Pages, Depends(pages_of)]


def author(
    request: Request,
    csrf: Annotated[str, Form()] = "",
    x_csrf_token: Annotated[str, Header()] = "",
) -> str:
    """Who changes something; the request must come from a page of ours, or be of a program with a key."""
    state, sessions = request.scope["state"], request.app.state.sessions
    assert isinstance(sessions, Sessions)
    is_program = sessions.needs_key and "authorization" in request.headers
    if not is_program and not sessions.is_token(state["cookie"], csrf or x_csrf_token):
        raise HTTPException(403, "this page was open for too long: open it again")
    name: str = state["author"]
    return name


Author = Annotated[str, Depends(author)]


@router.get("")
def events(request: Request, desk: TheDesk, pages: ThePages) -> Response:
    """The list, as the filters in the address say."""
    filters = Filters.of(request.query_params)
    zone = desk.fleet.zone_of(filters.camera) if filters.camera else desk.zone
    names, problem, page = desk.fleet.names(), "", None
    try:
        page = listing(desk.events, filters, zone)
    except ConfigError as exc:
        problem = str(exc)
    return pages.show(
        request, "events.html", 200 if page else 400, filters=filters, listing=page, names=names, zone=zone,
        problem=problem, states=tuple(EventState), n_marks=desk.n_marks(filters.camera) if page else 0, page="events",
    )  # fmt: skip


@router.get("/timeline")
def timeline(request: Request, desk: TheDesk, pages: ThePages, camera: str, day: str = "") -> Response:
    """A day or an hour of a camera, on which a missed event can be marked."""
    return _timeline(request, desk, pages, camera, day)


def _timeline(
    request: Request,
    desk: Desk,
    pages: Pages,
    camera: str,
    day: str,
    problem: str = "",
    typed: tuple[str, str] = ("", ""),
) -> Response:
    camera = CameraName(camera)
    zone = desk.fleet.zone_of(camera)
    latest = desk.history.latest
    text = day or missed.latest_day(desk.events, camera, None if latest is None else latest.stop, zone).isoformat()
    try:
        span = missed.Span.of(text, zone)
    except ConfigError as exc:
        raise HTTPException(404, str(exc)) from exc
    chart = missed.timeline(desk.log, desk.events, camera, span, zone)
    return pages.show(
        request, "timeline.html", 400 if problem else 200, camera=camera, timeline=chart, span=span, zone=zone,
        problem=problem, typed=typed, page="events",
    )  # fmt: skip


@router.post("/missed")
def missed_event(
    request: Request,
    by: Author,
    desk: TheDesk,
    pages: ThePages,
    camera: Annotated[str, Form()],
    start: Annotated[str, Form()],
    stop: Annotated[str, Form()],
    note: Annotated[str, Form()] = "",
) -> Response:
    """Store an event that the detector has missed."""
    zone = desk.fleet.zone_of(CameraName(camera))
    try:
        times = local_time(start, zone), local_time(stop, zone)
    except ValueError as exc:
        return _timeline(request, desk, pages, camera, "", f"that is no time: {exc}", (start, stop))
    try:
        record = store_missed(desk, camera, times, by, note, zone)
    except ConfigError as exc:
        return _timeline(request, desk, pages, camera, start[:10], str(exc), (start, stop))
    return RedirectResponse(f"/events/{record.id}", 303)


@router.get("/{event_id}")
def event(event_id: str, request: Request, desk: TheDesk, pages: ThePages) -> Response:
    """An event, with everything that is known about it."""
    return pages.show(request, "event.html", page="events", **_content(desk, desk.events.get(event_id)))


def _content(desk: Desk, record: EventRecord) -> dict[str, Any]:
    """What an event's page shows."""
    features, damage = event_page.features_of(desk.events, record)
    clip = event_page.clip_of(desk.events.clip(record.id))
    timeline = event_page.timeline(desk.log, record, features, record.time_zone)
    logged = None if timeline is None else timeline.heads
    older = next(iter(desk.events.list(EventFilter(questions=False), record.cursor, 1)), None)
    return {
        "event": record,
        "length": length_of(record.start, record.stop),
        "marks": desk.events.marks(record.id),
        "pictured": pictured(desk.events, record),
        "heads": event_page.heads_of(record, logged if features is None else features.heads),
        "timeline": timeline,
        "damage": damage,
        "older": older,
        "clip": clip,
        "strip": range(media.STRIP),
    }


def warm(desk: Desk) -> None:
    """Read the latest event as its page does: libraries load much when first used, and no request shall wait for it."""
    for record in desk.events.list(EventFilter(questions=False), None, 1):
        with suppress(HeadHuntError):  # whoever opens the page is told
            _content(desk, record)


@router.post("/{event_id}/mark")
def mark(
    event_id: str,
    by: Author,
    desk: TheDesk,
    request: Request,
    state: Annotated[str, Form()] = "",
    note: Annotated[str | None, Form()] = None,
) -> Response:
    """Say what an event was. state: `undo` for the one before; without it, a note alone."""
    if state == "undo":
        before = desk.events.marks(event_id)[-2:-1]
        desk.events.mark(event_id, before[0].state if before else EventState.NEW, by, before[0].note if before else "")
    else:
        try:
            new = EventState(state) if state else desk.events.get(event_id).state
            desk.events.mark(event_id, new, by, note)
        except (ValueError, ConfigError) as exc:
            raise HTTPException(400, str(exc)) from exc
    if "text/html" in request.headers.get("accept", ""):
        return RedirectResponse(f"/events/{event_id}", 303)
    return Response(status_code=204)


@router.get("/{event_id}/thumbnail")
def thumbnail(event_id: str, desk: TheDesk) -> Response:
    """The picture of the peak, small."""
    path = desk.events.picture(event_id)
    if path is None:
        raise HTTPException(404, "this event has no picture")
    record = desk.events.get(event_id)
    content = desk.pictures.get(f"{event_id} {record.peak}", lambda: media.thumbnail(path))
    return Response(content, media_type="image/jpeg", headers=_PRIVATE)


@router.get("/{event_id}/picture")
def picture(event_id: str, desk: TheDesk) -> Response:
    """The picture of the peak."""
    path = desk.events.picture(event_id)
    if path is None or not path.is_file():
        raise HTTPException(404, "this event has no picture")
    return FileResponse(path, media_type="image/jpeg", headers=_PRIVATE)


@router.get("/{event_id}/places")
def places(event_id: str, desk: TheDesk) -> Response:
    """The picture that the places are drawn on."""
    stored = desk.events.places(event_id)
    if stored is None:
        raise HTTPException(404, "which places spoke for this event is not known")
    return Response(stored.picture, media_type="image/jpeg", headers=_PRIVATE)


@router.get("/{event_id}/clip")
def clip(event_id: str, desk: TheDesk) -> Response:
    """The footage around the event, as it was received; range requests are answered."""
    path = desk.events.clip(event_id)
    if path is None or not path.is_file():
        raise HTTPException(404, "this event has no clip")
    kind = _KINDS.get(path.suffix, "application/octet-stream")
    return FileResponse(path, media_type=kind, headers=_PRIVATE)


@router.get("/{event_id}/strip/{number}")
def strip(event_id: str, number: int, desk: TheDesk) -> Response:
    """A picture of a clip that browsers do not play."""
    path = desk.events.clip(event_id)
    written: int | None = None
    if path is not None:
        with suppress(FileNotFoundError):  # a purge may delete it at any time
            written = path.stat().st_mtime_ns
    if path is None or written is None or not 0 <= number < media.STRIP:
        raise HTTPException(404, "this event has no such picture")
    content = desk.pictures.get(f"{event_id} {written} {number}", lambda: media.strip_picture(path, number))
    return Response(content, media_type="image/jpeg", headers=_PRIVATE)
