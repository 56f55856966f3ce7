"""Benchmarks as a user evaluates them: other people's scores, the baselines, and videos end to end."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from sklearn.metrics import roc_auc_score

from conftest import headhunt, write_video
from helpers.exports import Labelled, cvat_project

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


SPANS = {"yard/a.mp4": ("fight", 100, [[40, 60]]), "yard/b.mp4": ("normal", 90, []), "c.mp4": ("fall", 77, [[0, 5]])}


def own_annotations(path: Path, n_frames: bool = False, **changes: object) -> Path:
    rows = [
        {"video": video, "split": "test", "label": label, "spans": spans, "unit": "frames"}
        | ({"n_frames": n} if n_frames else {})
        | changes
        for video, (label, n, spans) in SPANS.items()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def own_scores(stride: int) -> dict[str, list[float]]:
    rng = np.random.default_rng(1)
    return {video: rng.random(-(-n // stride)).round(3).tolist() for video, (_, n, _) in SPANS.items()}


def figures(tmp_path: Path, *args: str | Path) -> dict:
    done = headhunt("evaluate-scores", *args, "--json", tmp_path / "figures.json", "--bootstrap", "20")
    assert done.returncode == 0, done.stderr
    return json.loads((tmp_path / "figures.json").read_text())


def test_a_file_for_each_video_gives_the_figures_of_one_file_of_lists(tmp_path: Path) -> None:
    """Scores by frame on annotations of one's own, without a converter; also as CVAT has them, and as a benchmark."""
    scores, folder = own_scores(16), tmp_path / "scores"
    (tmp_path / "lists.json").write_text(json.dumps(scores))
    for video, values in scores.items():
        (folder / video).parent.mkdir(parents=True, exist_ok=True)
        by_frame = {str(16 * i): value for i, value in enumerate(values)}
        (folder / f"{video.removesuffix('.mp4')}.json").write_text(json.dumps(by_frame))
    options = ["--dataset", "own", "--annotations", own_annotations(tmp_path / "a.jsonl", n_frames=True), "--fps", "30"]
    of_lists = figures(tmp_path, tmp_path / "lists.json", *options, "--sigma", "1.5")
    assert figures(tmp_path, folder, *options, "--sigma", "1.5") == of_lists
    assert of_lists["protocol"] | {"frames": 267, "anomalous_frames": 25, "missing": []} == of_lists["protocol"]
    truth = np.zeros(267, bool)
    truth[40:60] = truth[190:195] = True
    smoothed = [np.repeat(gaussian_filter1d(scores[video], 1.5), 16)[:n] for video, (_, n, _) in SPANS.items()]
    assert of_lists["roc_auc"] == pytest.approx(roc_auc_score(truth, np.concatenate(smoothed)), abs=1e-12)

    labelled = [
        Labelled(v, "test", n, tuple((a, b) for a, b in spans), label) for v, (label, n, spans) in SPANS.items()
    ]
    options[3] = tmp_path / "a.xml"
    options[3].write_text(cvat_project(labelled))
    by_name = {Path(video).name: values for video, values in scores.items()}
    (tmp_path / "names.json").write_text(json.dumps(by_name))
    of_cvat = figures(tmp_path, tmp_path / "names.json", *options, "--sigma", "1.5")
    assert of_cvat.pop("per_video").keys() == by_name.keys()
    assert of_cvat == {name: value for name, value in of_lists.items() if name != "per_video"}

    lists = tmp_path / "lists"
    lists.mkdir()
    counts = "".join(f"{Path(v).stem} 0 {n - 1} 0\n" for v, (_, n, _) in SPANS.items())
    (lists / "test_frame_counts.txt").write_text(counts)
    (lists / "Temporal_Anomaly_Annotation_for_Testing_Videos.txt").write_text(
        "a.mp4 fight 40 59 -1 -1\nb.mp4 Normal -1 -1 -1 -1\nc.mp4 fall 0 4 -1 -1\n"
    )
    of_benchmark = figures(
        tmp_path, tmp_path / "names.json", "--dataset", "ucf_crime", "--annotations", lists, "--sigma", "1.5"
    )
    assert of_benchmark.pop("per_video").keys() == {"a", "b", "c"}
    changed = {"dataset": "own", "span_ends": "half_open"}
    assert of_benchmark | {"protocol": of_benchmark["protocol"] | changed} == of_cvat


