"""What `headhunt recalibrate --from-events` does and prints."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer
from rich.table import Table

from headhunt_svc import paths
from headhunt_svc.cli.console import cell, note, safe, wide
from headhunt_svc.cli.events import time_of
from headhunt_svc.cli.options import cameras_file, check_bundle
from headhunt_svc.detector.deployments import Deployed
from headhunt_svc.errors import EXIT_TOO_FEW_MARKS, EXIT_WORSE, ArtifactError, ConfigError
from headhunt_svc.names import CameraName
from headhunt_svc.params import load_params
from headhunt_svc.settings import EventSettings, Settings
from headhunt_svc.storage.store import Store

if TYPE_CHECKING:
    from headhunt_svc.feedback.proof import Change, Proof

DAYS = 7  # of the log that a proof replays
CURRENT = paths.DEPLOYED / "current"


class MarkOptions(NamedTuple):
    """The options of --from-events: which marks count, what the proof replays, and whose alarms it judges again."""

    cameras: tuple[str, ...]
    since: str | None
    without: tuple[str, ...]
    log: str | None
    days: int | None
    monitor: Path | None
    window: str | None
    config: Path | None
    camera_file: Path | None


def merging_of(named: Path | None, default_s: float) -> Callable[[str], float]:
    """Seconds by camera below which two events are one. named: by --cameras; default_s: see cameras.config.merging."""
    from headhunt_svc.cameras.config import merging
    from headhunt_svc.cli.cameras import named_problems

    path = cameras_file(named)
    return named_problems(path or paths.CAMERAS, lambda: merging(path, default_s))


def recalibrate_from_events(
    params: Path, bundle: Path | None, out: Path, labels: Path | None, options: MarkOptions
) -> None:
    """Correct cameras by marks of their events, as a new bundle; prints its proof.

    Raises:
        typer.Exit: the bundle is there, and its proof says that it is worse, or that there are too few marks.
    """
    from headhunt_svc.events.store import EventStore
    from headhunt_svc.feedback.judged_again import Monitored
    from headhunt_svc.feedback.loop import Replayed, recalibrated_with_proof
    from headhunt_svc.feedback.marks import MarkQuery
    from headhunt_svc.feedback.project import Project
    from headhunt_svc.feedback.proof import Verdict
    from headhunt_svc.monitoring.config import load_drift

    folder = bundle or (CURRENT if CURRENT.exists() else paths.BUNDLE)
    check_bundle(folder)
    query = MarkQuery(
        tuple(CameraName(name) for name in options.cameras), time_of("--since", options.since), options.without
    )
    log = options.log or Settings().prediction_log
    project = Project(corrections=labels)
    used = tuple(dict.fromkeys(version.folder for version in Deployed(paths.DEPLOYED).history()))
    monitored, no_windows, limits = None, None, options.config or paths.DRIFT
    if log:
        if options.config is not None:  # what is named must be right; without limits nothing is judged again
            load_drift(options.config)
        if options.monitor is not None and not options.monitor.is_dir():
            raise ConfigError(f"--monitor {options.monitor}: there is no such folder")
        try:
            monitored = Monitored.load(options.monitor or paths.MONITOR, options.window, limits, Store(log))
        except ArtifactError as exc:
            if options.window is not None:
                raise
            no_windows = str(exc)  # the proof says so: nothing else in it comes from the monitor
    elif (options.window, options.monitor, options.config) != (None, None, None):
        raise ConfigError("--monitor, --window and --config judge rows of the prediction log again: name it with --log")
    settings = EventSettings()
    merges = merging_of(options.camera_file, settings.merge_s)
    replayed = Replayed(
        Store(log) if log else None, options.days or DAYS, monitored=monitored, no_windows=no_windows, merging=merges
    )
    with EventStore.open(settings) as store:
        proof = recalibrated_with_proof(load_params(params), store, project, folder, out, query, replayed, used)
    print_proof(proof)
    note(f"detector {proof.detector_id}: {out}, from {folder}; `headhunt bundles activate {out}` puts it to use")
    if proof.verdict == Verdict.WORSE:
        raise typer.Exit(EXIT_WORSE)
    if proof.verdict == Verdict.TOO_FEW:
        raise typer.Exit(EXIT_TOO_FEW_MARKS)


def _row(change: "Change") -> tuple[str, str, str]:
    interval = "" if change.low is None or change.high is None else f" [{change.low:+.3f}, {change.high:+.3f}]"
    return cell(change.before), cell(change.after), f"{change.difference:+.3f}{interval}"


def _rows(proof: "Proof") -> Iterator[tuple[str, str, str, str]]:
    """What was measured: before, after, and the difference with its interval."""
    for split in proof.test:
        where = f"{split.videos} test videos as {split.camera}"
        yield f"ROC-AUC, {where}", *_row(split.roc_auc)
        yield f"AP, {where}", *_row(split.average_precision)
        yield f"found spans, {where}", *_row(split.found)
        for kind, change in split.kinds.items():
            yield f"  ROC-AUC of {kind}", *_row(change)
            yield f"  found spans of {kind}", *_row(split.kinds_found[kind])
    for day in proof.held_out:
        what = "confirmed or missed" if day.anomalous else "false alarms"
        name = f"{day.events} {what}, {day.camera}, {day.day}: alarms"
        yield name, str(day.alarms_before), str(day.alarms_after), f"{day.alarms_after - day.alarms_before:+d}"
    for of_day in proof.days:
        name = f"events, {of_day.camera}, {of_day.day} ({of_day.hours:.1f} h)"
        yield name, str(of_day.before), str(of_day.after), f"{of_day.after - of_day.before:+d}"


def print_proof(proof: "Proof") -> None:
    """Prints what a recalibrated bundle changes, and the verdict."""
    table = Table("", "before", "after", "change [95 %]")
    for row in _rows(proof):
        table.add_row(*map(safe, row))
    wide().print(table)
    if proof.flips:
        flips = Table("marked event", "camera", "start (UTC)", "marked as", "peak", "now", "alarms", "picture")
        for flip in proof.flips:
            alarms = "no more" if flip.alarms_before else "now"
            peaks = cell(flip.peak_before, 2), cell(flip.peak_after, 2)
            start = f"{flip.start:%Y-%m-%d %H:%M:%S}"
            cells = (flip.event_id, flip.camera, start, flip.state, *peaks, alarms, flip.picture or "-")
            flips.add_row(*map(safe, cells))
        wide().print(flips)
    for why in filter(None, dict.fromkeys((proof.no_test, proof.no_days, proof.no_windows))):
        note(f"not measured: {why}")
    for sentence in proof.sentences:
        typer.echo(sentence)
    more = "" if proof.more_marks is None else f", about {proof.more_marks} more"
    typer.echo(f"verdict: {proof.verdict}{more}")
