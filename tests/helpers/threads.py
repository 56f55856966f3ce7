"""Actions in several threads at once."""

import threading
from collections.abc import Callable


def in_threads(n: int, action: Callable[[int], object]) -> list[BaseException]:
    """Run an action in threads at once; returns what they raised."""
    errors: list[BaseException] = []
    start = threading.Barrier(n)

    def run(i: int) -> None:
        start.wait()
        try:
            action(i)
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors
