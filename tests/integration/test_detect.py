"""`headhunt detect` as a user runs it: a real process, real files, the bundle that ships."""

import json
import re
import shutil
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import av
import numpy as np
import onnxruntime
import pytest
from safetensors.numpy import load_file

from conftest import BENCHMARKS, ROOT, headhunt, write_video
from headhunt_svc.demo.corpus import write_mp4
from headhunt_svc.demo.rendering import render
from headhunt_svc.demo.scenes import FPS, camera, surveillance
from headhunt_svc.detector.batches import PixelBatch, ScoredBatch
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.report import Report, load_report
from headhunt_svc.detector.scorers import ModelScorer
from headhunt_svc.errors import ArtifactError
from headhunt_svc.settings import Settings
from headhunt_svc.video.opening import open_video
from helpers.detecting import batches_of


@pytest.fixture(scope="module")
def explosion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scene, t = surveillance(np.random.default_rng(77), "explosion", camera(0))
    path = tmp_path_factory.mktemp("footage") / "yard.mp4"
    write_mp4(path, render(scene, t, 128), FPS)
    return path


def test_an_event_is_found_plotted_and_reported(explosion: Path, tmp_path: Path) -> None:
    done = headhunt("detect", explosion, "--out", tmp_path, "--plot")
    assert done.returncode == 0, done.stderr
    assert re.search(r"event 0:\d\d\.\d to 0:\d\d\.\d, peak 0\.\d\d at", done.stdout)
    report = load_report(tmp_path / "yard.mp4.json")
    scene, t = surveillance(np.random.default_rng(77), "explosion", camera(0))
    truth = scene.anomalous(t)
    flagged = np.zeros(len(t), bool)
    for e in report.events:
        flagged[e.start_frame : e.stop_frame] = True
    assert truth[flagged].mean() > 0.3
    assert flagged[truth].mean() > 0.5
    assert [s.start_frame for s in report.scores[1:]] == [s.stop_frame for s in report.scores[:-1]]
    assert report.scores[-1].stop_frame == report.n_frames == len(t)
    assert (tmp_path / "yard.mp4.png").read_bytes().startswith(b"\x89PNG")


def test_shares_explain_the_scores(explosion: Path, tmp_path: Path) -> None:
    done = headhunt("detect", explosion, "--out", tmp_path, "--explain")
    assert done.returncode == 0, done.stderr
    report, detector = load_report(tmp_path / "yard.mp4.json"), Detector.load(ROOT / "artifacts" / "detector")
    made = load_file(tmp_path / "yard.mp4.shares.safetensors")
    assert made["pictures"].shape == (len(report.scores), 8, 4, 4)
    logit = made["heads"].astype(np.float64).sum(1) + detector.scorer.bias
    np.testing.assert_allclose(1 / (1 + np.exp(-logit)), [s.raw for s in report.scores], atol=1e-5)
    assert (tmp_path / "yard.mp4.shares.png").read_bytes().startswith(b"\x89PNG")
    # a run without it gives the same scores
    plain = detector.detect(explosion)
    np.testing.assert_allclose([s.raw for s in report.scores], [s.raw for s in plain.scores], atol=1e-5)


def test_options_choose_the_operating_point_and_heads_add_up(explosion: Path) -> None:
    done = headhunt("detect", explosion, "--threshold", "0.25", "--smoothing", "causal", "--json")
    assert done.returncode == 0, done.stderr
    detector = Detector.load(ROOT / "artifacts" / "detector")
    report = detector.detect(explosion, options=Options(threshold=0.25, smoothing="causal", contributions=True))
    said = Report.model_validate_json(done.stdout)
    assert [s.raw for s in said.scores] == [s.raw for s in report.scores]
    assert (said.threshold, said.smoothing) == (0.25, "causal")
    assert said.sigma_segments == detector.bundle.operating_point("f1", "causal").sigma_segments
    for s in report.scores:
        logit = sum(s.contributions or ()) + report.lineage.bias
        assert 1 / (1 + np.exp(-logit)) == pytest.approx(s.raw, abs=1e-9)
    for e in said.events:
        at = next(s for s in report.scores if (s.start_s + s.stop_s) / 2 == e.peak_s)
        assert e.contributions == at.contributions
    assert said.events


def test_a_resumed_video_gets_the_same_bits_and_a_stopped_one_stops(explosion: Path) -> None:
    detector = Detector.load(ROOT / "artifacts" / "detector", Settings(batch_segments=3))
    whole, batches = detector.detect(explosion), batches_of(detector, explosion)
    scored: list[int] = []

    class Counting(ModelScorer):
        def score(self, batch: PixelBatch) -> ScoredBatch:
            scored.append(len(batch.segments))
            return super().score(batch)

    scorer = Counting(detector.extractor, detector.bundle.prompt, detector.scorer)
    with open_video(explosion) as video:
        assert detector.report(video, detector.score(video, scorer, batches[:2])) == whole
    assert scored == [len(b.segments) for b in batches[2:]]
    with open_video(explosion) as video, pytest.raises(ArtifactError, match="score it from the start"):
        next(detector.score(video, resume=batches[1:]))

    with open_video(explosion) as video, closing(detector.score(video)) as running:
        next(running)
    # a caller that leaves without closing does no harm either: the reader waits for the picture that is being decoded
    with open_video(explosion) as video:
        abandoned = detector.score(video)
        next(abandoned)
    abandoned.close()
    assert not [t for t in threading.enumerate() if t.name == "prefetch"]


def test_finer_strides_give_finer_scores_of_the_same_video(explosion: Path) -> None:
    detector = Detector.load(ROOT / "artifacts" / "detector")
    coarse = detector.detect(explosion)
    cut = detector.bundle.segmentation.model_copy(update={"stride_s": 0.4})
    detector.bundle = detector.bundle.model_copy(update={"segmentation": cut})
    fine = detector.detect(explosion)
    assert [(s.start_frame, s.stop_frame) for s in fine.scores] == [
        (i, min(i + 4, fine.n_frames)) for i in range(0, fine.n_frames, 4)
    ]
    # what lies in the middle of a window of 1.6 s is scored like that window, nearly
    middle = [s.raw for s in fine.scores][2::4][: len(coarse.scores) - 1]
    assert np.corrcoef(middle, [s.raw for s in coarse.scores[:-1]])[0, 1] > 0.8


MEMORY = """
import sys
from pathlib import Path
from headhunt_svc.detector.pipeline import Detector
sys.path.append(sys.argv[1])
from peak import peak_bytes
detector = Detector.load(Path(sys.argv[2]))
for video in sys.argv[3:]:
    report = detector.detect(Path(video))
    print(len(report.scores), peak_bytes())
"""


def test_memory_does_not_grow_with_the_length_of_a_video(tmp_path: Path) -> None:
    """The frames of the longer video are 400 MB, half of the process; what the model gets of them is 170 MB."""
    short, long = (write_video(tmp_path / f"{n}.mp4", n, size=(320, 240)) for n in (300, 1800))
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, BENCHMARKS, ROOT / "artifacts" / "detector", short, short, long],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    _, (n, before), (n_longer, after) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert (n, n_longer) == (19, 113)
    assert after < 1.15 * before


def test_a_video_is_opened_once_and_its_tail_is_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", 16 * 9 + 3)  # nine segments and a tail of three frames
    detector = Detector.load(ROOT / "artifacts" / "detector")
    opened: list[str] = []
    real = av.open
    monkeypatch.setattr(av, "open", lambda file, *a, **k: opened.append(str(file)) or real(file, *a, **k))
    report = detector.detect(path)
    assert opened == ["fd:"]  # FFmpeg gets the open file, see docs/security.md
    assert len(report.scores) == 10
    assert (report.scores[-1].start_frame, report.scores[-1].stop_frame) == (144, 147)


def test_one_bad_video_does_not_stop_the_others(tmp_path: Path) -> None:
    footage = tmp_path / "footage"
    write_video(footage / "a" / "good.mp4", 40)
    write_video(footage / "z.gif", 20, codec="gif")
    (footage / "m.mp4").write_text("this is no video")
    (footage / "empty.mkv").touch()
    done = headhunt("detect", footage, tmp_path / "gone.mp4", "--out", tmp_path / "out", "--json")
    assert done.returncode == 3
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(r["video_id"], r["n_frames"]) for r in reports] == [("a/good.mp4", 40), ("z.gif", 20)]
    assert "m.mp4: not a video" in done.stderr
    assert "empty.mkv: the file is empty" in done.stderr
    assert "gone.mp4: no such file" in done.stderr
    assert "3 of 5 videos failed" in done.stderr
    assert sorted(p.name for p in (tmp_path / "out").rglob("*.json")) == ["good.mp4.json", "z.gif.json"]
    again = headhunt("detect", footage / "z.gif", "--out", tmp_path / "out", "--resume", "--json")
    assert json.loads(again.stdout) == reports[1]


