"""Benchmarks as a user evaluates them: other people's scores, the baselines, and videos end to end."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from sklearn.metrics import roc_auc_score

from conftest import headhunt, write_video

COUNTS = {"RoadAccidents002_x264": 347, "RoadAccidents012_x264": 468, "Normal_Videos_006_x264": 450}


def small_benchmark(folder: Path) -> list[str | Path]:
    """Two videos of 100 frames, one with an anomaly from 40 to 59 inclusive; the options that name it."""
    folder.mkdir()
    (folder / "Temporal_Anomaly_Annotation_for_Testing_Videos.txt").write_text(
        "Abuse1.mp4  Abuse  40  59  -1  -1\nNormal_1.mp4  Normal  -1  -1  -1  -1\n"
    )
    (folder / "test_frame_counts.txt").write_text("Abuse1 0 99 0\nNormal_1 0 99 7\n")
    return ["--dataset", "ucf_crime", "--annotations", folder]


def test_scores_are_evaluated_and_everything_is_said(tmp_path: Path) -> None:
    options = small_benchmark(tmp_path / "lists")
    rng = np.random.default_rng(0)
    scores = {n: rng.random(10).round(3).tolist() for n in ("Abuse1", "Normal_1")}
    (tmp_path / "s.json").write_text(json.dumps(scores))
    args = ["evaluate-scores", tmp_path / "s.json", *options, "--stride", "10", "--sigma", "1.5"]
    done = headhunt(*args, "--json", tmp_path / "o.json", "--plots", tmp_path / "plots")
    assert done.returncode == 0, done.stderr
    for part in ("span ends inclusive", "smoothing mirrored", "sigma 1.5", "missing none", "baseline: video oracle"):
        assert part in done.stdout
    found = json.loads((tmp_path / "o.json").read_text())
    truth = np.zeros(200, bool)
    truth[40:60] = True
    smoothed = np.concatenate([np.repeat(gaussian_filter1d(s, 1.5), 10) for s in scores.values()])
    assert found["roc_auc"] == pytest.approx(roc_auc_score(truth, smoothed), abs=1e-12)
    assert found["protocol"]["anomalous_frames"] == 20
    for name in ("curves", "timelines", "kinds"):
        assert (tmp_path / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_missing_video_fails_unless_that_is_allowed_and_said(tmp_path: Path) -> None:
    options = small_benchmark(tmp_path / "lists")
    (tmp_path / "s.json").write_text(json.dumps({"Abuse1": [0.5] * 10, "new": [0.1]}))
    args = ["evaluate-scores", tmp_path / "s.json", *options, "--stride", "10"]
    refused = headhunt(*args)
    assert refused.returncode == 2
    assert "has no scores of 1 of 2 videos: Normal_1: add them, or give --allow-missing" in refused.stderr
    allowed = headhunt(*args, "--allow-missing")
    assert allowed.returncode == 0, allowed.stderr
    assert "missing 1 (Normal_1)" in allowed.stdout
    assert "not annotated 1 (new)" in allowed.stdout


def test_nothing_is_computed_from_malformed_annotations(tmp_path: Path) -> None:
    options = small_benchmark(tmp_path / "lists")
    path = tmp_path / "lists" / "Temporal_Anomaly_Annotation_for_Testing_Videos.txt"
    path.write_text(path.read_text() + "x\ny\n")
    done = headhunt("evaluate-scores", *options)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Videos.txt:3: " in done.stderr
    assert "Videos.txt:4: " in done.stderr


@pytest.mark.external_data
def test_published_scores_give_the_published_figures(external: Path, tmp_path: Path) -> None:
    """URF-HVAA (NeurIPS 2025) on UCF-Crime under its own protocol: the figures that its authors state."""
    done = headhunt(
        *("evaluate-scores", external / "published_scores" / "urf_hvaa_ucf_crime_refined.json"),
        *("--dataset", "ucf_crime", "--annotations", external / "annotations" / "ucf_crime"),
        *("--stride", "16", "--sigma", "10", "--span-ends", "inclusive", "--json", tmp_path / "o.json"),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "o.json").read_text())
    assert found["roc_auc"] == pytest.approx(0.8435617840, abs=1e-6)
    assert found["pr_auc_trapezoid"] == pytest.approx(0.3615482031, abs=1e-5)
    assert found["average_precision"] == pytest.approx(0.361643, abs=1e-5)
    assert found["protocol"]["missing"] == []
    assert sum(row["n_frames"] for row in found["per_video"].values()) == 1_111_808


@pytest.mark.external_data
@pytest.mark.parametrize(
    ("name", "ends", "figures"),
    [
        ("ucf_crime", "inclusive", {"roc_auc": 0.81578}),
        ("ucf_crime", "half_open", {"roc_auc": 0.81573}),
        ("xd_violence", "inclusive", {"precision": 0.49889, "average_precision": 0.49889}),
    ],
)
def test_what_a_perfect_video_level_oracle_gets(external: Path, name: str, ends: str, figures: dict) -> None:
    done = headhunt(
        "evaluate-scores", "--dataset", name, "--annotations", external / "annotations" / name, "--span-ends", ends
    )
    assert done.returncode == 0, done.stderr
    row = re.search(r"video oracle (.*)", done.stdout)
    assert row is not None
    cells = dict(
        zip(("roc_auc", "average_precision", "trapezoid", "precision"), re.findall(r"[\d.]+", row[1]), strict=False)
    )
    for figure, value in figures.items():
        assert float(cells[figure]) == pytest.approx(value, abs=1e-5)


@pytest.mark.external_data
def test_real_videos_are_indexed_detected_and_evaluated_by_one_command(external: Path, tmp_path: Path) -> None:
    """The embedded model has never seen a real picture: what counts is that every frame is accounted for."""
    args = [
        *("benchmark", external / "clips" / "ucf_crime", "--dataset", "ucf_crime"),
        *("--annotations", external / "annotations" / "ucf_crime", "--out", tmp_path / "out", "--bootstrap", "5"),
    ]
    refused = headhunt(*args)
    assert refused.returncode == 2
    assert "287 videos do not fit their annotations" in refused.stderr
    done = headhunt(*args, "--allow-missing")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert {name: row["n_frames"] for name, row in found["per_video"].items()} == COUNTS
    assert found["n_frames"] == sum(COUNTS.values())
    assert {n: row["anomalous_frames"] for n, row in found["per_video"].items()} == {
        "RoadAccidents002_x264": 61,
        "RoadAccidents012_x264": 141,
        "Normal_Videos_006_x264": 0,
    }
    assert len(found["protocol"]["missing"]) == 287
    assert "missing 287 (Abuse028_x264" in done.stdout
    for name, n in COUNTS.items():
        report = json.loads((tmp_path / "out" / "reports" / f"{name}.json").read_text())
        edges = [(s["start_frame"], s["stop_frame"]) for s in report["scores"]]
        assert [i for a, b in edges for i in range(a, b)] == list(range(n))


def test_videos_of_a_benchmark_end_to_end(tmp_path: Path) -> None:
    """The same on two small videos that are always there."""
    options = small_benchmark(tmp_path / "lists")
    for name in ("Abuse/Abuse1", "Testing_Normal_Videos_Anomaly/Normal_1"):
        write_video(tmp_path / "videos" / f"{name}.mp4", 100)
    done = headhunt("benchmark", tmp_path / "videos", *options, "--out", tmp_path / "out", "--bootstrap", "5")
    assert done.returncode == 0, done.stderr
    assert "2 videos fit their annotations: 1 anomalous, 200 frames in all" in done.stderr
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert found["protocol"]["smoothing"] == "offline"
    assert found["per_video"]["Abuse1"]["anomalous_frames"] == 20
    assert (tmp_path / "out" / "plots" / "timelines.png").exists()
