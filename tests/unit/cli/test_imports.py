"""What runs no model imports none: help, lists, refusals of wrong input, and what starts the process that scores."""

import json
import os
import subprocess
import sys

import pytest

from conftest import ROOT, write_video

HEAVY = {"torch", "transformers", "sklearn", "onnx", "matplotlib", "evidently"}
CASES = [
    ("--help", 0, ""),
    ("--version", 0, ""),
    ("jobs list", 0, ""),
    ("bundles list", 0, ""),
    ("bundle show", 0, ""),
    ("models list", 0, ""),
    ("models check owner/model", 2, "owner/model cannot be resolved while HF_HUB_OFFLINE is set"),
    ("jobs submit yard.mp4", 0, ""),
    ("detect nothing-there.mp4", 3, "nothing-there.mp4: no such file"),
    ("detect yard.mp4 --threshold 1.5", 2, "threshold 1.5 is not in [0, 1]"),
    ("detect yard.mp4 --operating-point loud", 2, "no operating point 'loud' in this bundle; there are: "),
    ("detect yard.mp4 --bundle none", 2, "none/bundle.json not found"),
    ("detect yard.mp4 --out yard.mp4/reports", 2, "cannot write"),
    ("detect yard.mp4 --server http://127.0.0.1:9", 2, "does not answer"),
    ("batch yard.mp4 --out o --threshold -1", 2, "threshold -1 is not in [0, 1]"),
    ("batch yard.mp4 --out o --operating-point loud", 2, "no operating point 'loud'"),
    ("jobs submit yard.mp4 --threshold 2", 2, "threshold 2 is not in [0, 1]"),
    ("jobs submit yard.mp4 --smoothing causal --operating-point loud", 2, "in this bundle for causal smoothing"),
    ("watch --help", 0, ""),
    ("watch --cameras none.yaml", 2, "none.yaml not found"),
    ("watch --bundle none", 2, "none/bundle.json not found"),
    ("worker --bundle none", 2, "none/bundle.json not found"),
    ("export scorer.onnx --operating-point loud", 2, "no operating point 'loud'"),
    ("package --bundle none", 2, "none/bundle.json not found"),
]
RIGHT = "detect yard.mp4"
CONSOLE = "headhunt_svc.console.server"
SLOW = HEAVY | {"pandas", "scipy.stats"}  # what a page never needs before it is asked for
# the parent of the process that scores, also on Ray, and BentoML's supervisor
MODULES = ["headhunt_svc.jobs.worker", "headhunt_svc.jobs.batch", "headhunt_svc.serve.service"]
# A fork for each command, of a process that has only imported the command line.
RUN = """
import importlib, json, os, sys
from headhunt_svc.cli.main import main
results = []
for number, command in enumerate(json.load(sys.stdin)):
    if (pid := os.fork()) == 0:
        os.dup2(os.open(f"{number}.err", os.O_WRONLY | os.O_CREAT), 2)
        sys.argv = ["headhunt", *command.split()]
        code = 0
        try:
            importlib.import_module(command) if command.startswith("headhunt_svc.") else main()
        except SystemExit as stop:
            code = stop.code or 0
        with open(f"{number}.json", "w") as file:
            json.dump([code, sorted({*sys.modules})], file)
        sys.stderr.flush()
        os._exit(0)
    os.waitpid(pid, 0)
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, set[str], str]]:
    """Exit code, imported modules and standard error of every command or import, beside a video and the bundle."""
    folder = tmp_path_factory.mktemp("imports")
    (folder / "artifacts").symlink_to(ROOT / "artifacts")
    write_video(folder / "yard.mp4", 20)
    env = {**os.environ, "HEADHUNT_JOBS_FOLDER": str(folder / "jobs")}
    commands = [*(command for command, *_ in CASES), *MODULES, CONSOLE, RIGHT]
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps(commands),
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    results = {}
    for number, command in enumerate(commands):
        code, modules = json.loads((folder / f"{number}.json").read_text())
        results[command] = code, set(modules), (folder / f"{number}.err").read_text()
    return results


@pytest.mark.parametrize(("command", "code", "message"), CASES)
def test_no_model_is_imported(
    results: dict[str, tuple[int, set[str], str]], command: str, code: int, message: str
) -> None:
    exit_code, packages, stderr = results[command]
    assert (exit_code, packages & HEAVY) == (code, set()), stderr
    assert message in stderr
    assert stderr.count("\n") <= (2 if "nothing-there" in command else 1)  # a line for the video, one for the count


@pytest.mark.parametrize("module", MODULES)
def test_what_starts_the_process_that_scores_imports_no_model(
    results: dict[str, tuple[int, set[str], str]], module: str
) -> None:
    exit_code, packages, stderr = results[module]
    assert exit_code == 0, stderr
    assert packages & HEAVY == set()


def test_the_console_starts_without_what_only_learning_and_judging_need(
    results: dict[str, tuple[int, set[str], str]],
) -> None:
    exit_code, modules, stderr = results[CONSOLE]
    assert exit_code == 0, stderr
    assert modules & SLOW == set()


def test_the_same_command_with_right_input_imports_the_model(results: dict[str, tuple[int, set[str], str]]) -> None:
    """Otherwise the test above could not fail."""
    exit_code, packages, stderr = results[RIGHT]
    assert exit_code == 0, stderr
    assert packages >= {"torch", "transformers"}
