"""The operators' pages: `headhunt console`."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from headhunt_svc import paths
from headhunt_svc.cli.console import note
from headhunt_svc.cli.options import DriftFile
from headhunt_svc.monitoring.pages import hosts_of
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
    config: DriftFile = paths.DRIFT,
) -> None:
    """Pages for operators: how cameras are, events, drift. It reads files and the events, and loads no model."""
    from headhunt_svc.console.places import Places
    from headhunt_svc.console.server import serve

    settings = Settings()
    folder = log or settings.prediction_log or str(monitor / "log")
    places = Places(cameras, states, monitor, folder, reference, bundle, candidate, deployed, config)
    note(f"the console: {address_of(host, port)}")
    serve(places, EventSettings(), settings, host, port)


def address_of(host: str, port: int) -> str:
    """Where a server answers, for a browser."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


@contextmanager
def beside(workspace: Path, host: str) -> Iterator[str | None]:
    """Evidently's dashboard as a process beside the console, on a free port of loopback; its address.

    None: there is nothing to show, Evidently is not installed, or the console is for others than this machine's users.
    """
    if not (workspace.is_dir() and find_spec("evidently") and hosts_of(host)):
        yield None
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [sys.executable, "-m", "headhunt_svc", "monitor", "ui", "--evidently"]
    with subprocess.Popen(
        [*command, "--workspace", str(workspace), "--port", str(port), "--parent", str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # uvicorn raises it again, and it must end both
        try:
            yield address_of("127.0.0.1", port)
        finally:
            process.terminate()
