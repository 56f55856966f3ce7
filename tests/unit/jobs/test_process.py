"""Several videos in one scoring process: who is blamed for its death, who is stopped, who waits; no model is loaded."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from conftest import until
from headhunt_svc.jobs.models import AttemptOutcome, JobOptions, JobVideo
from headhunt_svc.jobs.process import ScoringProcess
from headhunt_svc.jobs.store import ResultStore

OPTIONS = JobOptions.model_validate({})
# Notes which videos are in it whenever one comes. `poison` kills it after a moment, `long` ends when it is stopped, and
# the others when they are alone in it.
CHILD = """
import json, os, signal, sys, threading, time

place, n = sys.argv[1], int(sys.argv[2])
inside, stops, lock = {}, {}, threading.Lock()


def say(**message):
    with lock:
        print(json.dumps(message), flush=True)


def work(number, name):
    end = time.monotonic() + 0.1
    while number not in stops and (time.monotonic() < end or name == "long" or (name != "poison" and len(inside) > 1)):
        time.sleep(0.01)
    if name == "poison":
        os.kill(os.getpid(), signal.SIGSEGV)
        time.sleep(60)  # another thread may take the signal
    del inside[number]
    say(id=number, outcome={"stopped": stops[number]} if number in stops else {"result": name, "events": 0})


say(detector_id="d")
say(decoders=n)
for line in sys.stdin:
    message = json.loads(line)
    if "stop" in message:
        stops[message["id"]] = message["stop"]
        continue
    inside[message["id"]] = message["video"]["video_id"]
    with open(place, "a") as notes:
        notes.write(json.dumps(sorted(inside.values())) + "\\n")
    threading.Thread(target=work, args=(message["id"], message["video"]["video_id"]), daemon=True).start()
"""


class Process:
    """A ScoringProcess with the child above."""

    def __init__(self, folder: Path, n: int) -> None:
        self.process = ScoringProcess(folder, ResultStore(folder), 60)
        self._notes = folder / "notes"
        self.process._command = [sys.executable, "-S", "-c", CHILD, str(self._notes), str(n)]
        self._cancelled_when: list[str] | None = None
        self._times = 1
        self.process.start()
        until(lambda: self.process.n == n)

    @property
    def notes(self) -> list[list[str]]:
        """Which videos were in the child whenever one came."""
        return [json.loads(line) for line in self._notes.read_text().splitlines()] if self._notes.exists() else []

    def cancel_when(self, inside: list[str], times: int = 1) -> None:
        """Cancel `long` once these have been in the child, so often."""
        self._cancelled_when, self._times = inside, times

    def score(self, name: str, *, alone: bool = False) -> AttemptOutcome:
        def stop() -> str | None:
            is_time = name == "long" and self.notes.count(self._cancelled_when) >= self._times
            return "cancelled" if is_time else None

        return self.process.score(JobVideo(uri=name, video_id=name), OPTIONS, stop, alone=alone)


Start = Callable[[int], Process]


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as executor:
        yield executor


@pytest.fixture
def start(tmp_path: Path, pool: ThreadPoolExecutor) -> Iterator[Start]:
    """Starts a process for n videos at once; it ends before the pool waits for its threads."""
    with ExitStack() as stack:

        def started(n: int) -> Process:
            process = Process(tmp_path, n)
            stack.callback(process.process.close)
            return process

        yield started


def test_only_the_video_that_kills_the_process_alone_is_blamed(start: Start, pool: ThreadPoolExecutor) -> None:
    process = start(3)
    scored = {"long": pool.submit(process.score, "long")}
    until(lambda: process.notes == [["long"]])
    scored["a"] = pool.submit(process.score, "a")  # it stays as long as it is not alone
    until(lambda: ["a", "long"] in process.notes)
    scored["poison"] = pool.submit(process.score, "poison")
    until(lambda: ["a", "long", "poison"] in process.notes)
    scored["b"] = pool.submit(process.score, "b", alone=True)
    process.cancel_when(["long"], times=2)  # once it is alone again
    for name in ("a", "b"):
        assert scored[name].result(20) == {"result": name, "events": 0}
    assert scored["poison"].result(20) == {"died": "the process that scored it was killed by SIGSEGV"}
    assert scored["long"].result(20) == {"stopped": "cancelled"}
    assert sorted(process.notes[3:]) == [["a"], ["b"], ["long"], ["poison"]]


def test_a_video_whose_process_died_is_alone_and_the_others_wait(start: Start, pool: ThreadPoolExecutor) -> None:
    process = start(3)
    first = pool.submit(process.score, "long")
    until(lambda: process.notes == [["long"]])
    poison = pool.submit(process.score, "poison", alone=True)
    until(lambda: process.process._waiting_alone == 1)
    last = pool.submit(process.score, "b")
    process.cancel_when(["long"])
    assert "died" in poison.result(20)
    assert first.result(20) == {"stopped": "cancelled"}
    assert last.result(20) == {"result": "b", "events": 0}
    assert process.notes == [["long"], ["poison"], ["b"]]
    assert process.process.restarts == 1


def test_one_is_stopped_and_the_others_go_on(start: Start, pool: ThreadPoolExecutor) -> None:
    process = start(2)
    long = pool.submit(process.score, "long")
    until(lambda: process.notes == [["long"]])
    beside = pool.submit(process.score, "a")
    process.cancel_when(["a", "long"])
    assert long.result(20) == {"stopped": "cancelled"}
    assert beside.result(20) == {"result": "a", "events": 0}


@pytest.mark.parametrize("n", [1, 2])
def test_no_more_than_n_are_in_it_and_none_is_begun_once_it_closes(
    start: Start, pool: ThreadPoolExecutor, n: int
) -> None:
    process = start(n)
    scored = [pool.submit(process.score, "long") for _ in range(4)]
    until(lambda: len(process.notes) == n)
    time.sleep(0.1)
    assert process.notes == [["long"] * (i + 1) for i in range(n)]
    closer = pool.submit(process.process.close, 10)
    until(lambda: process.process._is_closed)
    process.cancel_when(["long"])
    closer.result(20)
    reasons = [outcome.result(20)["stopped"] for outcome in scored]
    assert sorted(reasons) == ["cancelled"] * n + ["no more videos are scored"] * (4 - n)
    assert len(process.notes) == n
