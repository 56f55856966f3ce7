"""`headhunt` in processes of their own that need not import torch: forks of one that has, and does nothing else.

A command imports its libraries for five of the six seconds that it takes on a short video. Tests of what commands do
run them here; the first command of the README is run as a shell starts it.
"""

import atexit
import gc
import importlib
import json
import logging
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

# of other people only: what is ours is imported anew by every command, and sees its environment
LIBRARIES = (
    "av",
    "matplotlib.pyplot",
    "onnx",
    "pydantic_settings",
    "scipy.stats",
    "sklearn.cluster",
    "sklearn.linear_model",
    "torch",
    "transformers.modeling_utils",
    "transformers.models.qwen2_vl.image_processing_pil_qwen2_vl",
)


class Commands:
    """Runs commands, one after the other."""

    def __init__(self, env: dict[str, str] | None = None) -> None:
        """env: of the first process, for what libraries read when they are imported."""
        self._env = env
        self._server: subprocess.Popen[bytes] | None = None

    def run(self, args: Sequence[str], cwd: Path, env: dict[str, str], seconds: float) -> tuple[int, str, str]:
        """Exit code, standard output and standard error.

        Raises:
            TimeoutExpired: it took longer; it is killed.
        """
        if self._server is None:
            command = [sys.executable, __file__]
            self._server = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
                env=self._env,
            )
            atexit.register(self.close)
        server = self._server
        assert server.stdin is not None
        assert server.stdout is not None
        with ExitStack() as stack:
            out, err = (stack.enter_context(tempfile.NamedTemporaryFile()) for _ in range(2))
            asked = {"args": args, "cwd": str(cwd), "env": env, "out": out.name, "err": err.name}
            server.stdin.write(json.dumps(asked).encode() + b"\n")
            if not select.select([server.stdout], [], [], seconds)[0]:
                self.close()
                raise subprocess.TimeoutExpired(args, seconds)
            return int(server.stdout.readline()), out.read().decode(), err.read().decode()

    def close(self) -> None:
        """End it and what it runs."""
        if (server := self._server) is not None:
            self._server = None
            with server:
                os.killpg(server.pid, signal.SIGKILL)


def wait_for_work() -> dict[str, Any]:
    """Fork for every line that comes in; the fork returns what was asked."""
    for line in sys.stdin:
        if (pid := os.fork()) == 0:
            return dict(json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    sys.exit()


def become(asked: dict[str, Any]) -> None:
    """Be the process that was asked for."""
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    ends = ((os.devnull, os.O_RDONLY), (asked["out"], os.O_WRONLY), (asked["err"], os.O_WRONLY))
    for fd, (path, flags) in enumerate(ends):
        opened = os.open(path, flags)
        os.dup2(opened, fd)
        os.close(opened)
    sys.stdin = open(0, closefd=False)  # what was read ahead is not for us
    sys.argv = asked["args"]


if __name__ == "__main__":
    for name in ("torchao", "torch.utils._pytree"):  # as in cli/main.py
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.freeze()  # a fork that ends does not go through all that was imported
    become(wait_for_work())
    for name in [n for n in sys.modules if n.split(".")[0] == "headhunt_svc"]:
        del sys.modules[name]
    from headhunt_svc.cli.main import main

    main()
