"""DVC on a project of a test's own: real stages, each in a fork of the process that has imported the libraries."""

import json
import os
import re
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from helpers.forked import Commands

SHIM = """
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.connect(sys.argv[1])
    stream = s.makefile("rw")
    print(json.dumps({"args": sys.argv[2:], "cwd": os.getcwd(), "env": dict(os.environ)}), file=stream, flush=True)
    code, out, err = json.loads(stream.readline())
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(code)
"""


@dataclass(frozen=True)
class Repro:
    """What `dvc repro` did: the stages that ran, in order, and all that it printed."""

    ran: list[str]
    output: str

    def said(self, stage: str) -> str:
        """What DVC and the command printed from this stage's start to the next one's."""
        parts = re.split(r"(?=Running stage '|Stage '[\w-]+' didn't change)", self.output)
        (part,) = [p for p in parts if re.match(rf"(Running stage|Stage) '{stage}'", p)]
        return part


class Dvc:
    """Runs dvc in one project."""

    def __init__(self, project: Path, env: dict[str, str]) -> None:
        self._project, self._env = project, env

    def __call__(self, *args: str) -> str:
        """Standard output and error of a command that succeeds."""
        command = [sys.executable, "-m", "dvc", *args]
        done = subprocess.run(
            command, cwd=self._project, env=self._env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert done.returncode == 0, done.stdout[-3000:]
        return done.stdout

    def repro(self, target: str) -> Repro:
        output = self("repro", target)
        return Repro(re.findall(r"Running stage '([\w-]+)'", output), output)


@contextmanager
def dvc_in(project: Path, commands: Commands, headhunt: Path, folder: Path) -> Iterator[Dvc]:
    """DVC in a project, where `headhunt` is run by `commands`; folder: for what is needed beside the project."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            asked = json.loads(self.rfile.readline())
            command = [str(headhunt), *asked["args"]]
            result = commands.run(command, Path(asked["cwd"]), asked["env"], 300)
            self.wfile.write(json.dumps(result).encode() + b"\n")

    address = folder / "socket"
    (folder / "bin").mkdir()
    (folder / "shim.py").write_text(SHIM)
    shim = folder / "bin" / "headhunt"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{folder}/shim.py" "{address}" "$@"\n')
    shim.chmod(0o755)
    with socketserver.UnixStreamServer(str(address), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        dvc = Dvc(project, {**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}", "COLUMNS": "200"})
        dvc("init", "--no-scm", "-q")
        try:
            yield dvc
        finally:
            server.shutdown()
            thread.join()
