"""A project from the installed package: nothing in it leads to a clone, and DVC runs what a change asks for."""

import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from conftest import ROOT
from headhunt_svc.demo.corpus import write_mp4
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
    planned = installed.run("dvc", "repro", "--dry", "--force", "evaluate", cwd=project)
    names = list(STAGES)
    assert running(planned) == ["code", *names[1 : names.index("evaluate") + 1]]
    texts = "".join(p.read_text() for p in project.iterdir() if p.is_file())
    for place in (ROOT, installed.folder):
        assert str(place) not in texts
    installed.run("dvc", "repro", "code", cwd=project)
    recorded = json.loads((project / "artifacts" / "code.json").read_text())
    assert recorded["headhunt-svc"] == "0.1.0"


def videos(folder: Path, names: list[str]) -> None:
    """Short clips of noise, the anomalous ones brighter: what matters here is which stages run."""
    folder.mkdir(exist_ok=True)
    for name in names:
        random = np.random.default_rng(int(name[1:]))
        low = 90 if name.startswith("a") else 0
        pictures = random.integers(low, low + 160, (SEGMENTS * 16, 48, 64, 3), np.uint8)
        write_mp4(folder / f"{name}.mp4", pictures, 10)


def annotate(project: Path, splits: dict[str, list[str]]) -> None:
    lines = [
        {"video": f"{name}.mp4", "split": split, "unit": "seconds"}
        | ({"label": "fall", "spans": [[0.0, 1.6]]} if name.startswith("a") else {"label": "normal", "spans": []})
        for split, names in splits.items()
        for name in names
    ]
    (project / "annotations.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def shards(project: Path) -> dict[str, int]:
    """When each file of the feature store was written."""
    return {p.name: p.stat().st_mtime_ns for p in (project / "data" / "features").glob("*.safetensors")}


SEGMENTS = 2


def test_changes_run_what_depends_on_them(installed: Installed, tmp_path: Path) -> None:
    splits = {"calibration": ["a1", "a2", "a3", "n1", "n2", "n3"], "validation": ["a4", "n4"], "test": ["a5", "n5"]}
    videos(tmp_path / "footage", [name for names in splits.values() for name in names])
    installed.run("headhunt", "init", "q", "--footage", "footage", cwd=tmp_path)
    project = tmp_path / "q"
    annotate(project, splits)

    def repro(stage: str) -> list[str]:
        return running(installed.run("dvc", "repro", stage, cwd=project))

    assert sorted(repro("extract")) == ["code", "extract", "index", "model"]
    assert repro("extract") == ["code"]  # which looks at the package, every time
    before = shards(project)

    with (project / "params.yaml").open("a") as params:
        params.write("identify:\n  top_k: 2\n")  # a section that had its defaults: the stage `code` writes both
    assert repro("extract") == ["code"]

    (package,) = installed.folder.glob("lib/python*/site-packages/headhunt_svc")
    for upgraded, stages in (("serve/api.py", ["code"]), ("pipeline/index.py", ["code", "index"])):
        with (package / upgraded).open("a") as code:
            code.write("# an upgrade\n")
        assert repro("extract") == stages
    assert shards(project) == before

    assert "model:" not in installed.run("dvc", "status", cwd=project)
    config = project / "artifacts" / "demo_mllm" / "config.json"
    config.write_text(config.read_text() + "\n")
    assert "model:" in installed.run("dvc", "status", cwd=project)
