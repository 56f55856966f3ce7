"""A real server process on loopback, for tests and benchmarks."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

START_S = 120


class Server:
    """`bentoml serve`, ready; `log` is what it wrote."""

    def __init__(self, what: str, cwd: Path, home: Path, **env: str) -> None:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.log_file = home / f"{self.port}.log"
        quiet = {"BENTOML_DO_NOT_TRACK": "True", "HF_HUB_OFFLINE": "1", "BENTOML_HOME": str(home)}
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                self._command(what), cwd=cwd, env=os.environ | quiet | env, stdout=log, stderr=log
            )

    def _command(self, what: str) -> list[str]:
        bentoml = str(Path(sys.executable).with_name("bentoml"))
        return [bentoml, "serve", what, "--host", "127.0.0.1", "--port", str(self.port)]

    def wait_ready(self) -> "Server":
        until = time.monotonic() + START_S
        while time.monotonic() < until and self.process.poll() is None:
            try:
                if httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200:
                    return self
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"the server is not ready:\n{self.log}")

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8")

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The service's own log lines."""
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]

    def rss(self) -> int:
        """Bytes that the supervisor and the worker hold; processes that decode one video each come and go."""
        supervisor = psutil.Process(self.process.pid)
        return sum(p.memory_info().rss for p in [supervisor, *supervisor.children()])

    def kill(self) -> None:
        """SIGKILL to all of it, whatever it does."""
        supervisor = psutil.Process(self.process.pid)
        for process in [*supervisor.children(recursive=True), supervisor]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


class Public(Server):
    """A server that listens on all addresses."""

    def _command(self, what: str) -> list[str]:
        return [*super()._command(what), "--host", "0.0.0.0"]  # the last one counts


class Made(Server):
    """`make serve`: the service and a worker, of the environment that the tests run in."""

    def __init__(self, cwd: Path, home: Path, **env: str) -> None:
        super().__init__(".", cwd, home, PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", **env)

    def _command(self, what: str) -> list[str]:
        return ["make", "-o", "setup", "serve", f"PORT={self.port}"]


@contextmanager
def serving(what: str, cwd: Path, home: Path, **env: str) -> Iterator[Server]:
    server = Server(what, cwd, home, **env)
    try:
        yield server.wait_ready()
    finally:
        if server.process.poll() is None:
            server.terminate()
