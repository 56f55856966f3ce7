"""Commands that run no model import none: help, lists, and the refusal of wrong input. Each in a fresh process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT, write_video

HEAVY = {"torch", "transformers", "sklearn", "onnx", "matplotlib", "evidently"}
COMMAND = """
import json, sys
from headhunt_svc.cli.main import main
code = 0
try:
    main()
except SystemExit as stop:
    code = stop.code or 0
print(json.dumps([code, sorted({name.split(".")[0] for name in sys.modules})]))
"""


def run(folder: Path, args: list[str]) -> tuple[int, set[str], str]:
    """Exit code, imported packages and standard error of `headhunt ARGS`."""
    env = {**os.environ, "HEADHUNT_JOBS_FOLDER": str(folder / "jobs")}
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *args], cwd=folder, env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    code, packages = json.loads(done.stdout.splitlines()[-1])
    return code, set(packages), done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a video and the bundle that ships."""
    folder = tmp_path_factory.mktemp("imports")
    (folder / "artifacts").symlink_to(ROOT / "artifacts")
    write_video(folder / "yard.mp4", 20)
    return folder


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("--help", 0, ""),
        ("--version", 0, ""),
        ("jobs list", 0, ""),
        ("bundles list", 0, ""),
        ("bundle show", 0, ""),
        ("jobs submit yard.mp4", 0, ""),
        ("detect nothing-there.mp4", 3, "nothing-there.mp4: no such file"),
        ("detect yard.mp4 --threshold 1.5", 2, "threshold 1.5 is not in [0, 1]"),
        ("detect yard.mp4 --operating-point loud", 2, "no operating point 'loud' in this bundle; there are: budget"),
        ("detect yard.mp4 --bundle none", 2, "none/bundle.json not found"),
        ("detect yard.mp4 --out yard.mp4/reports", 2, "cannot write"),
        ("detect yard.mp4 --server http://127.0.0.1:9", 2, "does not answer"),
        ("batch yard.mp4 --out o --threshold -1", 2, "threshold -1 is not in [0, 1]"),
        ("batch yard.mp4 --out o --operating-point loud", 2, "no operating point 'loud'"),
        ("jobs submit yard.mp4 --threshold 2", 2, "threshold 2 is not in [0, 1]"),
        ("jobs submit yard.mp4 --smoothing causal --operating-point loud", 2, "in this bundle for causal smoothing"),
        ("worker --bundle none", 2, "none/bundle.json not found"),
        ("export scorer.onnx --operating-point loud", 2, "no operating point 'loud'"),
        ("package --bundle none", 2, "none/bundle.json not found"),
    ],
)
def test_no_model_is_imported(folder: Path, command: str, code: int, message: str) -> None:
    exit_code, packages, stderr = run(folder, command.split())
    assert (exit_code, packages & HEAVY) == (code, set()), stderr
    assert message in stderr
    assert stderr.count("\n") <= (2 if "nothing-there" in command else 1)  # a line for the video, one for the count


def test_the_same_command_with_right_input_imports_the_model(folder: Path) -> None:
    """Otherwise the test above could not fail."""
    exit_code, packages, stderr = run(folder, ["detect", "yard.mp4"])
    assert exit_code == 0, stderr
    assert packages >= {"torch", "transformers"}
