"""A worker that is asked to stop."""

import signal
import sqlite3
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy.exc

from headhunt_svc.errors import ConfigError, OutputError, UnreachableError
from headhunt_svc.jobs import worker as module
from headhunt_svc.jobs.worker import Worker
from headhunt_svc.settings import JobSettings
from headhunt_svc.storage import locks, retention
from headhunt_svc.storage.locks import locked
from headhunt_svc.storage.stopping import StopRequest


def test_a_signal_at_any_moment_of_waiting_stops_it() -> None:
    """Many signals, each at another moment of the wait, the first moments included."""
    previous = signal.getsignal(signal.SIGALRM)
    try:
        for i in range(150):
            request = StopRequest()
            signal.signal(signal.SIGALRM, lambda *_, request=request: request.set())
            signal.setitimer(signal.ITIMER_REAL, 1e-6 + i * 7e-7)
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


TROUBLES = [
    sqlite3.OperationalError("disk I/O error"),
    sqlite3.DatabaseError(""),
    sqlalchemy.exc.OperationalError("select", {}, Exception("away")),
    sqlalchemy.exc.TimeoutError(),
    UnreachableError("away"),
]


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path / "bundle", JobSettings(folder=tmp_path, backoff_s=0.001, backoff_most_s=0.001))


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda t: f"{type(t).__module__}.{type(t).__name__}")
def test_a_worker_waits_for_its_database_whatever_it_raises(worker: Worker, trouble: Exception) -> None:
    troubles = [trouble, trouble]

    def action() -> str:
        if troubles:
            raise troubles.pop()
        return "done"

    assert worker._with_database("w", action) == "done"


@pytest.mark.parametrize(
    "trouble", [UnreachableError("away"), OutputError(""), OSError(), OSError(28, "No space left")], ids=repr
)
def test_housekeeping_goes_on_after_trouble(
    worker: Worker, trouble: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headhunt_svc.jobs.worker.HOUSEKEEPING_S", 0.001)
    worker.store.workers.mkdir()
    rounds = 0

    def adopt(_: str) -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 3:
            worker.stopping.set()
        raise trouble

    worker.jobs = SimpleNamespace(adopt=adopt)  # type: ignore[assignment]
    worker._housekeeping("w")
    assert rounds == 3


def test_a_clock_that_jumps_ahead_forgets_no_jobs_until_it_has_run_on_for_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a worker that runs, and in one that starts with a wrong clock."""
    now = {"days": time.time() / 86_400, "seconds": 0.0}
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: 86_400 * now["days"]))
    monkeypatch.setattr(retention, "monotonic", lambda: now["seconds"])
    purges: list[float] = []

    def start() -> Worker:
        started = Worker(tmp_path / "bundle", JobSettings(folder=tmp_path / "jobs", keep_days=30))
        started.jobs = SimpleNamespace(purge=lambda: purges.append(now["days"]))  # type: ignore[assignment]
        return started

    def purged(one: Worker, days: float, hours: float) -> bool:
        n = len(purges)
        now.update(days=now["days"] + days, seconds=now["seconds"] + 3600 * hours)
        one._purge()
        return len(purges) > n

    running = start()
    running.store.log_scoring("key", 0)
    assert purged(running, 0, 0)
    assert purged(running, 1, 24)
    assert not purged(running, 3650, 1)
    assert purged(running, -3650, 1)
    assert not purged(running, 3650, 0.5)
    late = start()
    assert not purged(late, 0, 0)
    assert not purged(late, 0, 0.9)
    assert purged(late, 0, 0.2)


def test_a_worker_that_starts_again_waits_for_one_that_looks_whether_it_is_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as other:
        assert other.enter_context(locked(tmp_path / "w1"))
        monkeypatch.setattr(locks.time, "sleep", lambda _: other.close())
        with module._locked_name(tmp_path, "w1") as name, locked(tmp_path / "w1") as free:
            assert (name, free) == ("w1", False)


def test_a_name_that_a_worker_has_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NAME_WAIT_S", 0.01)
    monkeypatch.setattr(locks, "LOCK_POLL_S", 0.02)
    with locked(tmp_path / "w1") as held:
        assert held
        with pytest.raises(ConfigError, match="a worker w1 is at work"), module._locked_name(tmp_path, "w1"):
            pass