def test_wrong_use_is_one_line_with_the_way_out(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", 20)
    (tmp_path / "file").touch()
    cases = [
        (["detect", video, "--operating-point", "loud"], "no operating point 'loud' in this bundle; there are: budget"),
        (["detect", video, "--threshold", "1.5"], "threshold 1.5 is not in [0, 1]"),
        (["detect", video, "--out", tmp_path / "file" / "out"], "cannot write"),
        (["detect", video, write_video(tmp_path / "b" / "a.mp4", 20)], "would both be reported as a.mp4"),
    ]
    for args, says in cases:
        done = headhunt(*args)
        assert done.returncode == 2, done.stderr
        assert says in done.stderr
        assert done.stderr.strip().count("\n") == 0


def test_a_bundle_for_another_model_is_refused(tmp_path: Path) -> None:
    for name in ("demo_mllm", "detector"):
        shutil.copytree(ROOT / "artifacts" / name, tmp_path / name)
    config = tmp_path / "demo_mllm" / "config.json"
    config.write_text(config.read_text() + " ")
    done = headhunt("detect", write_video(tmp_path / "a.mp4", 20), "--bundle", tmp_path / "detector")
    assert done.returncode == 2
    assert "was made for model sha256:" in done.stderr
    assert "run `dvc repro`" in done.stderr


def test_lineage_and_export(tmp_path: Path, explosion: Path) -> None:
    shown = headhunt("bundle", "show")
    assert shown.returncode == 0
    for word in ("model", "prompt", "heads", "data", "ROC-AUC"):
        assert word in shown.stdout
    assert headhunt("export", tmp_path / "scorer.onnx").returncode == 0
    detector = Detector.load(ROOT / "artifacts" / "detector")
    report = detector.detect(explosion)
    assert re.search(rf"detector\s+{report.detector_id}", shown.stdout)
    seen: list[np.ndarray] = []
    features = detector.extractor.features
    detector.extractor.features = lambda *a: seen.append(features(*a)) or seen[-1]  # type: ignore[method-assign]
    detector.detect(explosion)
    z = np.concatenate([s[0].reshape(s.shape[1], -1) for s in seen])
    session = onnxruntime.InferenceSession(tmp_path / "scorer.onnx")
    raw, smoothed = session.run(["raw", "smoothed"], {"features": z})
    np.testing.assert_allclose(raw, [s.raw for s in report.scores], atol=1e-5)
    np.testing.assert_allclose(smoothed, [s.smoothed for s in report.scores], atol=1e-5)
    assert session.get_modelmeta().custom_metadata_map["detector_id"] == report.detector_id


@pytest.mark.external_data
def test_every_real_clip_scores(clips: Path, tmp_path: Path) -> None:
    done = headhunt("detect", clips, "--json")
    reports = {r["video_id"]: r for r in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 3  # corrupted.mp4
    assert len(reports) == len(
        [p for p in clips.rglob("*") if p.suffix in (".mp4", ".avi", ".mkv", ".mov", ".gif", ".webm")]
    )
    assert [name for name, r in reports.items() if r["gaps"]] == ["containers/corrupted.mp4"]
    corrupted = reports["containers/corrupted.mp4"]
    assert (corrupted["n_frames"], corrupted["gaps"][0]["time_s"]) == (28, 3.0)
    accident = reports["ucf_crime/RoadAccidents012_x264.mp4"]
    assert (accident["n_frames"], len(accident["scores"])) == (468, 10)
    vfr = reports["derived/RoadAccidents017.vfr.mp4"]
    assert vfr["scores"][-1]["stop_s"] == pytest.approx(8.05, abs=0.1)  # 161 frames over 8 s
