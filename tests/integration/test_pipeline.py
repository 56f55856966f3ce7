"""The stages on a small corpus, as DVC runs them, twice: same bytes, and the table has its rows."""

import hashlib
import json
from pathlib import Path

import pytest
import yaml

from conftest import ROOT, STAGES, headhunt


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    counts = {
        "calibration_per_kind": 1,
        "calibration_normal": 3,
        "validation_per_kind": 1,
        "validation_normal": 1,
        "test_per_kind": 1,
        "test_normal": 2,
    }
    params["corpus"] |= counts | {"size": 64}
    params["prompts"]["texts"] = params["prompts"]["texts"][:2]
    params["evaluate"] |= {"bootstrap": 10, "random_draws": 2}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    (folder / "artifacts").mkdir()
    (folder / "artifacts" / "demo_mllm").symlink_to(ROOT / "artifacts" / "demo_mllm")
    return folder


def _run(project: Path, stages: list[str]) -> None:
    for stage in stages:
        done = headhunt(*stage.split(), cwd=project)
        assert done.returncode == 0, f"{stage}: {done.stdout[-500:]} {done.stderr[-2000:]}"


def _digests(project: Path) -> dict[str, str]:
    made = [
        p
        for top in ("artifacts", "data")
        for p in (project / top).rglob("*")
        if p.is_file() and "demo_mllm" not in p.parts
    ]
    return {str(p.relative_to(project)): hashlib.sha256(p.read_bytes()).hexdigest() for p in made}


def test_twice_the_same_bytes(project: Path) -> None:
    _run(project, STAGES)
    first = _digests(project)
    for shard in (project / "data").rglob("*.safetensors"):
        shard.unlink()  # made again from the videos
    _run(project, STAGES[2:])
    assert _digests(project) == first
    rows = json.loads((project / "artifacts" / "metrics.json").read_text())
    assert list(rows) == ["expert_heads", "random_heads", "whole_layer", "untrained"]
    for row in rows.values():
        assert 0 <= row["average_precision"] <= 1
        assert row["roc_auc_interval"][0] <= row["roc_auc_interval"][1]
        assert row["n_videos"] == 9
    assert rows["expert_heads"]["roc_auc"] > rows["untrained"]["roc_auc"]


def test_a_missing_video_is_named(project: Path) -> None:
    path = project / "data" / "demo" / "test" / "run_00.mp4"
    path.rename(path.with_suffix(".away"))
    done = headhunt("index", cwd=project)
    path.with_suffix(".away").rename(path)
    assert done.returncode == 2
    assert "1 videos do not fit their annotations: data/demo/test/run_00.mp4: no such file" in done.stderr


def test_the_shipped_detector_keeps_its_promise() -> None:
    rows = json.loads((ROOT / "artifacts" / "metrics.json").read_text())
    expert = rows["expert_heads"]
    assert expert["roc_auc"] >= 0.90
    assert expert["average_precision"] >= 0.70
    assert expert["roc_auc"] - rows["untrained"]["roc_auc"] >= 0.25
