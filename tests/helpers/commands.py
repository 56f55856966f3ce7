"""Runs a command in this process, as a user's shell would: exit code and what it printed."""

import contextlib
import io
import sys
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from headhunt_svc.cli import main as cli


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def command(*args: str | Path, cwd: Path) -> Done:
    """`headhunt ARGS` in a folder."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(cwd),
        mock.patch.object(sys, "argv", ["headhunt", *map(str, args)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code: object = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code
    return Done(int(str(code or 0)), out.getvalue(), err.getvalue())


def refusal(*args: str | Path, cwd: Path) -> str:
    """The one line that says why a command refuses its input; anything else fails the test."""
    return refusal_of(command(*args, cwd=cwd))


def refusal_of(done: Done) -> str:
    """The same of a command that has ended."""
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert done.code in (2, 3), done
    assert len(errors) == 1, done.err
    assert done.err.endswith(errors[0] + "\n"), done.err
    assert "Traceback" not in done.err
    assert cli.UNEXPECTED not in done.err
    return errors[0].removeprefix("error: ")
