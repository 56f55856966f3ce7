"""`headhunt monitor` and `headhunt bundles`: verbs that parse and call."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from headhunt_svc import paths
from headhunt_svc.errors import EXIT_DRIFT

monitor_app = typer.Typer(no_args_is_help=True, help="Drift of scores, heads and prompts (docs/operations.md).")
bundles_app = typer.Typer(no_args_is_help=True, help="Which bundle is in use, and the way back.")

LogPlace = Annotated[str | None, typer.Option(help="The prediction log; default: HEADHUNT_PREDICTION_LOG.")]
DriftFile = Annotated[Path, typer.Option("--config", help="What is drift.")]
BaselinesFolder = Annotated[Path, typer.Option(help="Folder of the cameras' baselines.")]
WorkspaceFolder = Annotated[Path, typer.Option(help="Evidently's workspace.")]
DeployedFolder = Annotated[Path, typer.Option(help="Folder of the link `current`.")]
BundleFolder = Annotated[Path, typer.Option("--bundle", help="The detector bundle.")]


def _log_place(given: str | None) -> str:
    """Where the prediction log is: as given, as the environment says, or where the simulation writes it."""
    from headhunt_svc.settings import Settings

    return given or Settings().prediction_log or str(paths.MONITOR / "log")


@monitor_app.command("run")
def monitor_run(
    log: LogPlace = None,
    config: DriftFile = paths.DRIFT,
    baselines: BaselinesFolder = paths.MONITOR / "baselines",
    reference: Annotated[Path, typer.Option(help="For cameras without a baseline.")] = paths.REFERENCE,
    out: Annotated[Path, typer.Option(help="Folder for verdicts and pages.")] = paths.MONITOR / "verdicts",
    workspace: WorkspaceFolder = paths.MONITOR / "workspace",
    at: Annotated[datetime | None, typer.Option(help="End of the window (UTC); default: now.")] = None,
    detector: Annotated[str | None, typer.Option(help="Judge the rows of this detector_id.")] = None,
    every: Annotated[float | None, typer.Option(min=0.1, help="Run again every so many minutes.")] = None,
    port: Annotated[int | None, typer.Option(help="Serve Prometheus gauges on this port of loopback.")] = None,
    webhook: Annotated[
        str | None, typer.Option(help="Send verdicts with an alarm there, signed; hosts and secret as for jobs.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
) -> None:
    """Compare the last day of the prediction log with baselines. Exit code 4: drift."""
    from headhunt_svc.cli import show
    from headhunt_svc.monitoring.config import load_drift
    from headhunt_svc.monitoring.metrics import serve
    from headhunt_svc.monitoring.run import Monitor, Paths, Verdict
    from headhunt_svc.notify.webhooks import check_host, post
    from headhunt_svc.settings import JobSettings

    monitor = Monitor(
        Paths(_log_place(log), baselines, reference, out, workspace), load_drift(config), detector_id=detector
    )
    hooks = JobSettings()
    if webhook is not None:
        check_host(webhook, hooks)

    def told(verdict: Verdict) -> None:
        show.verdict_json(verdict) if json else show.verdict(verdict)
        if webhook is not None and verdict.drifted:
            try:
                post(webhook, verdict.as_json(), f"drift-{verdict.stop:%Y%m%dT%H%M%S}", hooks)
            except OSError as exc:
                show.note(f"{webhook} was not told: {exc}")

    if port is not None:
        serve(port)
    if every is not None:
        monitor.every(every, told)
    verdict = monitor.run(at.replace(tzinfo=UTC) if at else None)
    told(verdict)
    if verdict.drifted:
        raise typer.Exit(EXIT_DRIFT)


@monitor_app.command("reference")
def monitor_reference() -> None:
    """Freeze what normal held-out footage looks like to the detector (the DVC stage)."""
    from headhunt_svc.pipeline.reference import reference as run

    run(paths.BUNDLE, paths.INDEX, paths.REFERENCE)


@monitor_app.command("rebaseline")
def monitor_rebaseline(
    camera: Annotated[str, typer.Option(help="The camera.")],
    start: Annotated[datetime | None, typer.Option("--from", help="Rows from this time (UTC) ...")] = None,
    stop: Annotated[
        datetime | None, typer.Option("--to", help="... to this one; default: the last seven days.")
    ] = None,
    version: Annotated[str | None, typer.Option(help="Instead: activate an earlier version.")] = None,
    why: Annotated[str, typer.Option(help="For the record.")] = "",
    log: LogPlace = None,
    baselines: BaselinesFolder = paths.MONITOR / "baselines",
    config: DriftFile = paths.DRIFT,
    detector: Annotated[str | None, typer.Option(help="Rows of this detector_id; default: the latest.")] = None,
) -> None:
    """Freeze footage that is known to be good as what a camera is compared with from now on."""
    from headhunt_svc.monitoring.config import load_drift
    from headhunt_svc.monitoring.run import rebaseline as run

    stop_at = stop.replace(tzinfo=UTC) if stop else datetime.now(UTC)
    start_at = start.replace(tzinfo=UTC) if start else stop_at - timedelta(days=7)
    place = _log_place(log)
    typer.echo(run(place, baselines, load_drift(config), camera, start_at, stop_at, version, why, detector))


@monitor_app.command("ui")
def monitor_ui(
    workspace: WorkspaceFolder = paths.MONITOR / "workspace",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port.")] = 8700,
) -> None:
    """Open the dashboard: Evidently's server on the workspace, with panels over time."""
    from headhunt_svc.monitoring.dashboard import serve

    serve(workspace, host, port)


