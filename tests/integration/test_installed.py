"""A project from the installed package: nothing in it leads to a clone, and DVC runs what a change asks for."""

import json
import re
import zipfile
from pathlib import Path

import pytest
import yaml

from conftest import ROOT
from headhunt_svc.pipeline.stages import STAGES
from helpers.installed import Installed, build_and_install


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return build_and_install(tmp_path_factory.mktemp("installed"))


def running(output: str) -> list[str]:
    """The stages that `dvc repro` runs."""
    return re.findall(r"Running stage '(\w+)'", output)


def test_the_wheel_holds_the_embedded_default(installed: Installed) -> None:
    shipped = "headhunt_svc/demo/assets/shipped/"
    with zipfile.ZipFile(installed.wheel) as wheel:
        files = {n.removeprefix(shipped): wheel.read(n) for n in wheel.namelist() if n.startswith(shipped)}
    kept = [ROOT / name for name in ("params.yaml", "artifacts/ablation.json", "artifacts/metrics.json")]
    kept += [file for file in (ROOT / "artifacts" / "demo_mllm").iterdir()]
    assert files == {str(file.relative_to(ROOT)): file.read_bytes() for file in kept}


def test_the_demo_is_a_project_of_the_package(installed: Installed, tmp_path: Path) -> None:
    where = "import headhunt_svc; print(headhunt_svc.__file__)"
    assert str(installed.folder) in installed.run("python", "-c", where, cwd=tmp_path)
    installed.run("headhunt", "init", "p", "--demo", cwd=tmp_path)
    project = tmp_path / "p"
    planned = installed.run("dvc", "repro", "--dry", "evaluate", cwd=project)
    names = list(STAGES)
    assert running(planned) == ["code", *names[1 : names.index("evaluate") + 1]]
    texts = "".join(p.read_text() for p in project.iterdir() if p.is_file())
    for place in (ROOT, installed.folder):
        assert str(place) not in texts
    installed.run("dvc", "repro", "code", cwd=project)
    recorded = json.loads((project / "artifacts" / "code.json").read_text())
    assert recorded["headhunt-svc"] == "0.1.0"


def test_an_upgrade_is_noticed(installed: Installed, tmp_path: Path) -> None:
    """Of the stages, those that run the changed code."""
