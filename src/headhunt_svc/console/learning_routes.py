"""Routes of learning from marks: start it, its progress, the proof of a new bundle, use it, go back."""

import re
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Form
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from headhunt_svc import paths
from headhunt_svc.console.desk import Desk
from headhunt_svc.console.event_routes import Author, TheDesk, ThePages
from headhunt_svc.console.links import proof_page
from headhunt_svc.console.pages import Pages
from headhunt_svc.detector.deployments import Deployed
from headhunt_svc.errors import ArtifactError, ConfigError
from headhunt_svc.events.store import NoSuchEventError
from headhunt_svc.feedback.proof import JudgedAgain, Proof, Verdict, load_proof
from headhunt_svc.names import CameraName

router = APIRouter(prefix="/events")
_NAME = re.compile(r"\d{8}T\d{6}")
MOST_WHY = 500
MOST_PROOFS = 20  # the latest ones, that are looked through for a window
FIRST = "in use before a bundle that had learnt from marks"


@router.get("/learn")
def learn(request: Request, desk: TheDesk, pages: ThePages, camera: str = "") -> Response:
    """How many marks there are, and how far learning from them is."""
    return _learn(request, desk, pages, camera)


def _learn(request: Request, desk: Desk, pages: Pages, camera: str, problem: str = "") -> Response:
    progress = desk.learning.progress
    has_proof = progress is not None and load_proof(desk.learning.folder / progress.name) is not None
    return pages.show(
        request, "learn.html", 409 if problem else 200, progress=progress, has_proof=has_proof, n=desk.n_marks(camera),
        camera=camera, proofs=_names(desk), active=desk.places.active, zone=desk.zone, problem=problem, page="events",
    )  # fmt: skip


@router.post("/learn")
def start(
    request: Request,
    by: Author,
    desk: TheDesk,
    pages: ThePages,
    camera: Annotated[str, Form()] = "",
    window: Annotated[str, Form()] = "",
) -> Response:
    """Learn from all marks, or from those of one camera. window: of the monitor, whose alarms are judged again."""
    places = desk.places
    options = ["--bundle", str(places.active), "--log", places.log]
    if places.monitor.is_dir():  # what is named must be there; a console may be older than the first verdict
        options += ["--monitor", str(places.monitor)]
    if places.cameras != paths.CAMERAS:
        options += ["--cameras", str(places.cameras)]
    if places.drift != paths.DRIFT:
        options += ["--config", str(places.drift)]
    if camera:
        options += [f"--camera={CameraName(camera)}"]
    if window:
        desk.refresh()
        if desk.history.run(window) is None:
            raise HTTPException(404, "the monitor has no verdict of that window")
        options += ["--window", window]
    try:
        desk.learning.start(options, by)
    except ConfigError as exc:
        return _learn(request, desk, pages, camera, str(exc))
    return RedirectResponse("/events/learn", 303)


@router.get("/proof")
def proof(request: Request, desk: TheDesk, pages: ThePages, bundle: str = "") -> Response:
    """What a new bundle changes. bundle: name of its folder; by default the latest."""
    return _proof(request, desk, pages, bundle or next(iter(_names(desk)), ""))


def _proof(request: Request, desk: Desk, pages: Pages, name: str, problem: str = "", status: int = 200) -> Response:
    shown, folder = _load(desk, name)
    active = _active(desk)
    return pages.show(
        request, "proof.html", status, proof=shown, name=name, folder=folder, active=active,
        is_active=active == shown.detector_id, is_worse=shown.verdict == Verdict.WORSE, pictures=_pictures(desk, shown),
        can_go_back=_can_go_back(desk), problem=problem, page="events",
    )  # fmt: skip


@router.post("/proof/activate")
def activate(
    request: Request,
    by: Author,
    desk: TheDesk,
    pages: ThePages,
    bundle: Annotated[str, Form()],
    why: Annotated[str, Form()] = "",
) -> Response:
    """Use a bundle from now on; one that is worse is refused."""
    shown, folder = _load(desk, bundle)
    if shown.verdict == Verdict.WORSE:
        return _proof(request, desk, pages, bundle, "It is worse, so it is not used here.", 409)
    deployed = Deployed(desk.places.deployed, by)
    try:
        if not deployed.current.exists():  # so that there is something to go back to
            deployed.activate(desk.places.bundle, FIRST)
        deployed.activate(folder, why.strip()[:MOST_WHY])
    except (ArtifactError, ConfigError) as exc:
        return _proof(request, desk, pages, bundle, str(exc), 409)
    return RedirectResponse(proof_page(bundle), 303)


@router.post("/proof/rollback")
def rollback(
    request: Request,
    by: Author,
    desk: TheDesk,
    pages: ThePages,
    bundle: Annotated[str, Form()],
    why: Annotated[str, Form()] = "",
) -> Response:
    """Use the bundle before the one in use again."""
    try:
        Deployed(desk.places.deployed, by).rollback(None, why.strip()[:MOST_WHY])
    except (ArtifactError, ConfigError) as exc:
        return _proof(request, desk, pages, bundle, str(exc), 409)
    return RedirectResponse(proof_page(bundle), 303)


def judged_again(desk: Desk, camera: str, stop: datetime) -> tuple[str, JudgedAgain] | None:
    """What the latest bundle that was made for a camera's window says of it, and the name of its folder."""
    for name in _names(desk)[:MOST_PROOFS]:
        shown = None
        with suppress(ArtifactError):  # its own page says that it is damaged
            shown = load_proof(desk.learning.folder / name)
        for window in () if shown is None else shown.windows:
            if window.camera == camera and window.stop == stop:
                return name, window
    return None


def _names(desk: Desk) -> list[str]:
    """Folders of bundles that have learnt from marks, the latest first."""
    folder = desk.learning.folder
    names = (path.name for path in folder.iterdir()) if folder.is_dir() else ()
    return sorted((name for name in names if _NAME.fullmatch(name)), reverse=True)


def _load(desk: Desk, name: str) -> tuple[Proof, Path]:
    folder = desk.learning.folder / name
    shown = load_proof(folder) if _NAME.fullmatch(name) else None
    if shown is None:
        raise HTTPException(404, "there is no proof of this name: learn from marks first")
    return shown, folder


def _active(desk: Desk) -> str | None:
    """Id of the deployed detector; None where none is deployed."""
    return next((version.detector_id for version in Deployed(desk.places.deployed).history() if version.active), None)


def _can_go_back(desk: Desk) -> bool:
    return len({version.detector_id for version in Deployed(desk.places.deployed).history()}) > 1


def _pictures(desk: Desk, shown: Proof) -> set[str]:
    """The events that the proof names and that have a picture."""
    ids = {flip.event_id for flip in shown.flips} | set(shown.outvoted)
    pictures = set()
    for event_id in ids:
        try:
            if desk.events.get(event_id).picture:
                pictures.add(event_id)
        except NoSuchEventError:  # deleted since
            continue
    return pictures