@monitor_app.command("simulate")
def monitor_simulate(
    out: Annotated[Path, typer.Option(help="Folder for log, baselines, verdicts and workspace.")] = paths.MONITOR,
    table: Annotated[bool, typer.Option("--table", help="Instead: how often what is detected, against truth.")] = False,
    json: Annotated[Path | None, typer.Option(help="With --table: write the figures into this file.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the scenes.")] = 1,
    seeds: Annotated[int, typer.Option(min=1, help="With --table: how many seeds, from this one.")] = 5,
    windows: Annotated[int, typer.Option(min=1, help="With --table: undisturbed windows of a seed.")] = 30,
    runs: Annotated[int, typer.Option(min=1, help="With --table: runs of each disturbance, over all seeds.")] = 20,
    config: DriftFile = paths.DRIFT,
    bundle: BundleFolder = paths.BUNDLE,
) -> None:
    """Fourteen days of three cameras that change, with the monitor run for each day."""
    from headhunt_svc.cli import show
    from headhunt_svc.demo.simulation import Pool, detections, fortnight
    from headhunt_svc.monitoring.config import load_drift
    from headhunt_svc.monitoring.run import Monitor, Paths

    pools, params = [Pool(paths.MONITOR_POOL, bundle, seed + i) for i in range(seeds)], load_drift(config)
    if table:
        show.detections(detections(pools, params, windows, runs), json)
        return
    places = Paths(str(out / "log"), out / "baselines", paths.REFERENCE, out / "verdicts", out / "workspace")
    monitor = Monitor(places, params)
    for day in fortnight(pools[0], places.log, places.baselines):
        show.verdict(monitor.run(day, now=day))


@bundles_app.command("list")
def bundles_list(deployed: DeployedFolder = paths.DEPLOYED) -> None:
    """Print which bundles were in use, and which one is."""
    from headhunt_svc.cli import show
    from headhunt_svc.detector.deployments import Deployed

    show.deployed(Deployed(deployed).history())


@bundles_app.command("activate")
def bundles_activate(
    bundle: Annotated[Path, typer.Argument(help="The bundle.")],
    why: Annotated[str, typer.Option(help="For the record.")] = "",
    deployed: DeployedFolder = paths.DEPLOYED,
) -> None:
    """Check a bundle and let deployed/current be it; services read it when they start."""
    from headhunt_svc.detector.deployments import Deployed

    typer.echo(Deployed(deployed).activate(bundle, why))


@bundles_app.command("rollback")
def bundles_rollback(
    to: Annotated[str | None, typer.Option(help="The detector_id; default: the one before the current one.")] = None,
    why: Annotated[str, typer.Option(help="For the record.")] = "",
    deployed: DeployedFolder = paths.DEPLOYED,
) -> None:
    """Let deployed/current be an earlier bundle again."""
    from headhunt_svc.detector.deployments import Deployed

    typer.echo(Deployed(deployed).rollback(to, why).detector_id)
