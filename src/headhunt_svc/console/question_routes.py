"""Routes of questions: "normal or not?", one at a time, each answered with one key."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Form, Query
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from headhunt_svc.console import event as event_page
from headhunt_svc.console.desk import Desk
from headhunt_svc.console.event_routes import Author, TheDesk, ThePages
from headhunt_svc.console.links import questions_page
from headhunt_svc.events.records import EventState
from headhunt_svc.feedback.asking import Questions, ask, load_questions, of_day
from headhunt_svc.monitoring.verdicts import folder_name

router = APIRouter(prefix="/events/questions")
ANSWERS = {
    "normal": EventState.FALSE_ALARM,
    "not_normal": EventState.CONFIRMED,
    "unknown": EventState.ACKNOWLEDGED,
    "undo": EventState.NEW,
}


@router.get("")
def questions(
    request: Request,
    desk: TheDesk,
    pages: ThePages,
    name: Annotated[str, Query(alias="set")] = "",
    last: str = "",
) -> Response:
    """The first question that is open. name: of the set; by default that of today, chosen when first asked for."""
    question_set = _of_name(desk, name) if name else _of_today(desk)
    current = next(iter(question_set.open), None)
    shown = None if current is None else current.event
    return pages.show(
        request,
        "questions.html",
        asked=question_set,
        zone=desk.fleet.zone_of(question_set.set.camera) if question_set.set.camera else desk.zone,
        current=current,
        last=next((question for question in question_set.questions if question.event.id == last), None),
        clip=None if shown is None else event_page.clip_of(desk.events.clip(shown.id)),
        window=_window(desk, question_set),
        timeline=None if shown is None else event_page.timeline(desk.log, shown, None, shown.time_zone),
        page="events",
    )


@router.post("/{event_id}")
def answer(
    event_id: str,
    by: Author,
    desk: TheDesk,
    name: Annotated[str, Form(alias="set")],
    answer: Annotated[str, Form()],
) -> Response:
    """Answer a question, or take the answer back."""
    question_set = _of_name(desk, name)
    if answer not in ANSWERS or event_id not in {question.event.id for question in question_set.questions}:
        raise HTTPException(404, "there is no such question, or no such answer")
    desk.events.mark(event_id, ANSWERS[answer], by)
    return RedirectResponse(questions_page(name, None if answer == "undo" else event_id), 303)


def _window(desk: Desk, asked: Questions) -> str:
    """The folder of the monitor's window that a set of questions is about; empty where it is about none."""
    desk.refresh()
    name = folder_name(asked.set.until)
    return name if asked.set.camera and desk.history.run(name) is not None else ""


def _of_today(desk: Desk) -> Questions:
    now = datetime.now(UTC)
    return ask(desk.sources, of_day(now, desk.events.settings), now)


def _of_name(desk: Desk, name: str) -> Questions:
    question_set = load_questions(desk.events, name)
    if question_set is None:
        raise HTTPException(404, "nobody was asked these questions")
    return question_set
