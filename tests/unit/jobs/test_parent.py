"""A process whose parent is killed."""

import signal
import subprocess
import sys
import time

import psutil
import pytest

CHILD = """
import os, sys, time
from headhunt_svc.jobs import parent
parent.POLL_S = 0.01
parent.end_with_parent({stop}, 0.2)
print(os.getpid(), flush=True)
time.sleep(60)
"""
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"


@pytest.mark.parametrize("stop", ["lambda: os.kill(os.getpid(), 15)", "lambda: None"])
def test_a_process_ends_with_its_parent_even_if_it_does_not_stop(stop: str) -> None:
    command = [sys.executable, "-c", PARENT, CHILD.format(stop=stop)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    time.sleep(0.1)
    assert child.is_running()
    parent.send_signal(signal.SIGKILL)
    parent.stdout.close()
    parent.wait()
    _, alive = psutil.wait_procs([child], timeout=10)
    for process in alive:
        process.kill()
    assert not alive
