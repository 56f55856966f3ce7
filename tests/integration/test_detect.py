"""`headhunt detect` as a user runs it: a real process, real files, the bundle that ships."""

import json
import re
import shutil
import threading
from contextlib import closing
from pathlib import Path
from typing import get_args

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from conftest import EXPLOSION_SEED, ROOT, headhunt, write_video
from headhunt_svc.demo.scenes import camera, surveillance
from headhunt_svc.detector.batches import FeatureBatch, PixelBatch
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.readers import ModelReader
from headhunt_svc.detector.report import Report, load_report
from headhunt_svc.errors import ArtifactError, ConfigError
from headhunt_svc.settings import Settings
from headhunt_svc.types import Background, Scorer
from headhunt_svc.video.opening import open_video
from helpers.detecting import batches_of


@pytest.fixture(scope="module")
def explosion(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Path:
    return Path(shutil.copy(clip, tmp_path_factory.mktemp("footage") / "yard.mp4"))


def test_an_event_is_found_plotted_and_reported(explosion: Path, tmp_path: Path) -> None:
    done = headhunt("detect", explosion, "--out", tmp_path, "--plot")
    assert done.returncode == 0, done.stderr
    assert re.search(r"event 0:\d\d\.\d to 0:\d\d\.\d, peak 0\.\d\d at", done.stdout)
    report = load_report(tmp_path / "yard.mp4.json")
    scene, t = surveillance(np.random.default_rng(EXPLOSION_SEED), "explosion", camera(0))
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


def test_events_are_described(explosion: Path, tmp_path: Path) -> None:
    done = headhunt("detect", explosion, "--out", tmp_path, "--plot", "--describe", "--contributions")
    assert done.returncode == 0, done.stderr
    report = load_report(tmp_path / "yard.mp4.json")
    detector = Detector.load(ROOT / "artifacts" / "detector", Settings(batch_segments=3), whole=True)
    assert report.description_prompt == detector.description_prompt
    assert report.events
    for event in report.events:
        assert event.description
        assert event.description in done.stdout
    # the same words and scores in other batches, and by a model without the layers that scoring does not need
    options = Options(contributions=True, describe=True)
    again = detector.detect(explosion, options=options)
    assert [e.description for e in again.events] == [e.description for e in report.events]
    part = Detector.load(ROOT / "artifacts" / "detector")
    plain = part.detect(explosion, options=Options(contributions=True))
    bare = report.model_copy(
        update={
            "events": tuple(e.model_copy(update={"description": None}) for e in report.events),
            "description_prompt": None,
        }
    )
    assert bare == plain
    with pytest.raises(ConfigError, match="start with HEADHUNT_DESCRIBE=true"):
        part.detect(explosion, options=options)
    # a report without words does not stand for one with them
    headhunt("detect", explosion, "--out", tmp_path)
    assert load_report(tmp_path / "yard.mp4.json").description_prompt is None
    headhunt("detect", explosion, "--out", tmp_path, "--resume", "--describe")
    assert load_report(tmp_path / "yard.mp4.json").description_prompt is not None


def test_a_resumed_video_is_described_as_one_without_an_interruption(explosion: Path) -> None:
    detector = Detector.load(ROOT / "artifacts" / "detector", Settings(batch_segments=3), whole=True)
    options = Options(threshold=0.2, describe=True)
    whole, batches = detector.detect(explosion, options=options), batches_of(detector, explosion)
    assert len(batches) > 3
    with open_video(explosion) as video:
        resumed = detector.report(video, detector.score(video, resume=batches[:-1], options=options), options)
    assert resumed == whole


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

    class Counting(ModelReader):
        def read(self, batch: PixelBatch) -> FeatureBatch:
            scored.append(len(batch.segments))
            return super().read(batch)

    reader = Counting(detector.extractor, detector.bundle.prompt, detector.scorer)
    with open_video(explosion) as video:
        assert detector.report(video, detector.score(video, reader, batches[:2])) == whole
    assert scored == [len(b.segments) for b in batches[2:]]
    with open_video(explosion) as video, pytest.raises(ArtifactError, match="score it from the start"):
        next(detector.score(video, resume=batches[1:]))
    weight = detector.scorer.weight[: detector.scorer.n_features]
    for background in get_args(Background):  # is made of the features that the checkpoint keeps
        scorer = Scorer(detector.scorer.heads, np.concatenate([weight, -2 * weight]), 0.0, background=background)
        relative = Detector(detector.bundle, scorer, detector.extractor, detector.batch_segments)
        with open_video(explosion) as video:
            whole = list(relative.score(video))
        with open_video(explosion) as video:
            again = list(relative.score(video, resume=batches[:2]))
        assert [b.raw.tolist() for b in again] == [b.raw.tolist() for b in whole]
        assert [b.raw.tolist() for b in again] != [b.raw.tolist() for b in batches]
        assert [b.resumed for b in again] == [i < 2 for i in range(len(batches))]

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


def test_wrong_use_is_one_line_with_the_way_out(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", 20)
    (tmp_path / "file").touch()
    cases = [
        (["detect", video, "--operating-point", "loud"], "no operating point 'loud' in this bundle; there are: "),
        (["detect", video, "--threshold", "1.5"], "threshold 1.5 is not in [0, 1]"),
        (["detect", video, "--out", tmp_path / "file" / "out"], "cannot write"),
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


def test_what_speaks_against_the_scores_is_said_once_and_reported(explosion: Path, tmp_path: Path) -> None:
    for name in ("demo_mllm", "detector"):
        shutil.copytree(ROOT / "artifacts" / name, tmp_path / name)
    path = tmp_path / "detector" / "bundle.json"
    raw = json.loads(path.read_text())
    chance = {"subsamples": 50, "frequency": [0.1], "stability": 0.0, "agreement": None, "held_out_auc": 0.51}
    chance |= {"held_out_error": 0.05, "verdict": "not trustworthy", "words": "heads of no use"}
    path.write_text(json.dumps(raw | {"domain": "rendered scenes", "confidence": chance}))
    second = shutil.copy(explosion, tmp_path / "second.mp4")
    done = headhunt("detect", explosion, second, "--bundle", tmp_path / "detector", "--json")
    assert done.returncode == 0, done.stderr
    reports = [Report.model_validate_json(line) for line in done.stdout.splitlines()]
    domain, heads = reports[0].cautions
    assert "rendered scenes only" in domain
    assert heads.startswith("heads at chance: ")
    assert reports[1].cautions == (domain, heads)
    assert [line for line in done.stderr.splitlines() if "caution" in line] == [
        f"caution: {domain}",
        f"caution: {heads}",
    ]
    shown = headhunt("bundle", "show", "--bundle", tmp_path / "detector").stdout
    assert all(caution in shown for caution in (domain, heads))
    assert "heads of no use" in shown
    out = tmp_path / "rows"
    batch = headhunt("batch", explosion, "--out", out, "--bundle", tmp_path / "detector")
    assert batch.stderr.count("caution: ") == 2
    (row,) = pq.read_table(out / "rows").to_pylist()
    assert row["cautions"] == [domain, heads]


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
