"""The stages on a small corpus, as DVC runs them, twice: same bytes, and the table has its rows."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from conftest import ROOT, STAGES, headhunt
from headhunt_svc.cli.demo import print_seeds
from headhunt_svc.data.datasets import load_index
from headhunt_svc.demo.model import build_model, build_tokenizer
from headhunt_svc.demo.params import DEMO_PARAMS, DemoModelParams
from headhunt_svc.demo.scenes import KINDS, UNSEEN_KINDS
from headhunt_svc.detector.bundle import load_bundle
from headhunt_svc.detector.cautions import domain_of
from headhunt_svc.detector.report import load_report
from headhunt_svc.params import load_params
from headhunt_svc.studies.compare import compare
from headhunt_svc.studies.published import SINGLE
from headhunt_svc.types import LABELLED


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
        "hard_per_kind": 1,
        "hard_normal": 1,
    }
    demo = yaml.safe_load(DEMO_PARAMS.read_text())
    demo["corpus"] |= counts | {"size": 64}
    (folder / "demo.yaml").write_text(yaml.safe_dump(demo))
    params["segmentation"] |= {"length_s": 2.4, "frames_per_segment": 4}  # a quarter of the work
    params["prompts"]["texts"] = params["prompts"]["texts"][:2]
    params["identify"] |= {"few_videos": 0}
    params["fit"] |= {"grid": [0.1, 1.0], "folds": 3, "normality_weights": [0.0, 1.0]}  # tables of many fits
    params["calibrate"] |= {"sigma_segments": [0.0, 1.5], "n_thresholds": 9}
    params["evaluate"] |= {"bootstrap": 10, "random_draws": 2}
    params["ablate"] |= {
        "labelled_videos": [6, 12],
        "draws": 2,
        "random_draws": 2,
        "top_k": [2, 10],
        "instability_penalty": [0.5],
        "specific": ["does someone fall?", "is there a fight?"],
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    (folder / "artifacts").mkdir()
    (folder / "artifacts" / "demo_mllm").symlink_to(ROOT / "artifacts" / "demo_mllm")
    return folder


def index_of(project: Path) -> tuple[Path, Path]:
    return project / "artifacts" / "index.parquet", project / "artifacts" / "labels.parquet"


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
    _run(project, ["demo corpus --params demo.yaml", *STAGES[1:]])
    first = _digests(project)
    for shard in (project / "data" / "features").glob("*.safetensors"):
        shard.unlink()  # made again from the videos
    _run(project, [stage for stage in STAGES[2:] if stage != "generalise"])  # a minute; it reads what is compared here
    assert _digests(project) == first
    metrics, ablation = (json.loads((project / "artifacts" / f"{n}.json").read_text()) for n in ("metrics", "ablation"))
    arms = ablation["arms"]
    assert list(arms) == [
        "expert_robust",
        "expert_paper",
        "paper",
        *SINGLE,
        "random_k",
        "whole_layer",
        "all_heads",
        "final_hidden",
        "single_prompt",
        "oracle_prompt",
        "scorer_svm",
        "scorer_mlp",
        "scorer_logistic",
        "scorer_normality",
        "background_median",
        "background_ema",
        "steady_kept",
        "no_smoothing",
        "fixed_threshold",
        "text_answer",
        "text_probability",
        "text_answer_specific",
        "text_probability_specific",
        "untrained",
    ]
    index = load_index(project / "artifacts" / "index.parquet")
    cameras = {v.camera for v in index if v.split in LABELLED}
    for row in arms.values():
        for split, n in (("test", 11), ("hard", 10)):
            assert 0 <= row[split]["average_precision"] <= 1
            assert row[split]["roc_auc_interval"][0] <= row[split]["roc_auc_interval"][1]
            assert row[split]["n_videos"] == n
            assert set(row[split]["by_kind"]) == set(KINDS)
            assert row[split]["groups"]["unseen_kinds"]["kinds"] == sorted(UNSEEN_KINDS)
            assert not cameras & {*row[split]["groups"]["new_cameras"]["cameras"]}
        for few in row.get("low_label", {}).values():
            assert few["mean"] == pytest.approx(np.mean(few["roc_auc"]))
    assert {name: list(points) for name, points in ablation["sweeps"].items()} == {
        "top_k": ["2", "10"],
        "instability_penalty": ["0.5"],
        "prompts": ["1", "2"],
    }
    for arm in ("fixed_threshold", "expert_robust"):  # a threshold changes no rank metric
        assert arms[arm]["test"]["roc_auc"] == arms["expert_robust"]["test"]["roc_auc"]
    assert arms["oracle_prompt"]["test"]["roc_auc"] == max(arms["single_prompt"]["test"]["each"]["roc_auc"])
    # evaluate measures the detector that serves, ablate computes the same arm from stored features
    for key in ("roc_auc", "average_precision"):
        assert arms["expert_robust"]["test"][key] == pytest.approx(metrics[key], abs=1e-4)
    for name, group in metrics["groups"].items():
        assert group["roc_auc"] == pytest.approx(arms["expert_robust"]["test"]["groups"][name]["roc_auc"], abs=1e-4)
    assert ablation["detector_id"] == metrics["detector_id"]
    assert metrics["protocol"] | {"sigma": None} == {
        "dataset": "own",
        "span_ends": "half_open",
        "smoothing": "offline",
        "sigma": None,
        "operating_point": "f1",
        "bootstrap": 10,
        "missing": [],
    }
    assert metrics["f1"] == metrics["at_threshold"]["f1"]
    assert 0 <= metrics["causal"]["roc_auc"] <= 1
    points = json.loads((project / "artifacts" / "locator.json").read_text())
    assert list(points) == ["f1", "budget", "recall", "conformal"]
    assert "1 normal videos cannot guarantee" in points["conformal"]["unavailable"]  # one normal validation video
    bundle = json.loads((project / "artifacts" / "detector" / "bundle.json").read_text())
    assert set(bundle["operating_points"]) == {n for n, p in points.items() if "unavailable" not in p} >= {"f1"}
    assert bundle["unavailable"] == {n: p["unavailable"] for n, p in points.items() if "unavailable" in p}
    # what speaks against the detector goes from the model and from identify into the bundle and every report
    assert bundle["domain"] == domain_of(ROOT / "artifacts" / "demo_mllm")
    assert bundle["confidence"] == json.loads((project / "artifacts" / "heads.json").read_text())["confidence"]
    reports = [load_report(path) for path in (project / "data" / "reports").rglob("*.json")]
    assert {r.cautions for r in reports} == {load_bundle(project / "artifacts" / "detector")[0].cautions}
    assert "rendered scenes" in reports[0].cautions[0]
    for name in ("curves", "kinds", "timelines"):
        assert (project / "artifacts" / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert arms["expert_robust"]["test"]["roc_auc"] > arms["untrained"]["test"]["roc_auc"]


def test_the_better_of_two_models_is_chosen_on_validation_videos(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model that ships against one of random weights."""
    params = load_params(project / "params.yaml")
    untrained = tmp_path / "untrained"
    tokenizer = build_tokenizer()
    build_model(tokenizer, DemoModelParams(), seed=5).save_pretrained(untrained)
    tokenizer.save_pretrained(untrained)
    monkeypatch.chdir(project)
    models = {"untrained": untrained, "shipped": ROOT / "artifacts" / "demo_mllm"}
    out = tmp_path / "seeds.json"
    assert compare(params, models, *index_of(project), tmp_path / "work", out) == "shipped"
    found = json.loads(out.read_text())
    assert found["best_on_validation"] == "shipped"
    metrics = json.loads((project / "artifacts" / "metrics.json").read_text())
    assert found["models"]["shipped"]["test"]["roc_auc"] == pytest.approx(metrics["roc_auc"], abs=1e-4)
    print_seeds(out)


