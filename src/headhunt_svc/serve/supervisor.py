"""What ties a worker of the service to BentoML's supervisor: one does not outlive the other, nor hide its failure."""

import atexit
import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

import psutil

from headhunt_svc.jobs.parent import END_S, end_with_parent

_CANNOT_SERVE = signal.SIGUSR2  # from worker to supervisor; after SIGTERM alone it would end with exit code 0


def exit_like_workers() -> None:
    """For the supervisor: end with exit code 1 once a worker says that it cannot serve."""
    failed = False

    def end(number: int, frame: FrameType | None) -> None:  # takes no lock
        nonlocal failed
        failed = True
        os.kill(os.getpid(), signal.SIGTERM)

    def leave() -> None:
        if failed:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)

    if threading.current_thread() is threading.main_thread():
        signal.signal(_CANNOT_SERVE, end)
        atexit.register(leave)


def leave_for_good() -> NoReturn:
    """For a worker: end it and its supervisor, which would otherwise start a worker again for ever."""
    parent = _supervisor()
    if parent is not None:
        parent.send_signal(_CANNOT_SERVE)
    os._exit(1)


def end_with_supervisor(grace_s: float) -> None:
    """For a worker: end as after SIGTERM when its supervisor has ended without a word.

    grace_s: what its requests then have to finish; END_S after that it ends in any case.
    """
    if _supervisor() is not None:
        end_with_parent(lambda: os.kill(os.getpid(), signal.SIGTERM), grace_s + END_S)


def _supervisor() -> psutil.Process | None:
    parent = psutil.Process().parent()
    return parent if parent is not None and any("bentoml" in word for word in parent.cmdline()) else None
