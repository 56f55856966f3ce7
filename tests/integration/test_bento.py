"""The Bento, built as BentoML does it and as `headhunt package` does, serves what the source tree does."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import HEADHUNT, ROOT
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.report import Report
from headhunt_svc.serve.client import Client
from helpers.server import serving


@pytest.fixture(scope="module")
def expected(clip: Path) -> Report:
    return Detector.load(ROOT / "artifacts" / "detector").detect(clip)


@pytest.mark.parametrize("how", ["build", "package"])
def test_the_bento_serves_the_same_from_another_home(clip: Path, expected: Report, tmp_path: Path, how: str) -> None:
    made, home = tmp_path / "made", tmp_path / "home"
    env = os.environ | {"BENTOML_HOME": str(made), "BENTOML_DO_NOT_TRACK": "True", "no_proxy": "*"}
    bentoml = str(Path(sys.executable).with_name("bentoml"))
    command = [bentoml, "build"] if how == "build" else [str(HEADHUNT), "package"]
    for args in (command, [bentoml, "export", "headhunt:latest", str(tmp_path / "it.tar")]):
        done = subprocess.run(args, cwd=ROOT, env=env, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
    other = env | {"BENTOML_HOME": str(home)}
    done = subprocess.run([bentoml, "import", str(tmp_path / "it.tar")], env=other, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(made)
    with serving("headhunt:latest", tmp_path, home, PYTHONPATH="") as server, Client(server.url) as client:
        assert client.detect(clip) == expected
        assert client.detector()["test_metrics"] is not None
    where = next((home / "bentos" / "headhunt").glob("*/env/docker/Dockerfile"))
    assert "FROM python:3.11" in where.read_text()
    requirements = next((home / "bentos" / "headhunt").glob("*/env/python/requirements.txt")).read_text()
    assert "torch>=" in requirements
