"""Several items at once: results stay in order, no more than n run, and leaving stops the others."""

import threading
import time

import numpy as np
import pytest

from headhunt_svc.detector.in_order import Check, in_order


class Fixed:
    """A number of places that never changes."""

    def __init__(self, n: int, may_be_several: bool = True) -> None:
        self.n, self.may_be_several, self.changed = n, may_be_several, threading.Condition()


def test_results_are_in_order_and_no_more_than_n_run_at_once() -> None:
    several = Fixed(3)
    running, most, threads, lock = 0, 0, set(), threading.Lock()
    rng = np.random.default_rng(0)
    waits = rng.uniform(0, 0.02, 20)

    def work(i: int, check: Check) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            threads.add(threading.get_ident())
        time.sleep(waits[i])
        with lock:
            running -= 1
        if i % 7 == 3:
            raise ValueError(i)
        return i * i

    results = [(i, r.exception() or r.result()) for i, r in in_order(range(20), work, several)]
    assert [i for i, _ in results] == list(range(20))
    assert [r for i, r in results if i % 7 != 3] == [i * i for i in range(20) if i % 7 != 3]
    assert [str(r) for i, r in results if i % 7 == 3] == ["3", "10", "17"]  # errors stay those of their items
    assert most == 3
    assert len(threads) >= 3
    assert not [t for t in threading.enumerate() if t.name == "decoder"]


@pytest.mark.parametrize("may_be_several", [False, True])
def test_one_place_is_the_thread_of_the_caller(may_be_several: bool) -> None:
    one = Fixed(1, may_be_several)
    idents = [r.result() for _, r in in_order("abc", lambda *_: threading.get_ident(), one)]
    assert idents == [threading.get_ident()] * 3


def test_few_are_begun_ahead_of_the_oldest() -> None:
    several, begun, release = Fixed(2), [], threading.Event()

    def work(i: int, check: Check) -> int:
        begun.append(i)
        if i == 0:
            release.wait(0.3)  # a long video; those behind it are short
        return i

    assert [r.result() for _, r in in_order(range(40), work, several)] == list(range(40))
    before = in_order(range(40), work, several)
    next(before)
    time.sleep(0.1)
    assert max(begun[40:]) < 2 * 2 + 1
    before.close()


def test_leaving_the_loop_stops_the_others() -> None:
    several, stopped = Fixed(3), []
    others = threading.Event()

    def work(i: int, check: Check) -> int:
        if i == 0:
            others.wait(10)
            return 0
        others.set()
        try:
            while True:
                check()
                time.sleep(0.001)
        except Exception:
            stopped.append(i)
            raise

    results = in_order(range(9), work, several)
    next(results)
    results.close()
    assert set(stopped) >= {1}
    assert not [t for t in threading.enumerate() if t.name == "decoder"]


@pytest.mark.parametrize("most", [0, 1])
def test_where_no_thread_may_be_begun_those_that_run_do_all(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    start, n_begun = threading.Thread.start, 0

    def limited(thread: threading.Thread) -> None:
        nonlocal n_begun
        if thread.name == "decoder":
            if n_begun == most:
                raise RuntimeError("can't start new thread")
            n_begun += 1
        start(thread)

    results: list[int] = []
    monkeypatch.setattr(threading.Thread, "start", limited)
    loop = threading.Thread(
        target=lambda: results.extend(r.result() for _, r in in_order(range(9), lambda i, _: i, Fixed(3))), daemon=True
    )
    loop.start()
    loop.join(10)
    assert results == list(range(9))
    assert n_begun == most