def test_a_missing_report_fails_the_evaluation_unless_that_is_allowed(project: Path) -> None:
    path = next((project / "data" / "reports").rglob("run_00*.json"))
    path.rename(path.with_suffix(".away"))
    metrics = (project / "artifacts" / "metrics.json").read_text()
    refused, allowed = headhunt("evaluate", cwd=project), headhunt("evaluate", "--allow-missing", cwd=project)
    path.with_suffix(".away").rename(path)
    assert refused.returncode == 2
    assert "1 of 11 test videos have no report in data/reports: test/run_00.mp4: run" in refused.stderr
    assert allowed.returncode == 0, allowed.stderr
    assert "missing 1 (test/run_00.mp4)" in allowed.stdout
    assert json.loads((project / "artifacts" / "metrics.json").read_text())["n_videos"] == 10
    (project / "artifacts" / "metrics.json").write_text(metrics)


def test_a_missing_video_is_named(project: Path) -> None:
    path = project / "data" / "demo" / "test" / "run_00.mp4"
    path.rename(path.with_suffix(".away"))
    done = headhunt("index", cwd=project)
    path.with_suffix(".away").rename(path)
    assert done.returncode == 2
    assert "1 videos do not fit their annotations: data/demo/test/run_00.mp4: no such file" in done.stderr


def test_the_shipped_detector_keeps_its_promise() -> None:
    metrics, ablation = (json.loads((ROOT / "artifacts" / f"{n}.json").read_text()) for n in ("metrics", "ablation"))
    assert metrics["roc_auc"] >= 0.90
    assert metrics["average_precision"] >= 0.70
    assert metrics["roc_auc"] - ablation["arms"]["untrained"]["test"]["roc_auc"] >= 0.25
    assert ablation["detector_id"] == metrics["detector_id"]
    assert set(UNSEEN_KINDS) < set(metrics["by_kind"])
