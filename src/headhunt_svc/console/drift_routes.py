"""Routes of drift: all cameras, and one camera's verdict."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Form, Query
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from headhunt_svc.console import drift, words
from headhunt_svc.console.clock import moment
from headhunt_svc.console.comparing import compare
from headhunt_svc.console.desk import Desk
from headhunt_svc.console.event_routes import Author, TheDesk, ThePages
from headhunt_svc.console.learning_routes import judged_again
from headhunt_svc.console.links import events_page, questions_page
from headhunt_svc.events.records import EventFilter, EventRecord
from headhunt_svc.feedback.asking import OF_WINDOW, ask, of_window
from headhunt_svc.monitoring.remedies import LEARNT_FROM
from headhunt_svc.monitoring.verdicts import FLEET, PAGE, Verdict
from headhunt_svc.names import CameraName

router = APIRouter(prefix="/drift")
EXAMPLES = 6


@router.get("")
def all_cameras(request: Request, desk: TheDesk, pages: ThePages, days: str = "14") -> Response:
    """Value over limit of every signal of every camera."""
    desk.refresh()
    if days not in drift.SPANS:
        raise HTTPException(404, f"days is one of {', '.join(drift.SPANS)}")
    grid = desk.grid(days)
    return pages.show(
        request, "drift.html", grid=grid, days=days, spans=tuple(drift.SPANS), signals=words.ALL_SIGNALS,
        problems=desk.history.problems, evidently=desk.places.evidently, page="drift",
    )  # fmt: skip


@router.get("/camera")
def camera(
    request: Request,
    desk: TheDesk,
    pages: ThePages,
    name: Annotated[str, Query(alias="camera")],
    window: str | None = None,
) -> Response:
    """What the monitor says of a camera, why, and what to do."""
    desk.refresh()
    run = desk.history.latest if window is None else desk.history.run(window)
    verdict = None if run is None else run.cameras.get(name)
    if run is None or verdict is None:
        raise HTTPException(404, "the monitor's verdicts of the last 30 days do not name this camera there")
    zone = desk.zone if name == FLEET else desk.fleet.zone_of(name)
    compared = None
    if name != FLEET and verdict.baseline and run.detector_id:
        compared = compare(
            desk.places, name, run.start, run.stop, run.detector_id, verdict.baseline, desk.history.version
        )
    steps = words.remedy(verdict.kind, name, verdict.since, events_page(name)) if verdict.kind else ()
    return pages.show(
        request,
        "camera.html",
        name=name,
        run=run,
        verdict=verdict,
        moved=drift.moved(verdict),
        steps_list=steps,
        since=None if verdict.since is None else moment(verdict.since, zone, False),
        start=moment(run.start, zone, False),
        stop=moment(run.stop, zone, False),
        compared=compared,
        before=_pictures(desk, name, compared.start, compared.stop) if compared is not None else [],
        after=_pictures(desk, name, run.start, run.stop) if name != FLEET else [],
        around=_around(desk, run),
        archived=_archived(desk, run),
        is_fleet=name == FLEET,
        zone=zone,
        window=window or "",
        n_questions=OF_WINDOW,
        can_learn=verdict.kind in LEARNT_FROM and name != FLEET,
        again=judged_again(desk, name, run.stop),
        page="drift",
    )


@router.get("/archive")
def archive(desk: TheDesk, window: str) -> Response:
    """Evidently's page of a window, as a file to keep: its scripts would not run here (console/guard.py)."""
    desk.refresh()
    path = desk.places.verdicts / window / PAGE
    if window not in {judged.folder for judged in desk.history.windows} or not path.is_file():
        raise HTTPException(404, "Evidently has written no page of this window")
    return FileResponse(path, media_type="text/html", filename=f"drift-{window}.html")


@router.post("/questions")
def label_segments(
    desk: TheDesk, by: Author, camera: Annotated[str, Form()], window: Annotated[str, Form()] = ""
) -> Response:
    """Choose segments of a camera's window whose label would teach most, and ask about them."""
    desk.refresh()
    run = desk.history.run(window) if window else desk.history.latest
    if run is None or camera == FLEET or camera not in run.cameras:
        raise HTTPException(404, "the monitor's verdicts of the last 30 days do not name this camera there")
    request = of_window(CameraName(camera), run.start, run.stop)
    ask(desk.sources, request, datetime.now(UTC))
    return RedirectResponse(questions_page(request.name), 303)


def _pictures(desk: Desk, camera: str, start: datetime | None, stop: datetime | None) -> list[EventRecord]:
    """Events with pictures of a camera between two times."""
    if start is None or stop is None:
        return []
    events = desk.events.list(EventFilter(camera=camera, since=start, until=stop, questions=False), limit=4 * EXAMPLES)
    return [event for event in events if event.picture][:EXAMPLES]


def _around(desk: Desk, run: Verdict) -> tuple[str | None, str | None]:
    """The folders of the windows before and behind this one."""
    windows = desk.history.windows
    index = next((i for i, window in enumerate(windows) if window.stop == run.stop), None)
    if index is None:
        return None, None
    earlier = windows[index - 1].folder if index else None
    return earlier, windows[index + 1].folder if index + 1 < len(windows) else None


def _archived(desk: Desk, run: Verdict) -> str | None:
    """The folder of a window of which Evidently's page was written."""
    folder = next((window.folder for window in desk.history.windows if window.stop == run.stop), None)
    return folder if folder is not None and (desk.places.verdicts / folder / PAGE).is_file() else None
