"""Commands on drift: `headhunt monitor ...`."""

import json as json_lib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from headhunt_svc import paths
from headhunt_svc.cli.console import note, safe, wide
from headhunt_svc.cli.options import BundleFolder, DriftFile
from headhunt_svc.errors import EXIT_DRIFT, ConfigError
from headhunt_svc.settings import EventSettings, Settings
from headhunt_svc.storage.files import write_json

if TYPE_CHECKING:
    from headhunt_svc.monitoring.silence import Expected
    from headhunt_svc.monitoring.verdicts import Verdict

app = typer.Typer()
monitor_app = typer.Typer(no_args_is_help=True, help="Drift of scores, heads and prompts (docs/operations.md).")
app.add_typer(monitor_app, name="monitor")

LogFolder = Annotated[str | None, typer.Option(help="The prediction log; default: HEADHUNT_PREDICTION_LOG.")]
BaselinesFolder = Annotated[Path, typer.Option(help="Folder of the cameras' baselines.")]
WorkspaceFolder = Annotated[Path, typer.Option(help="Evidently's workspace.")]


def _log_folder(option: str | None) -> str:
    """The prediction log: of the option, of the environment, or the one that the simulation writes."""
    return option or Settings().prediction_log or str(paths.MONITOR / "log")


@monitor_app.command("run")
def monitor_run(
    log: LogFolder = None,
    config: DriftFile = paths.DRIFT,
    baselines: BaselinesFolder = paths.MONITOR / "baselines",
    reference: Annotated[Path, typer.Option(help="For cameras without a baseline.")] = paths.REFERENCE,
    out: Annotated[Path, typer.Option(help="Folder for verdicts and pages.")] = paths.MONITOR / "verdicts",
    workspace: WorkspaceFolder = paths.MONITOR / "workspace",
    cameras: Annotated[
        Path | None,
        typer.Option(help="cameras.yaml: without rows for longer than expect_every_s, a camera is silent."),
    ] = None,
    at: Annotated[datetime | None, typer.Option(help="End of the window (UTC); default: now.")] = None,
    detector: Annotated[str | None, typer.Option(help="Judge the rows of this detector_id.")] = None,
    every: Annotated[float | None, typer.Option(min=0.02, help="Run again every so many minutes.")] = None,
    port: Annotated[int | None, typer.Option(help="Serve Prometheus gauges on this port of loopback.")] = None,
    notify: Annotated[
        list[str] | None, typer.Option(help="A channel of notify.yaml for alarms that begin or end; may be repeated.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
) -> None:
    """Compare the last day of the prediction log with baselines. Exit code 4: drift."""
    from headhunt_svc.monitoring.config import load_drift
    from headhunt_svc.monitoring.run import Monitor, Paths, require_log
    from headhunt_svc.storage.exposition import metrics_served

    if every is None:
        require_log(_log_folder(log))
    places = Paths(_log_folder(log), baselines, reference, out, workspace)
    monitor = Monitor(places, load_drift(config), detector_id=detector, expected=_expected_of(cameras))
    with ExitStack() as stack:
        tell = stack.enter_context(_telling(notify, out)) if notify else None

        def report(verdict: "Verdict") -> None:
            print(json_lib.dumps(verdict.as_json())) if json else print_verdict(verdict)
            if tell is not None:
                tell(verdict)

        stack.enter_context(metrics_served(port))
        if every is not None:
            _wait_for_rows(_log_folder(log), every)
            monitor.run_every(every, report)
        verdict = monitor.run(at.replace(tzinfo=UTC) if at else None)
        report(verdict)
    if verdict.drifted:
        raise typer.Exit(EXIT_DRIFT)


def _wait_for_rows(log: str, every: float) -> None:
    """A monitor may be started before anything was scored: wait for the first rows, and say so."""
    from headhunt_svc.monitoring.run import require_log

    while True:
        try:
            return require_log(log)
        except ConfigError as exc:
            note(f"{exc}; looking again in {every:g} minutes")
            time.sleep(60 * every)


def _expected_of(path: Path | None) -> "Callable[[], Mapping[str, Expected]]":
    """What a file of cameras expects, read anew at each run; where it cannot be read then, as it was before."""
    from headhunt_svc.cameras.config import load_cameras
    from headhunt_svc.cli.cameras import named_problems
    from headhunt_svc.monitoring.silence import Expected

    if path is None:
        return dict
    latest = named_problems(path, lambda: load_cameras(path))

    def expected() -> "Mapping[str, Expected]":
        nonlocal latest
        try:
            latest = load_cameras(path)
        except ConfigError as exc:
            note(f"{exc}; the cameras are those of before")
        return {c.name: Expected(timedelta(seconds=c.expect_every_s), c.is_active) for c in latest.each()}

    return expected


@contextmanager
def _telling(names: list[str], folder: Path) -> "Iterator[Callable[[Verdict], None]]":
    """Tells channels of the alarms of verdicts, and sends again what they did not take; once more at the end.

    folder: of the verdicts, which says whose alarms these are.
    """
    from headhunt_svc.cli.notify import open_outbox
    from headhunt_svc.errors import UnreachableError
    from headhunt_svc.monitoring.alarms import SOURCE, alarms_of, closing, source_of, unknown_in
    from headhunt_svc.notify.alarms import AlarmBook
    from headhunt_svc.notify.deliverer import Deliverer

    with open_outbox(names) as (engine, outbox):
        book = AlarmBook(engine, outbox, source_of(folder), names, formerly=SOURCE)

        def tell(verdict: "Verdict") -> None:
            try:
                at, now = verdict.stop, datetime.now(UTC)
                book.update(alarms_of(verdict), at, now, unknown_in(verdict), closing(verdict))
            except UnreachableError as exc:
                note(f"alarms are not told: {exc}; the next run does")  # the monitor goes on

        with Deliverer(outbox):
            yield tell
        outbox.deliver_due(datetime.now(UTC))
        for channel in outbox.status():
            if channel.waiting:
                note(f"channel {channel.channel}: {channel.waiting} messages wait: {channel.error}")


@monitor_app.command("reference")
def monitor_reference() -> None:
    """Store normal held-out footage as the reference of cameras without a baseline (the DVC stage)."""
    from headhunt_svc.pipeline.reference import reference as run

    run(paths.BUNDLE, paths.INDEX, paths.LABELS, paths.REFERENCE)


@monitor_app.command("rebaseline")
def monitor_rebaseline(
    camera: Annotated[str, typer.Option(help="The camera.")],
    start: Annotated[datetime | None, typer.Option("--from", help="Rows from this time (UTC) ...")] = None,
    stop: Annotated[
        datetime | None, typer.Option("--to", help="... to this one; default: the last seven days.")
    ] = None,
    version: Annotated[str | None, typer.Option(help="Instead: activate an earlier version.")] = None,
    why: Annotated[str, typer.Option(help="For the record.")] = "",
    log: LogFolder = None,
    baselines: BaselinesFolder = paths.MONITOR / "baselines",
    config: DriftFile = paths.DRIFT,
    detector: Annotated[str | None, typer.Option(help="Rows of this detector_id; default: the latest.")] = None,
) -> None:
    """Make footage that is known to be good the baseline of a camera."""
    from headhunt_svc.monitoring.baselines import Baselines
    from headhunt_svc.monitoring.config import load_drift
    from headhunt_svc.monitoring.run import rebaseline

    store, params = Baselines(baselines), load_drift(config)
    if version is not None:
        store.activate(camera, version, why)
    else:
        stop_at = stop.replace(tzinfo=UTC) if stop else datetime.now(UTC)
        start_at = start.replace(tzinfo=UTC) if start else stop_at - timedelta(days=7)
        query = params.query(start_at, stop_at, detector)
        version = rebaseline(_log_folder(log), store, camera, query, params.min_segments, why)
    typer.echo(version)


@monitor_app.command("ui")
def monitor_ui(
    evidently: Annotated[
        bool, typer.Option("--evidently", help="Evidently's own dashboard alone; it asks for no keys.")
    ] = False,
    monitor: Annotated[Path, typer.Option(help="The monitor's folder: verdicts, baselines.")] = paths.MONITOR,
    log: LogFolder = None,
    reference: Annotated[Path, typer.Option(help="For cameras without a baseline.")] = paths.REFERENCE,
    workspace: Annotated[Path | None, typer.Option(help="Evidently's workspace; default: in --monitor.")] = None,
    config: DriftFile = paths.DRIFT,
    host: Annotated[str, typer.Option(help="Address to listen on; any but loopback needs API keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port.")] = 8700,
    parent: Annotated[int | None, typer.Option(hidden=True, help="With --evidently: ends with this process.")] = None,
) -> None:
    """Open the console at its drift page; Evidently's own dashboard is one link away."""
    folder = workspace or monitor / "workspace"
    if evidently:
        if parent is not None:
            from headhunt_svc.jobs.parent import end_with_parent

            end_with_parent(lambda: None, 0, parent)
        from headhunt_svc.monitoring.dashboard import serve

        serve(folder, host, port)
        return
    from headhunt_svc.cli.operators import address_of, beside
    from headhunt_svc.console.places import Places
    from headhunt_svc.console.server import serve as serve_console

    with beside(folder, host) as dashboard:
        places = Places(
            paths.CAMERAS, paths.CAMERA_STATES, monitor, _log_folder(log), reference, drift=config, evidently=dashboard
        )
        note(f"drift: {address_of(host, port)}/drift")
        serve_console(places, EventSettings(), Settings(), host, port)


@monitor_app.command("simulate")
def monitor_simulate(
    out: Annotated[Path, typer.Option(help="Folder for log, baselines, verdicts and workspace.")] = paths.MONITOR,
    table: Annotated[bool, typer.Option("--table", help="Instead: how often each kind of drift is detected.")] = False,
    json: Annotated[Path | None, typer.Option(help="With --table: write the figures into this file.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the scenes.")] = 1,
    seeds: Annotated[int, typer.Option(min=1, help="With --table: how many seeds, from this one.")] = 5,
    windows: Annotated[int, typer.Option(min=1, help="With --table: undisturbed windows of a seed.")] = 30,
    runs: Annotated[int, typer.Option(min=1, help="With --table: runs of each disturbance, over all seeds.")] = 20,
    cameras: Annotated[int, typer.Option(min=3, help="How many; those beyond three show the first one's scenes.")] = 3,
    config: DriftFile = paths.DRIFT,
    bundle: BundleFolder = paths.BUNDLE,
) -> None:
    """Fourteen days of three cameras that change, with the monitor run for each day."""
    from headhunt_svc.demo.simulation import Pool, detections, fortnight
    from headhunt_svc.monitoring.config import load_drift
    from headhunt_svc.monitoring.run import Monitor, Paths

    pools, params = [Pool(paths.MONITOR_POOL, bundle, seed + i) for i in range(seeds)], load_drift(config)
    if table:
        print_detections(detections(pools, params, windows, runs), json)
        return
    places = Paths(str(out / "log"), out / "baselines", paths.REFERENCE, out / "verdicts", out / "workspace")
    monitor = Monitor(places, params, pages=cameras <= 10)
    for day in fortnight(pools[0], places.log, places.baselines, cameras):
        print_verdict(monitor.run(day, now=day))


def print_verdict(verdict: "Verdict") -> None:
    """Prints one line a camera (what moved beyond which limit), what was excluded, and problems and alarms."""
    from headhunt_svc.monitoring.verdicts import FLEET

    period = f"{verdict.start:%Y-%m-%d %H:%M} to {verdict.stop:%Y-%m-%d %H:%M} UTC, detector {verdict.detector_id}"
    columns = ("camera", "status", "baseline", "segments", "in events", "signals beyond their limit")
    table = Table(*columns, title=period)
    for name, camera in verdict.cameras.items():
        low, high = camera.event_interval
        signals = [(n, camera.signals[n]) for n in camera.over]
        moved = ", ".join(f"{n} {signal.value:.2f} > {signal.limit:.2f}" for n, signal in signals)
        events = f"{camera.event_rate:.1%} \\[{low:.1%}, {high:.1%}]" if camera.segments else "-"
        baseline = "-" if name == FLEET else camera.baseline or "none"
        table.add_row(
            safe(name), safe(camera.word), safe(baseline), str(camera.segments), events, moved or safe(camera.why)
        )
    console = wide()
    console.print(table)
    for why, n in verdict.excluded.items():
        console.print(safe(f"left out: {n}, {why}"))
    for name, days in verdict.missing.items():
        console.print(safe(f"no rows of {name} on {', '.join(days)}"))
    for line in (*verdict.problems, *verdict.alarms):
        console.print(safe(line), soft_wrap=True)


def print_detections(outcomes: Mapping[str, Any], path: Path | None) -> None:
    """Prints how many windows with a known cause raised the right alarm, and writes the figures to `path`."""
    rows = {name: asdict(outcome) for name, outcome in outcomes.items()}
    table = Table("windows of", "drawn", "with an alarm", "on the right camera", "of the right kind")
    for name, row in rows.items():
        right = [str(row[k]) if not name.startswith("undisturbed") else "-" for k in ("right_camera", "right_kind")]
        table.add_row(name, str(row["windows"]), str(row["alarms"]), *right)
    wide().print(table)
    if path is not None:
        write_json(path, rows)
