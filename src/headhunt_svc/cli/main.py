"""The `headhunt` command: every command only parses, calls and prints.

Commands import what they run inside their function, so that help, lists and wrong options need no model library.

Exit codes: 0 done, 2 wrong use, 3 some inputs failed or have gaps (the others are written), 4 drift.
"""

import logging
import os
import sys
from typing import Annotated

import typer

from headhunt_svc.cli import (
    bundle,
    cameras,
    demo,
    depth,
    detect,
    evaluate,
    events,
    fewer_tokens,
    hunt_again,
    jobs,
    models,
    monitor,
    new_cameras,
    notify,
    operators,
    pipeline,
    project,
    shadow,  # noqa: F401 - its commands are in the group `bundles`
    watch,
)
from headhunt_svc.cli import questions as _questions  # noqa: F401  (adds a command to `events`)
from headhunt_svc.cli.console import note
from headhunt_svc.errors import EXIT_SOME_FAILED, EXIT_WRONG_USE, HeadHuntError, VideoError
from headhunt_svc.names import printable

UNEXPECTED = "this was not expected"

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
scoring = (project, detect, pipeline, models, bundle, evaluate, hunt_again)
running = (depth, fewer_tokens, new_cameras, cameras, watch, jobs, events, monitor, notify, operators, demo)
for group in (*scoring, *running):
    app.add_typer(group.app)


def _print_version(requested: bool) -> bool:
    if requested:
        from headhunt_svc import __version__

        typer.echo(f"headhunt-svc {__version__}")
        raise typer.Exit
    return requested


@app.callback()
def headhunt(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Video anomaly detection from attention heads."""


def _debugging() -> bool:
    return os.environ.get("HEADHUNT_LOG_LEVEL") == "DEBUG"


def _quieten_imports() -> None:
    """Hides what torchao logs when transformers imports it: every kernel that this machine cannot use."""
    if not _debugging():
        for name in ("torchao", "torch.utils._pytree"):
            logging.getLogger(name).setLevel(logging.ERROR)


class _Printable(logging.Formatter):
    """Log lines in which names cannot steer a terminal or pass for other lines."""

    def format(self, record: logging.LogRecord) -> str:
        lines = [record.getMessage()]
        if record.exc_info:
            lines += self.formatException(record.exc_info).split("\n")
        return "\n".join(map(printable, lines))


def _safe_logging() -> None:
    """Log lines of loggers without a handler go through the last one that Python has."""
    if logging.lastResort is None:
        return
    logging.lastResort.setFormatter(_Printable())
    if os.environ.get("HEADHUNT_LOG_LEVEL") in ("INFO", "DEBUG"):
        logging.getLogger("headhunt_svc").setLevel(logging.INFO)
        logging.lastResort.setLevel(logging.INFO)


def main() -> None:
    """Runs a command, and turns errors into one line and an exit code."""
    _safe_logging()
    _quieten_imports()
    try:
        app()
    except HeadHuntError as exc:
        note(f"error: {exc}")
        sys.exit(EXIT_SOME_FAILED if isinstance(exc, VideoError) else EXIT_WRONG_USE)
    except Exception as exc:
        if _debugging():
            raise
        reason = (str(exc).strip().splitlines() or [""])[0]
        note(
            f"error: {UNEXPECTED}, {type(exc).__name__}: {reason}; it comes of a defect, or of a file that was changed "
            "by hand: with HEADHUNT_LOG_LEVEL=DEBUG you see where"
        )
        sys.exit(EXIT_WRONG_USE)
