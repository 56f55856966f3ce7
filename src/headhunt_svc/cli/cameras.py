"""Commands on cameras.yaml: `headhunt cameras check`, `headhunt cameras status`."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer
from rich.table import Table

from headhunt_svc import paths
from headhunt_svc.cli.console import cell, clock, note, safe, wide
from headhunt_svc.cli.options import BundleFolder
from headhunt_svc.errors import EXIT_SOME_FAILED, EXIT_WRONG_USE, ArtifactError

if TYPE_CHECKING:
    from headhunt_svc.cameras.check import CheckedCamera
    from headhunt_svc.cameras.config import Camera, Cameras
    from headhunt_svc.cameras.status import CameraStatus
    from headhunt_svc.monitoring.verdicts import Verdict

app = typer.Typer()
cameras_app = typer.Typer(no_args_is_help=True, help="Cameras that are watched, as cameras.yaml describes them.")
app.add_typer(cameras_app, name="cameras")

T = TypeVar("T")
CamerasPath = Annotated[Path, typer.Option("--cameras", help="The file of cameras.")]


@cameras_app.command("check")
def check(
    cameras: CamerasPath = paths.CAMERAS,
    out: Annotated[Path, typer.Option(help="Folder for a picture of each camera, with its masks.")] = Path(
        "out/cameras"
    ),
    camera: Annotated[list[str] | None, typer.Option(help="Only this one; may be repeated.")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for a source to answer.")] = 10.0,
    bundle: BundleFolder = paths.BUNDLE,
) -> None:
    """Name all problems of the file, try each source, and draw its masks into a picture. Exit code 3: some failed."""
    fleet = _load(cameras, bundle)
    if camera:
        fleet = fleet.only(camera)
    from headhunt_svc.cameras.check import check_cameras, draw_masks, save_picture
    from headhunt_svc.names import CameraName

    n_bad = 0
    for checked in check_cameras(fleet, timeout):
        picture = None
        if checked.picture is not None:
            picture = out / f"{CameraName(checked.camera.name).folder}.png"
            save_picture(picture, draw_masks(checked.picture, checked.camera.masks))
        n_bad += checked.problem is not None
        print_checked(checked, picture)
    if n_bad:
        note(f"{n_bad} of {len(fleet)} cameras have problems")
        raise typer.Exit(EXIT_SOME_FAILED)


def _load(path: Path, bundle: Path) -> "Cameras":
    """The cameras of a file that has no problem; else all of them are printed, and the command ends."""
    from headhunt_svc.cameras.reload import CamerasFile

    return named_problems(path, lambda: CamerasFile(path, problems_with(bundle))).cameras


def named_problems(path: Path, load: Callable[[], T]) -> T:
    """What `load` makes of a file of cameras; if it cannot, every problem is printed, and the command ends."""
    from headhunt_svc.cameras.config import CamerasError

    try:
        return load()
    except CamerasError as exc:
        for problem in exc.problems:
            note(f"error: {path}: {problem}")
        raise typer.Exit(EXIT_WRONG_USE) from None


def problems_with(folder: Path) -> "Callable[[Cameras], list[str]]":
    """What cameras lack here: environment variables, and operating points of the bundle, if there is one yet."""
    from headhunt_svc.cameras.reload import unset_variables, unusable

    if not folder.exists():
        note(f"no bundle in {folder}: operating points were not checked (--bundle)")
        return unset_variables
    from headhunt_svc.detector.bundle import check_point, load_bundle

    def problems(cameras: "Cameras") -> list[str]:
        bundle, scorer = load_bundle(folder)  # each time: a link may point to another one by then

        def check(camera: "Camera") -> None:
            smoothing: Literal["offline", "causal"] = "offline" if camera.source.kind == "folder" else "causal"
            check_point(bundle, scorer, camera.operating_point, smoothing)

        return unset_variables(cameras) + unusable(cameras, "operating_point", check)

    return problems


def print_checked(checked: "CheckedCamera", picture: Path | None) -> None:
    """Prints a line for a camera: what its source says, or what is wrong; and where its picture is."""
    word = "[red]fails[/red]" if checked.problem else "[green]good[/green]"
    says = checked.problem or f"{checked.camera.source.shown}: {checked.says}"
    where = f" -> {safe(picture)}" if picture else ""
    wide().print(f"{word}  [bold]{safe(checked.camera.name)}[/bold]  {safe(says)}{where}", soft_wrap=True)


@cameras_app.command("status")
def status(
    cameras: CamerasPath = paths.CAMERAS,
    states: Annotated[Path, typer.Option(help="Where the process that watches writes how cameras are.")] = (
        paths.CAMERA_STATES
    ),
    monitor: Annotated[Path, typer.Option(help="The monitor's folder, for drift and baselines.")] = paths.MONITOR,
    json: Annotated[bool, typer.Option("--json", help="Print JSON lines instead of a table.")] = False,
) -> None:
    """Show how every camera is: last picture, lag, coverage, last event, drift, baseline. Exit code 3: not all good."""
    from headhunt_svc.cameras.config import load_cameras
    from headhunt_svc.cameras.drift import active_baselines, latest_verdict
    from headhunt_svc.cameras.status import CameraStatus, load_state, status_of

    now = datetime.now(UTC)
    rows: list[CameraStatus] = []
    for camera in load_cameras(cameras).each():
        try:
            rows.append(status_of(camera, load_state(states, camera.name), now))
        except ArtifactError as exc:  # one camera's file hides no other camera
            note(str(exc))
            rows.append(CameraStatus(camera, "not known"))
    verdict, is_damaged, baselines = None, False, active_baselines(monitor)
    try:
        verdict = latest_verdict(monitor)
    except ArtifactError as exc:  # how cameras are does not depend on it
        note(f"{exc}; what it says of drift is not known")
        is_damaged = True
    if json:
        for row in rows:
            print(row.as_json(verdict, baselines))
    else:
        print_status(rows, verdict, baselines)
    if is_damaged or not all(row.is_good for row in rows):
        raise typer.Exit(EXIT_SOME_FAILED)


def print_status(rows: Sequence["CameraStatus"], verdict: "Verdict | None", baselines: dict[str, str]) -> None:
    """Prints a table with a row for each camera; times are those of the camera's zone."""
    table = Table("camera", "state", "last picture", "lag s", "coverage", "last event", "drift", "baseline")
    for row in rows:
        drift = None if verdict is None else verdict.cameras.get(row.camera.name)
        event = None if row.state is None else row.state.last_event
        colour = "green" if row.is_good else "red"
        problem = f": {row.state.problem}" if row.state is not None and row.state.problem else ""
        table.add_row(
            safe(row.camera.name),
            f"[{colour}]{safe(row.word + problem)}[/{colour}]",
            "-" if row.silent_s is None else f"{clock(row.silent_s)} ago",
            cell(row.lag_s, 1),
            "-" if row.coverage is None else f"{row.coverage:.1%}",
            "-"
            if event is None
            else f"{event.start.astimezone(row.camera.zone):%Y-%m-%d %H:%M:%S %Z} {event.score:.2f}",
            "-" if drift is None else safe(drift.word),
            safe(baselines.get(row.camera.name, "-")),
        )
    wide().print(table)
