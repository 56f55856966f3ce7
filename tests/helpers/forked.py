"""`headhunt` in processes of their own that need not import torch: forks of one that has, and does nothing else.

A command imports its libraries for five of the six seconds that it takes on a short video. Tests of what commands do
run them here, and so do the processes that score for a worker or for `headhunt batch`; the first command of the README,
the worker of `make serve` and the actors of Ray are run as a shell, make and Ray start them.
"""

import atexit
import gc
import importlib
import json
import logging
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NoReturn

# of other people only: what is ours is imported anew by every command, and sees its environment
LIBRARIES = (
    "av",
    "jaxtyping",
    "matplotlib.pyplot",
    "onnx",
    "pydantic_settings",
    "safetensors.torch",
    "scipy.stats",
    "sklearn.cluster",
    "sklearn.linear_model",
    "torch",
    "transformers.modeling_utils",
    "transformers.models.qwen2_vl.image_processing_pil_qwen2_vl",
    "typer",
)
# the same for commands of one group, when the first of them comes
OF_GROUP = {"console": "fastapi", "jobs": "dbos", "monitor": "evidently", "worker": "dbos"}
SCORER = "headhunt_svc.jobs.isolated"
PYTHON = sys.executable  # tests may put `Commands.python` there


def connect(address: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(address)
    return connection


def begin(connection: socket.socket, args: Sequence[str], cwd: str, env: dict[str, str], fds: Sequence[int]) -> None:
    """Ask for a process; fds: its standard input, output and error. When it has ended, its exit code comes."""
    socket.send_fds(connection, [json.dumps({"args": args, "cwd": cwd, "env": env}).encode()], fds)


class Commands:
    """Runs commands; `close` ends those that run."""

    def __init__(self, env: dict[str, str] | None = None) -> None:
        """env: of the first process, for what libraries read when they are imported."""
        self._env = env
        self._server: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def folder(self) -> str:
        """With the first process's `socket` and `python`; it is started if it does not run."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="headhunt-forks-")
            address, python = f"{self._folder.name}/socket", Path(self._folder.name, "python")
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
                listener.bind(address)
                listener.listen(64)
                self._server = subprocess.Popen(
                    [PYTHON, __file__, str(listener.fileno()), str(python)],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[listener.fileno()],
                    start_new_session=True,
                    env=self._env,
                )
            atexit.register(self.close)
            python.write_text(f'#!/bin/sh\nexec "{PYTHON}" -S "{__file__}" "{address}" "$@"\n')
            python.chmod(0o755)
        return self._folder.name

    @property
    def python(self) -> str:
        """An interpreter for `sys.executable`: `-m headhunt_svc.jobs.isolated` and `headhunt` are run as forks."""
        return f"{self.folder}/python"

    def headhunt(self, *args: str | Path) -> list[str]:
        """The command line of `headhunt` as a fork, for Popen: signals reach it, and it ends with who asked."""
        return [self.python, "headhunt", *map(str, args)]

    def run(self, args: Sequence[str], cwd: Path, env: dict[str, str], seconds: float) -> tuple[int, str, str]:
        """Exit code, standard output and standard error.

        Raises:
            TimeoutExpired: it took longer; it is killed.
        """
        with ExitStack() as stack:
            connection = stack.enter_context(connect(f"{self.folder}/socket"))
            connection.settimeout(seconds)
            out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
            nothing = stack.enter_context(Path(os.devnull).open("rb"))
            begin(connection, args, str(cwd), env, [nothing.fileno(), out.fileno(), err.fileno()])
            try:
                code = int(connection.recv(16))
            except TimeoutError:
                raise subprocess.TimeoutExpired(args, seconds) from None
            for file in (out, err):
                file.seek(0)
            return code, out.read().decode(), err.read().decode()

    def close(self) -> None:
        """End it and what it runs."""
        if self._server is not None and self._folder is not None:
            with self._server:
                os.killpg(self._server.pid, signal.SIGKILL)
            self._folder.cleanup()
            self._server = self._folder = None


class Forks:
    """The first process: forks for every request, and tells how the fork ended."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._running: dict[int, socket.socket] = {}  # by process id
        self._selector = selectors.DefaultSelector()
        self._ended, told = os.pipe()
        for fd in (self._ended, told):
            os.set_blocking(fd, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(told)
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._ended, selectors.EVENT_READ)

    def wait(self) -> tuple[dict[str, Any], list[int]]:
        """Serve; in a fork, this returns what was asked for, and its standard files."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    asked = self._fork()
                    if asked is not None:
                        return asked
                elif key.fileobj == self._ended:
                    os.read(self._ended, 1 << 16)
                    self._reap()
                elif isinstance(key.fileobj, socket.socket):
                    self._hear(key.fileobj)

    def _fork(self) -> tuple[dict[str, Any], list[int]] | None:
        connection, _ = self._listener.accept()
        request, fds, *_ = socket.recv_fds(connection, 1 << 20, 3)
        if not request:  # the one that asked has gone
            connection.close()
            return None
        asked = json.loads(request)
        for name in {OF_GROUP[group] for group in asked["args"][1:2] if group in OF_GROUP} - set(sys.modules):
            importlib.import_module(name)
            gc.freeze()
        if (pid := os.fork()) == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._selector.close()
            for end in (self._listener, connection, *self._running.values()):
                end.close()
            return asked, fds
        for fd in fds:
            os.close(fd)
        self._running[pid] = connection
        self._selector.register(connection, selectors.EVENT_READ)
        return None

    def _hear(self, connection: socket.socket) -> None:
        """Pass a signal on; where the one that asked has gone, kill."""
        try:
            number = connection.recv(16)
        except OSError:  # with an answer that it did not take, or closed since
            number = b""
        for pid in [pid for pid, other in self._running.items() if other is connection]:
            os.kill(pid, int(number) if number else signal.SIGKILL)
        if not number:
            with suppress(KeyError, ValueError):
                self._selector.unregister(connection)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                connection = self._running.pop(ended[0])
                with suppress(OSError):  # nobody waits for it
                    connection.send(str(os.waitstatus_to_exitcode(ended[1])).encode())
                with suppress(KeyError, ValueError):
                    self._selector.unregister(connection)
                connection.close()


def become(asked: dict[str, Any], fds: list[int]) -> None:
    """Be the process that was asked for."""
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    sys.stdin = open(0, closefd=False)
    sys.argv = asked["args"]


def stand_in(address: str, args: list[str]) -> None:
    """Be a process whose work a fork does: its files are the fork's, signals go there, and both end in the same way."""
    with connect(address) as connection:
        begin(connection, args, str(Path.cwd()), dict(os.environ), [0, 1, 2])
        for fd in (0, 1):  # the fork alone has the ends of pipes
            os.close(fd)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: connection.send(str(int(number)).encode()))
        code = int(connection.recv(16) or -signal.SIGKILL)
    if code < 0:
        if -code in (signal.SIGTERM, signal.SIGINT):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def serve(listener: socket.socket, python: str) -> None:
    for name in ("torchao", "torch.utils._pytree"):  # as in cli/main.py
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.freeze()  # a fork that ends does not go through all that was imported
    become(*Forks(listener).wait())
    sys.executable = python  # a worker's scorer is a fork, too
    for name in [n for n in sys.modules if n.split(".")[0] == "headhunt_svc"]:
        del sys.modules[name]
    code: str | int | None = 0
    try:
        if sys.argv[0] == SCORER:
            runpy.run_module(SCORER, run_name="__main__", alter_sys=True)
        else:
            from headhunt_svc.cli.main import main

            main()
    except SystemExit as stop:
        code = stop.code
    if not isinstance(code, str):
        leave(code or 0)
    sys.exit(code)


def leave(code: int) -> NoReturn:
    """End as Python does, without taking apart all that was imported: that takes longer than most commands."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, and ends those of pools
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    if sys.argv[1].isdecimal():
        serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
    elif sys.argv[2:4] == ["-m", SCORER]:
        stand_in(sys.argv[1], sys.argv[3:])
    elif sys.argv[2] == "headhunt":
        stand_in(sys.argv[1], sys.argv[2:])
    else:
        os.execv(PYTHON, [PYTHON, *sys.argv[2:]])
