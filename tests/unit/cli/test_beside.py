"""Evidently's dashboard beside the console ends with it, however that ends."""

import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep

import pytest

from conftest import ROOT

CODE = """
import sys, time
from importlib.util import find_spec
from pathlib import Path
from headhunt_svc.cli.operators import beside
with beside(Path(sys.argv[1]), "127.0.0.1") as address:
    print(address, flush=True)
    time.sleep(60)
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(find_spec("evidently") is None, reason="needs Evidently (extra monitor)")
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes as Linux lists them")
def test_the_dashboard_ends_with_a_console_that_is_killed(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(
        [sys.executable, "-c", CODE, str(tmp_path)], stdout=subprocess.PIPE, env=environment
    ) as console:
        assert console.stdout is not None
        assert console.stdout.readline().startswith(b"http://127.0.0.1:")
        (child,) = map(int, Path(f"/proc/{console.pid}/task/{console.pid}/children").read_text().split())
        deadline = monotonic() + 60
        while len(list(Path(f"/proc/{child}/task").iterdir())) < 2:  # it has a thread of its own for that
            assert monotonic() < deadline
            sleep(0.05)
        os.kill(console.pid, signal.SIGKILL)
    while is_running(child):
        assert monotonic() < deadline
        sleep(0.05)
