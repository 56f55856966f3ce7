"""The verbs of the command line, as the parser has them: a group's own name, and with each of its verbs."""

from collections.abc import Iterator
from typing import Any

import typer

from headhunt_svc.cli.main import app


def _verbs(command: Any, prefix: str = "") -> Iterator[str]:
    for name, inner in getattr(command, "commands", {}).items():
        yield prefix + name
        yield from _verbs(inner, f"{prefix}{name} ")


VERBS = frozenset(_verbs(typer.main.get_command(app)))
