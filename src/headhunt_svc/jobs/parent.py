"""Ends a process whose parent has been killed: nobody would stop it, and it would hold its port, model and footage."""

import os
import threading
import time
from collections.abc import Callable

POLL_S = 0.5
END_S = 30.0  # to finish a batch and write the prediction log; then the process ends in any case


def end_with_parent(stop: Callable[[], object], grace_s: float, parent: int | None = None) -> None:
    """Watch the parent of this process in a thread; works on every Unix, whichever thread of the parent started this.

    stop: called once the parent has ended, to finish what runs; grace_s later the process ends in any case. parent: its
    id, where the parent has said it: it may have ended before this is called.
    """
    watched = os.getppid() if parent is None else parent

    def watch() -> None:
        while os.getppid() == watched:
            time.sleep(POLL_S)
        stop()
        time.sleep(grace_s)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()
