"""`headhunt monitor` and `headhunt bundles`: verbs that parse and call."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from headhunt_svc import stages
from headhunt_svc.errors import EXIT_DRIFT

monitor_app = typer.Typer(no_args_is_help=True, help="Drift of scores, heads and prompts (docs/operations.md).")
bundles_app = typer.Typer(no_args_is_help=True, help="Which bundle is in use, and the way back.")

LogPlace = Annotated[str | None, typer.Option(help="The prediction log; default: HEADHUNT_PREDICTION_LOG.")]
DriftFile = Annotated[Path, typer.Option("--config", help="What is drift.")]
BaselinesFolder = Annotated[Path, typer.Option(help="Folder of the cameras' baselines.")]
WorkspaceFolder = Annotated[Path, typer.Option(help="Evidently's workspace.")]
DeployedFolder = Annotated[Path, typer.Option(help="Folder of the link `current`.")]
BundleFolder = Annotated[Path, typer.Option("--bundle", help="The detector bundle.")]


@monitor_app.command("run")
def monitor_run(
    log: LogPlace = None,
    config: DriftFile = stages.DRIFT,
    baselines: BaselinesFolder = stages.MONITOR / "baselines",
    reference: Annotated[Path, typer.Option(help="For cameras without a baseline.")] = stages.REFERENCE,
    out: Annotated[Path, typer.Option(help="Folder for verdicts and pages.")] = stages.MONITOR / "verdicts",
    workspace: WorkspaceFolder = stages.MONITOR / "workspace",
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
    from headhunt_svc import show
    from headhunt_svc.jobs.config import JobSettings
    from headhunt_svc.jobs.webhooks import check_host, post
    from headhunt_svc.monitor.config import load_drift
    from headhunt_svc.monitor.metrics import serve
    from headhunt_svc.monitor.run import Monitor, Paths, Verdict

    monitor = Monitor(
        Paths(stages.log_place(log), baselines, reference, out, workspace), load_drift(config), detector_id=detector
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
    from headhunt_svc.stages.reference import reference as run

    run(stages.BUNDLE, stages.INDEX, stages.REFERENCE)


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
    baselines: BaselinesFolder = stages.MONITOR / "baselines",
    config: DriftFile = stages.DRIFT,
    detector: Annotated[str | None, typer.Option(help="Rows of this detector_id; default: the latest.")] = None,
) -> None:
    """Freeze footage that is known to be good as what a camera is compared with from now on."""
    from headhunt_svc.monitor.config import load_drift
    from headhunt_svc.monitor.run import rebaseline as run

    stop_at = stop.replace(tzinfo=UTC) if stop else datetime.now(UTC)
    start_at = start.replace(tzinfo=UTC) if start else stop_at - timedelta(days=7)
    place = stages.log_place(log)
    typer.echo(run(place, baselines, load_drift(config), camera, start_at, stop_at, version, why, detector))


@monitor_app.command("ui")
def monitor_ui(
    workspace: WorkspaceFolder = stages.MONITOR / "workspace",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port.")] = 8700,
) -> None:
    """Open the dashboard: Evidently's server on the workspace, with panels over time."""
    from headhunt_svc.monitor.dashboard import serve

    serve(workspace, host, port)


@monitor_app.command("simulate")
def monitor_simulate(
    out: Annotated[Path, typer.Option(help="Folder for log, baselines, verdicts and workspace.")] = stages.MONITOR,
    table: Annotated[bool, typer.Option("--table", help="Instead: how often what is detected, against truth.")] = False,
    json: Annotated[Path | None, typer.Option(help="With --table: write the figures into this file.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the scenes.")] = 1,
    seeds: Annotated[int, typer.Option(min=1, help="With --table: how many seeds, from this one.")] = 5,
    windows: Annotated[int, typer.Option(min=1, help="With --table: undisturbed windows of a seed.")] = 30,
    runs: Annotated[int, typer.Option(min=1, help="With --table: runs of each disturbance, over all seeds.")] = 20,
    config: DriftFile = stages.DRIFT,
    bundle: BundleFolder = stages.BUNDLE,
) -> None:
    """Fourteen days of three cameras that change, with the monitor run for each day."""
    from headhunt_svc import show
    from headhunt_svc.demo.monitoring import Pool, detections, fortnight
    from headhunt_svc.monitor.config import load_drift
    from headhunt_svc.monitor.run import Monitor, Paths

    pools, params = [Pool(stages.MONITOR_POOL, bundle, seed + i) for i in range(seeds)], load_drift(config)
    if table:
        show.detections(detections(pools, params, windows, runs), json)
        return
    paths = Paths(str(out / "log"), out / "baselines", stages.REFERENCE, out / "verdicts", out / "workspace")
    monitor = Monitor(paths, params)
    for day in fortnight(pools[0], paths.log, paths.baselines):
        show.verdict(monitor.run(day, now=day))


@bundles_app.command("list")
def bundles_list(deployed: DeployedFolder = stages.DEPLOYED) -> None:
    """Print which bundles were in use, and which one is."""
    from headhunt_svc import show
    from headhunt_svc.io.deployed import Deployed

    show.deployed(Deployed(deployed).history())


@bundles_app.command("activate")
def bundles_activate(
    bundle: Annotated[Path, typer.Argument(help="The bundle.")],
    why: Annotated[str, typer.Option(help="For the record.")] = "",
    deployed: DeployedFolder = stages.DEPLOYED,
) -> None:
    """Check a bundle and let deployed/current be it; services read it when they start."""
    from headhunt_svc.io.deployed import Deployed

    typer.echo(Deployed(deployed).activate(bundle, why))


@bundles_app.command("rollback")
def bundles_rollback(
    to: Annotated[str | None, typer.Option(help="The detector_id; default: the one before the current one.")] = None,
    why: Annotated[str, typer.Option(help="For the record.")] = "",
    deployed: DeployedFolder = stages.DEPLOYED,
) -> None:
    """Let deployed/current be an earlier bundle again."""
    from headhunt_svc.io.deployed import Deployed

    typer.echo(Deployed(deployed).rollback(to, why).detector_id)
