"""Work ahead of a consumer in a thread, with a bounded queue: decoding goes on while the model computes."""

import queue
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
_POLL_S = 0.1  # how soon the thread notices that nobody wants more


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException


_END = object()


def prefetch(items: Iterator[T], depth: int) -> Generator[T, None, None]:
    """The same items in the same order, up to `depth` of them made before they are asked for.

    An error of the source is raised where its item would have come. Closing the generator ends the thread.
    """
    waiting: queue.Queue[object] = queue.Queue(depth)
    unwanted = threading.Event()

    def put(item: object) -> None:
        while not unwanted.is_set():
            try:
                waiting.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            for item in items:
                put(item)
                if unwanted.is_set():
                    return
            put(_END)
        except BaseException as error:
            put(_Failed(error))

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not _END:
            if isinstance(item, _Failed):
                raise item.error
            yield item  # type: ignore[misc]  # only items of T, _END and _Failed are put
    finally:
        unwanted.set()
        thread.join()
