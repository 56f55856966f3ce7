"""A worker of the service and its supervisor: small processes in their places."""

import signal
import subprocess
import sys
import time

import psutil

from conftest import until

WORKER = """
import time
from headhunt_svc.serve import supervisor
supervisor.end_with_supervisor(1)
print("up", flush=True)
time.sleep(60)
"""
FAILING = "from headhunt_svc.serve import supervisor; supervisor.leave_for_good()"
SUPERVISOR = """
import signal, subprocess, sys, time
from headhunt_svc.serve import supervisor
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # as BentoML's
supervisor.exit_like_workers()
worker = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
print(worker.pid, worker.stdout.readline(), flush=True)
time.sleep(60)
"""


def supervisor(worker: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SUPERVISOR, worker, "bentoml"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_worker_that_cannot_serve_is_an_exit_code_of_its_supervisor() -> None:
    with supervisor(FAILING) as process:
        assert process.wait(30) == 1


def test_a_worker_ends_with_its_supervisor_however_that_ends() -> None:
    with supervisor(WORKER) as process:
        assert process.stdout is not None
        pid, up = process.stdout.readline().split()
        assert "up" in up
        worker = psutil.Process(int(pid))
        process.send_signal(signal.SIGKILL)
        started = time.monotonic()
        until(lambda: ended(worker), 10)
        assert time.monotonic() - started < 5
