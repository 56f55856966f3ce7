"""The operators' pages: `headhunt console`."""

from pathlib import Path
from typing import Annotated

import typer

from headhunt_svc import paths
from headhunt_svc.cli.console import note
from headhunt_svc.settings import EventSettings, Settings

app = typer.Typer()


@app.command("console")
def console(
    host: Annotated[str, typer.Option(help="Address to listen on; any but loopback needs API keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port.")] = 8600,
    cameras: Annotated[Path, typer.Option("--cameras", help="The file of cameras.")] = paths.CAMERAS,
    states: Annotated[Path, typer.Option(help="Where the process that watches writes how cameras are.")] = (
        paths.CAMERA_STATES
    ),
    monitor: Annotated[Path, typer.Option(help="The monitor's folder: verdicts, baselines.")] = paths.MONITOR,
    log: Annotated[
        str | None, typer.Option(help="The prediction log; default: HEADHUNT_PREDICTION_LOG, or that of the monitor.")
    ] = None,
    reference: Annotated[Path, typer.Option(help="For cameras without a baseline.")] = paths.REFERENCE,
    bundle: Annotated[Path, typer.Option(help="The detector bundle, where none is deployed.")] = paths.BUNDLE,
    candidate: Annotated[
        Path, typer.Option(help="Where bundles that have learnt from marks are put.")
    ] = paths.CANDIDATE,
    deployed: Annotated[Path, typer.Option(help="Folder of the link `current`.")] = paths.DEPLOYED,
) -> None:
    """Pages for operators: how cameras are, events, drift. It reads files and the events, and loads no model."""
    from headhunt_svc.console.places import Places
    from headhunt_svc.console.server import serve

    settings = Settings()
    folder = log or settings.prediction_log or str(monitor / "log")
    places = Places(cameras, states, monitor, folder, reference, bundle, candidate, deployed)
    note(f"the console: http://{f'[{host}]' if ':' in host else host}:{port}")
    serve(places, EventSettings(), settings, host, port)
