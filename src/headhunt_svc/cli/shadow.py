"""`headhunt bundles shadow | compare`: a candidate beside the bundle in use."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from headhunt_svc import paths
from headhunt_svc.cli.bundle import DeployedFolder, Reason, bundles_app
from headhunt_svc.cli.console import cell, note, safe, wide
from headhunt_svc.detector.bundle import load_bundle
from headhunt_svc.detector.deployments import Deployed
from headhunt_svc.errors import ConfigError
from headhunt_svc.settings import EventSettings, Settings

if TYPE_CHECKING:
    from headhunt_svc.feedback.compare import Comparison

LogPlace = Annotated[str | None, typer.Option("--log", help="Prediction log; default: HEADHUNT_PREDICTION_LOG.")]
MOST_FLIPS = 20  # that are printed; --json has all


@bundles_app.command("shadow")
def bundles_shadow(
    bundle: Annotated[Path | None, typer.Argument(help="The bundle; its features are those of the one in use.")] = None,
    stop: Annotated[bool, typer.Option("--stop", help="Score no candidate any more.")] = False,
    why: Reason = "",
    deployed: DeployedFolder = paths.DEPLOYED,
) -> None:
    """Score a candidate beside the bundle in use, or stop that: deployed/candidate; it changes no report or event."""
    if stop == (bundle is not None):
        raise typer.BadParameter("give a bundle, or --stop")
    place = Deployed(deployed)
    typer.echo(place.stop_shadow(why) if bundle is None else place.shadow(bundle, why))


@bundles_app.command("compare")
def bundles_compare(
    days: Annotated[float, typer.Option(min=0.01, help="The last days that are compared.")] = 7,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON a camera, with all flips.")] = False,
    log: LogPlace = None,
    deployed: DeployedFolder = paths.DEPLOYED,
) -> None:
    """Compare the candidate with the bundle in use, over the segments that both have scored and logged."""
    from headhunt_svc.feedback.compare import lines

    comparison = compared(Deployed(deployed), log, days)
    if as_json:
        for line in lines(comparison):
            typer.echo(json.dumps(line))
        return
    print_comparison(comparison)


def compared(place: Deployed, log: str | None, days: float) -> "Comparison":
    """The bundle in use and its candidate over the last days.

    Raises:
        ConfigError: there is no candidate, or no prediction log.
    """
    for link in (place.current, place.candidate):
        if not link.is_symlink():
            raise ConfigError(f"there is no {link}: see `headhunt bundles activate` and `shadow`")
    uri = log or Settings().prediction_log
    if uri is None:
        raise ConfigError("no prediction log: set HEADHUNT_PREDICTION_LOG, or name it with --log")
    from headhunt_svc.events.store import EventStore
    from headhunt_svc.feedback.compare import compare

    active, candidate = (load_bundle(link)[0].detector_id for link in (place.current, place.candidate))
    settings, now = EventSettings(), datetime.now(UTC)
    start = now - timedelta(days=days)
    if settings.database is None and not (settings.folder / "events.sqlite").exists():
        return compare(uri, active, candidate, start, now, None, settings.merge_s)
    with EventStore.open(settings) as store:
        return compare(uri, active, candidate, start, now, store, settings.merge_s)


def print_comparison(comparison: "Comparison") -> None:
    """Prints a row a camera, and the first flips."""
    table = Table("camera", "compared", "hours", "agree", "events", "candidate's", "a day", "candidate's", "only one")
    for camera in comparison.cameras:
        active, candidate = camera.per_day
        only = ", ".join(
            f"{n} {whose}" for n, whose in ((camera.active_only, "in use"), (camera.candidate_only, "candidate")) if n
        )
        table.add_row(
            safe(camera.camera),
            str(camera.segments),
            f"{camera.hours:.2f}",
            cell(camera.agreement),
            str(camera.events_active),
            str(camera.events_candidate),
            cell(active, 1),
            cell(candidate, 1),
            only,
        )
    console = wide()
    console.print(f"in use {comparison.active}, candidate {comparison.candidate}, {comparison.days} days with both")
    console.print(table if comparison.cameras else "no segments of either in this time")
    flips = [flip for camera in comparison.cameras for flip in camera.flips]
    for flip in flips[:MOST_FLIPS]:
        would = "would be gone" if flip.of == "active" else "would be new"
        peaks = f"peak {flip.peak_active:.3f}, candidate's {flip.peak_candidate:.3f}"
        where = f"{flip.video_id} {flip.start_s:.1f}-{flip.stop_s:.1f} s"
        console.print(
            f"{flip.time:%Y-%m-%d %H:%M:%S}  {safe(where)}  {would}: {peaks}  {flip.event_id or ''}", soft_wrap=True
        )
    if len(flips) > MOST_FLIPS:
        note(f"and {len(flips) - MOST_FLIPS} more: --json")
