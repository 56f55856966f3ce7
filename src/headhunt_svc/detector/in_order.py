"""Works on several items at once and gives the results in their order; imports no model."""

import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Protocol, TypeVar, runtime_checkable

_AHEAD = 2  # items begun and not yet given out, for each place: a long one holds up those behind it no longer
T = TypeVar("T")
R = TypeVar("R")


@runtime_checkable
class Places(Protocol):
    """How many items may be worked on at once, which may change: decoders.Decoders, or a process that has them."""

    changed: threading.Condition  # is notified when n changes

    @property
    def n(self) -> int:
        """The number."""

    @property
    def may_be_several(self) -> bool:
        """Can there ever be more than one?"""


class NotNeededError(Exception):
    """Nobody waits for the results any more."""


class _Line:
    """Numbers of items that wait for their turn to be worked on; several threads take from it."""

    def __init__(self, size: int, places: Places) -> None:
        self._size, self._places = size, places
        self._begun = self._given = self._running = 0
        self._is_stopped = False

    def take(self) -> int | None:
        """The next item, once another place is free; None where there is none, or no more are needed."""
        with self._places.changed:
            while not self._is_stopped and self._begun < self._size:
                n = self._places.n
                if n > 1 and self._running < n and self._begun < self._given + _AHEAD * n:
                    return self._begin()
                self._places.changed.wait()
            return None

    def take_this(self, i: int) -> bool:
        """Take item i, if nobody has begun it."""
        with self._places.changed:
            return self._begun == i and self._begin() == i

    def _begin(self) -> int:
        self._begun += 1
        self._running += 1
        return self._begun - 1

    def done(self) -> None:
        """An item that was taken is done."""
        with self._places.changed:
            self._running -= 1
            self._places.changed.notify_all()

    def given(self) -> None:
        """The oldest result was given out."""
        with self._places.changed:
            self._given += 1
            self._places.changed.notify_all()

    def stop(self) -> None:
        """Nothing more is needed."""
        with self._places.changed:
            self._is_stopped = True
            self._places.changed.notify_all()

    def check(self) -> None:
        """Raise if nothing more is needed."""
        if self._is_stopped:
            raise NotNeededError("its result is no longer needed")


Check = Callable[[], None]  # raises where the work must stop; called between two batches


def in_order(items: Sequence[T], work: Callable[[T, Check], R], places: Places) -> Generator[tuple[T, "Future[R]"]]:
    """Each item with its finished work, in the order of the items; up to `places.n` are worked on at once.

    The first is always worked on in this thread, and so are all where n stays 1. Closing the generator stops the
    others: their `check` raises.
    """
    line = _Line(len(items), places)
    results: list[Future[R]] = [Future() for _ in items]
    helpers: list[threading.Thread] = []

    def run(i: int) -> None:
        try:
            results[i].set_result(work(items[i], line.check))
        except BaseException as error:  # raised where the result is asked for
            results[i].set_exception(error)
        finally:
            line.done()

    def help_out() -> None:
        while (i := line.take()) is not None:
            with places.changed:
                if len(helpers) < places.n:
                    begin()
            run(i)

    def begin() -> None:
        helper = threading.Thread(target=help_out, name="decoder", daemon=True)
        with suppress(RuntimeError):  # no more threads are allowed here: those that run do all
            helper.start()
            helpers.append(helper)

    if places.may_be_several and len(items) > 1:
        begin()
    try:
        for i, item in enumerate(items):
            if line.take_this(i):
                run(i)
            results[i].exception()  # waits
            yield item, results[i]
            line.given()
    finally:
        line.stop()
        for helper in helpers:
            helper.join()
