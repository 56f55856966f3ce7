"""Calls a function in a process of its own, so that its memory is its own and its end ends nothing else."""

import multiprocessing
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
PRELOADED = [  # imported once, in the process that all others are copies of
    "torch",
    "transformers.models.internvl.modeling_internvl",
    "headhunt_svc.model.parity",
    "torchao.quantization",
]


def _send(sender: Any, function: Callable[[], object]) -> None:
    try:
        sender.send((function(), None))
    except Exception as exc:
        sender.send((None, f"{type(exc).__name__}: {exc}"))


def apart(function: Callable[[], T], limit_s: float | None = None) -> T:
    """Call a function in a process of its own.

    Raises:
        RuntimeError: it raised an error, the process was killed, or it took longer than the limit.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, function), daemon=True)
    process.start()
    sender.close()
    if not receiver.poll(limit_s):
        process.kill()
        process.join()
        raise RuntimeError(f"took more than {limit_s:.0f} s")
    try:
        result, error = receiver.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"the process ended with exit code {process.exitcode}") from None
    process.join(30)
    if process.exitcode is None:  # it has sent what it was for
        process.kill()
        process.join()
    if error is not None:
        raise RuntimeError(error)
    value: T = result
    return value
