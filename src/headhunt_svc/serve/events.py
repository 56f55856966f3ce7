"""The routes under /v1/events: stored events, their pictures and clips, and what people say about them."""

from pathlib import Path
from threading import Lock
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi import Path as PathParameter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from headhunt_svc.events.records import MOST_NOTE, EventFilter, EventRecord, EventState, Mark
from headhunt_svc.events.store import EventStore, NoSuchEventError
from headhunt_svc.serve.openapi import BINARY, answer, problems
from headhunt_svc.serve.problems import RETRY, Handlers, Problem
from headhunt_svc.serve.requests import LimitedRoute
from headhunt_svc.settings import EventSettings
from headhunt_svc.storage.sql import DatabaseUnreachableError

router = APIRouter(prefix="/events", route_class=LimitedRoute)
MOST_SHOWN = 1000
LOCAL = "local"  # who marks an event where no keys are needed: somebody on this machine
_PRIVATE = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
_KINDS = {".mp4": "video/mp4", ".mkv": "video/x-matroska"}
_lock = Lock()


class EventQuery(EventFilter):
    """Which events are listed, and which page of them."""

    questions: bool = Field(default=False, description="Also segments that people were asked about.")
    after: str | None = Field(default=None, max_length=100, description="`next` of the page before.")
    limit: int = Field(default=100, ge=1, le=MOST_SHOWN)


class EventPage(BaseModel):
    """Events, the latest first."""

    events: tuple[EventRecord, ...]
    next: str | None = Field(description="Where the next page begins; null where there is none.")


class EventChange(BaseModel):
    """What somebody says about an event."""

    model_config = ConfigDict(extra="forbid")

    state: EventState
    note: str | None = Field(default=None, max_length=MOST_NOTE, description="null: the note stays.")


class MarkList(BaseModel):
    """What people have said about an event, the oldest first."""

    marks: tuple[Mark, ...]


def _store(request: Request) -> EventStore:
    """The store; opened by the first request that needs it."""
    state = request.app.state
    with _lock:
        if not hasattr(state, "events"):
            state.events = EventStore.open(EventSettings())
        store: EventStore = state.events
        return store


Store = Annotated[EventStore, Depends(_store)]
EventId = Annotated[str, PathParameter(description="The event's id.")]


async def _on_missing(_: Request, exc: NoSuchEventError) -> Response:
    return Problem(404, "event", str(exc)).response()


async def _on_outage(_: Request, exc: DatabaseUnreachableError) -> Response:
    return Problem(503, "database", "the database of the events does not answer: try again later", RETRY).response()


HANDLERS: Handlers = {NoSuchEventError: _on_missing, DatabaseUnreachableError: _on_outage}


@router.get("", responses=problems(400))
def events(store: Store, query: Annotated[EventQuery, Query()]) -> EventPage:
    """Stored events, the latest first."""
    which = EventFilter(**{name: getattr(query, name) for name in EventFilter.model_fields})
    records = store.list(which, query.after, query.limit + 1)
    page = records[: query.limit]
    return EventPage(events=tuple(page), next=page[-1].cursor if len(records) > query.limit else None)


@router.get("/{event_id}", responses=problems(404))
def event(event_id: EventId, store: Store) -> EventRecord:
    """A stored event."""
    return store.get(event_id)


@router.patch("/{event_id}", responses=problems(400, 404, 408, 413, 415))
def mark_event(event_id: EventId, change: EventChange, request: Request, store: Store) -> EventRecord:
    """Say what an event was; the name of the key says who."""
    by = getattr(request.state, "key_name", None) or LOCAL
    return store.mark(event_id, change.state, by, change.note)


@router.get("/{event_id}/marks", responses=problems(404))
def event_marks(event_id: EventId, store: Store) -> MarkList:
    """Every change of an event by a person."""
    return MarkList(marks=tuple(store.marks(event_id)))


@router.get(
    "/{event_id}/picture",
    response_class=Response,
    responses=answer(200, "The picture at the event's peak.", **{"image/jpeg": BINARY})
    | answer(206, "A range of it.", **{"image/jpeg": BINARY})
    | problems(404),
)
def event_picture(event_id: EventId, store: Store) -> FileResponse:
    """The picture at the event's peak."""
    return _file(store.picture(event_id), "image/jpeg", "picture")


@router.get(
    "/{event_id}/clip",
    response_class=Response,
    responses=answer(200, "The footage around the event.", **{kind: BINARY for kind in _KINDS.values()})
    | answer(206, "A range of it.", **{kind: BINARY for kind in _KINDS.values()})
    | problems(404),
)
def event_clip(event_id: EventId, store: Store) -> FileResponse:
    """The footage around the event, as it was recorded; range requests are answered."""
    path = store.clip(event_id)
    return _file(path, _KINDS.get("" if path is None else path.suffix, "application/octet-stream"), "clip")


def _file(path: Path | None, kind: str, name: str) -> FileResponse:
    if path is None or not path.is_file():
        raise Problem(404, "event", f"this event has no {name}")
    return FileResponse(path, media_type=kind, headers=_PRIVATE)
