"""`headhunt bundles shadow | compare | check`: a candidate beside the bundle in use, and what happens by itself."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from headhunt_svc import paths
from headhunt_svc.cli.bundle import CameraFile, DeployedFolder, Reason, bundles_app
from headhunt_svc.cli.console import cell, note, safe, wide
from headhunt_svc.cli.feedback import merging_of
from headhunt_svc.detector.bundle import load_bundle
from headhunt_svc.detector.deployments import Deployed
from headhunt_svc.errors import ConfigError, HeadHuntError
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
    cameras: CameraFile = None,
) -> None:
    """Compare the candidate with the bundle in use, over the segments that both have scored and logged."""
    from headhunt_svc.feedback.compare import lines

    comparison = compared(Deployed(deployed), log, days, cameras)
    if as_json:
        for line in lines(comparison):
            typer.echo(json.dumps(line))
        return
    print_comparison(comparison)


@bundles_app.command("check")
def bundles_check(
    every: Annotated[float | None, typer.Option(min=0.1, help="Check again every so many minutes.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    log: LogPlace = None,
    deployed: DeployedFolder = paths.DEPLOYED,
    cameras: CameraFile = None,
) -> None:
    """Roll back or promote as deployed/rules.yaml says; without that file nothing happens by itself."""
    from headhunt_svc.feedback.rules import load_rules

    load_rules(deployed)  # files that cannot be used end the command when it starts
    merging_of(cameras, 0)
    while True:
        try:
            _check(Deployed(deployed), log, dry_run, cameras)
        except HeadHuntError as exc:
            if every is None:
                raise
            note(f"error: {exc}")
        if every is None:
            return
        time.sleep(60 * every)


def _check(place: Deployed, log: str | None, dry_run: bool, cameras: Path | None) -> None:
    """One look at the rules; says what was found, and acts once at most."""
    from headhunt_svc.events.records import EventFilter, EventState
    from headhunt_svc.events.store import EventStore
    from headhunt_svc.feedback.proof import load_proof
    from headhunt_svc.feedback.rules import judge_promotion, judge_rollback, load_rules

    rules, history = load_rules(place.log.parent), place.history()
    if rules.rollback is None and rules.promotion is None:
        note(f"no rules in {place.log.parent}: nothing happens by itself")
        return
    if rules.rollback is not None:
        with EventStore.open(EventSettings()) as store:

            def marks(detector_id: str) -> int:
                false_alarms = EventFilter(detector_id=detector_id, state=EventState.FALSE_ALARM, questions=False)
                n, after = 0, None
                while page := store.list(false_alarms, after=after):
                    n, after = n + len(page), page[-1].cursor
                return n

            decision = judge_rollback(history, marks, datetime.now(UTC), rules.rollback)
        note(decision.why)
        if decision.act is not None:
            if not dry_run:
                typer.echo(place.rollback(None, decision.why).detector_id)
            return
    since = place.shadow_since()
    if rules.promotion is None or since is None:
        return
    age = datetime.now(UTC) - datetime.fromisoformat(since)

    def both() -> tuple[int, int]:
        comparison = compared(place, log, max(age.total_seconds() / 86_400, 1e-6), cameras)
        return comparison.days, comparison.events

    candidate = load_bundle(place.candidate)[0].detector_id
    decision = judge_promotion(history, candidate, load_proof(place.candidate.resolve()), both, rules.promotion)
    note(decision.why)
    if decision.act is not None and not dry_run:
        typer.echo(place.activate_candidate(decision.why))


def compared(place: Deployed, log: str | None, days: float, cameras: Path | None) -> "Comparison":
    """The bundle in use and its candidate over the last days. cameras: what --cameras names.

    Raises:
        ConfigError: there is no candidate, no prediction log, or no such file of cameras.
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
    merges = merging_of(cameras, settings.merge_s)
    if settings.database is None and not (settings.folder / "events.sqlite").exists():
        return compare(uri, active, candidate, start, now, None, merges)
    with EventStore.open(settings) as store:
        return compare(uri, active, candidate, start, now, store, merges)


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