def test_lengths_come_from_the_scores_or_from_the_videos(tmp_path: Path) -> None:
    scores = own_scores(1)
    by_frame = {video: {str(i): value for i, value in enumerate(values)} for video, values in scores.items()}
    for name, value in (("lists", scores), ("frames", by_frame)):
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    options = ["--dataset", "own", "--annotations", own_annotations(tmp_path / "a.jsonl"), "--stride", "1"]
    of_scores = figures(tmp_path, tmp_path / "lists.json", *options, "--fps", "10")
    assert of_scores["protocol"]["frames"] == 267
    assert figures(tmp_path, tmp_path / "frames.json", *options, "--fps", "10") == of_scores
    for video, (label, n, _) in SPANS.items():
        write_video(tmp_path / "root" / video, n)
        write_video(tmp_path / "folders" / ("normal" if label == "normal" else "anomalous") / video, n)
    scanned = figures(tmp_path, tmp_path / "frames.json", *options, "--root", tmp_path / "root")
    assert scanned.pop("protocol") == of_scores.pop("protocol") | {"fps": "of the files"}
    assert scanned == of_scores
    inclusive = figures(tmp_path, tmp_path / "lists.json", *options, "--fps", "10", "--span-ends", "inclusive")
    assert inclusive["protocol"]["anomalous_frames"] == 27
    in_folders = headhunt("evaluate-scores", "--dataset", "folders", "--root", tmp_path / "folders")
    assert in_folders.returncode == 0, in_folders.stderr
    assert "videos 3, anomalous videos 2, frames 267, anomalous frames 177" in in_folders.stdout


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--dataset", "own"], "give annotations, except for the layout `folders`"),
        (["--dataset", "folders"], "the layout 'folders' needs the videos: give their folder with --root"),
        (["--dataset", "own", "--annotations", "a.jsonl"], "seconds need a rate: give --fps, or"),
        (
            ["--dataset", "own", "--annotations", "a.jsonl", "--fps", "30"],
            "the lengths of 3 videos are not known (yard/a",
        ),
        (["--dataset", "own", "--annotations", "train.jsonl", "--fps", "30"], "name no video of the split `test`"),
        (["s.json", "--dataset", "own", "--annotations", "a.jsonl", "--fps", "30"], "yard/a.mp4: span (40, 60) is not"),
        (
            ["m.json", "--dataset", "own", "--annotations", "a.jsonl", "--fps", "30"],
            "no scores of 2 of 3 videos: c.mp4; y",
        ),
    ],
)
def test_what_scores_of_ones_own_lack_is_told_in_one_line(tmp_path: Path, options: list[str], says: str) -> None:
    own_annotations(tmp_path / "a.jsonl")
    own_annotations(tmp_path / "train.jsonl", split="calibration")
    (tmp_path / "s.json").write_text(json.dumps({video: [0.1] for video in SPANS}))
    (tmp_path / "m.json").write_text(json.dumps({"yard/a.mp4": [0.1] * 7}))
    done = headhunt("evaluate-scores", *options, cwd=tmp_path)
    assert done.returncode == 2
    assert says in " ".join(done.stderr.replace("│", "").split())


def test_videos_of_ones_own_end_to_end(tmp_path: Path) -> None:
    for video, (_, n, _) in SPANS.items():
        write_video(tmp_path / "root" / video, n)
    annotations = own_annotations(tmp_path / "a.jsonl")
    options = ["--dataset", "own", "--annotations", annotations, "--out", tmp_path / "out", "--bootstrap", "5"]
    done = headhunt("benchmark", tmp_path / "root", *options)
    assert done.returncode == 0, done.stderr
    for part in (
        "new cameras: no row, there are no calibration",
        "class-agnostic mAP",
        "alarm within 2 / 5 / 10 s: of the",
    ):
        assert part in done.stdout
    own_annotations(tmp_path / "train.jsonl", split="calibration")
    without_test = [*options[:3], tmp_path / "train.jsonl", "--out", tmp_path / "none"]
    refused = headhunt("benchmark", tmp_path / "root", *without_test)
    assert refused.returncode == 2
    assert "no video is in the split `test`" in refused.stderr
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["protocol"]["dataset"] == "own"
    assert {name: row["anomalous_frames"] for name, row in metrics["per_video"].items()} == {
        "yard/a.mp4": 20,
        "yard/b.mp4": 0,
        "c.mp4": 5,
    }


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
