"""`headhunt events questions`: which segments to label, because their label would teach most."""

import json as json_lib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from headhunt_svc import paths
from headhunt_svc.cli.console import note, safe, wide
from headhunt_svc.cli.events import Since, Until, events_app, open_store, time_of
from headhunt_svc.cli.options import BundleFolder, cameras_file
from headhunt_svc.names import CameraName
from headhunt_svc.notify.messages import both_times
from headhunt_svc.settings import Settings
from headhunt_svc.types import Polygon

if TYPE_CHECKING:
    from headhunt_svc.feedback.asking import Questions


@events_app.command("questions")
def questions(
    camera: Annotated[str | None, typer.Option(help="About this camera, between --since and --until.")] = None,
    since: Since = None,
    until: Until = None,
    number: Annotated[int, typer.Option(min=1, max=200, help="With --camera: how many.")] = 20,
    bundle: BundleFolder = paths.BUNDLE,
    cameras: Annotated[
        Path | None, typer.Option("--cameras", help="The file of cameras: masks, time zones; default: cameras.yaml.")
    ] = None,
    log: Annotated[
        str | None, typer.Option(help="The prediction log; default: HEADHUNT_PREDICTION_LOG, or that of the monitor.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON lines.")] = False,
) -> None:
    """Segments whose label would teach most today; answer with `events mark ID false_alarm` (normal) or `confirmed`."""
    if camera is None and (since or until):
        raise typer.BadParameter("--since and --until need --camera")
    from headhunt_svc.feedback.asking import ask, of_day, of_window
    from headhunt_svc.feedback.candidates import Sources
    from headhunt_svc.storage.store import Store

    now = datetime.now(UTC)
    masks, zone_of = _cameras(cameras_file(cameras))
    place = log or Settings().prediction_log or str(paths.MONITOR / "log")
    with open_store() as store:
        request = of_day(now, store.settings)
        if camera is not None:
            stop = time_of("--until", until) or now
            start = time_of("--since", since) or stop - timedelta(days=1)
            request = of_window(CameraName(camera), start, stop, number)
        sources = Sources(store, Store(place), bundle, masks, lambda name: zone_of(name) or store.settings.time_zone)
        asked = ask(sources, request, now)
    if json:
        for question in asked.questions:
            row = question.stored.model_dump(mode="json") | {"event": question.event.model_dump(mode="json")}
            typer.echo(json_lib.dumps(row))
    else:
        print_questions(asked)


def _cameras(path: Path | None) -> tuple[Callable[[str], tuple[Polygon, ...]], Callable[[str], str | None]]:
    """Masks and time zone of a camera. path: None: neither is known. Raises ConfigError: it cannot be used."""
    from headhunt_svc.cameras.config import Cameras, load_cameras

    cameras = Cameras(cameras=()) if path is None else load_cameras(path)

    def masks(name: str) -> tuple[Polygon, ...]:
        camera = cameras.get(name)
        return () if camera is None else camera.masks

    def zone(name: str) -> str | None:
        camera = cameras.get(name)
        return None if camera is None else camera.time_zone

    return masks, zone


def print_questions(asked: "Questions") -> None:
    """Prints one line for each question, and what could not be asked about."""
    table = Table("id", "start", "camera", "score", "state", "why", box=None, header_style="bold")
    for question in asked.questions:
        e = question.event
        cells = (e.id, both_times(e.start, e.time_zone), e.camera, f"{e.score:.2f}", e.state, question.stored.words)
        table.add_row(*map(safe, cells))
    wide().print(table if asked.questions else "nothing to ask")
    for why, n in asked.set.left_out.items():
        note(f"left out, {n}: {why}")
