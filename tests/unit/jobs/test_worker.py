"""A worker that is asked to stop."""

import signal
import threading
import time

from headhunt_svc.jobs.worker import StopRequest


def test_a_signal_at_any_moment_of_waiting_stops_it() -> None:
    """A thousand signals, each at another moment of the wait, the first moments included."""
    previous = signal.getsignal(signal.SIGALRM)
    try:
        for i in range(1000):
            request = StopRequest()
            signal.signal(signal.SIGALRM, lambda *_, request=request: request.set())
            signal.setitimer(signal.ITIMER_REAL, 1e-6 + i * 1e-7)
            assert request.wait(5)
    finally:
        signal.signal(signal.SIGALRM, previous)


def test_waiting_ends_when_the_time_is_over() -> None:
    started = time.monotonic()
    assert not StopRequest().wait(0.05)
    assert time.monotonic() - started >= 0.05


def test_another_thread_may_ask() -> None:
    request = StopRequest()
    threading.Timer(0.05, request.set).start()
    assert request.wait(5)
