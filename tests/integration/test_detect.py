"""`headhunt detect` as a user runs it: a real process, real files, the bundle that ships."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import get_args

import av
import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors.numpy import load_file

from conftest import BENCHMARKS, ROOT, headhunt, write_video
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


def test_a_kept_report_is_of_the_file_that_is_there_now(tmp_path: Path) -> None:
    video = write_video(tmp_path / "yard.mp4", 40)
    old = write_video(tmp_path / "old.mp4", 20)
    os.utime(old, (0, 0))  # a file's own times say nothing about when it came here
    write_video(tmp_path / "d.mp4", 60)

    def frames() -> int:
        done = headhunt("detect", video, "--out", tmp_path / "out", "--resume", "--json")
        return int(json.loads(done.stdout)["n_frames"])

    assert frames() == 40
    old.replace(video)
    assert frames() == 20
    written = (tmp_path / "out" / "yard.mp4.json").stat().st_mtime_ns
    assert frames() == 20
    assert (tmp_path / "out" / "yard.mp4.json").stat().st_mtime_ns == written
    video.unlink()
    video.symlink_to(tmp_path / "d.mp4")
    assert frames() == 60


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
    assert (corrupted["n_frames"], corrupted["gaps"][0]["time_s"]) == (29, 2.9)
    accident = reports["ucf_crime/RoadAccidents012_x264.mp4"]
    assert (accident["n_frames"], len(accident["scores"])) == (468, 10)
    vfr = reports["derived/RoadAccidents017.vfr.mp4"]
    assert vfr["scores"][-1]["stop_s"] == pytest.approx(8.05, abs=0.1)  # 161 frames over 8 s


@pytest.mark.external_data
def test_faulty_files_are_told_in_words_and_in_the_report(external: Path, tmp_path: Path) -> None:
    names = ("hole_600s.mp4", "clock_set_back.ts", "ts_packets_lost.ts", "cover_first.mp4")
    field = [external / "field" / name for name in names]
    done = headhunt("detect", *field, "--out", tmp_path, "--plot", "--threshold", "0")
    assert done.returncode == 3
    reports = {name: load_report(tmp_path / f"{name}.json") for name in names}
    said = {name: text for name, text in zip(names, re.split(r"^(?=\S)", done.stdout, flags=re.M)[1:], strict=True)}

    hole = reports["hole_600s.mp4"]
    assert [(h.start_s, h.stop_s) for h in hole.holes] == [(pytest.approx(2), pytest.approx(602))]
    assert (hole.gaps, hole.duration_s) == ((), pytest.approx(604))
    assert [(e.start_s, e.stop_s) for e in hole.events] == [
        (0, pytest.approx(2)),
        (pytest.approx(602), pytest.approx(604)),
    ]
    assert sum(s.stop_s - s.start_s for s in hole.scores) == pytest.approx(4)
    assert "hole 0:02.0 to 10:02.0: the file has no pictures" in said["hole_600s.mp4"]
    assert (hole.fps, hole.stated_fps) == (pytest.approx(25), pytest.approx(0.1656, abs=1e-4))

    (jump,) = reports["clock_set_back.ts"].discontinuities
    assert jump.time_s == pytest.approx(4, abs=0.1)
    assert jump.jump_s == pytest.approx(1.4 - 5000, abs=10)
    assert "clock at 0:04.0: the file's clock jumps" in said["clock_set_back.ts"]
    assert (reports["clock_set_back.ts"].duration_s, reports["clock_set_back.ts"].gaps) == (pytest.approx(8), ())

    lost = reports["ts_packets_lost.ts"]
    (gap,) = lost.gaps
    assert gap.time_s is not None
    assert gap.stop_s is not None
    assert [(e.start_s, e.stop_s) for e in lost.events] == [
        (0, pytest.approx(gap.time_s, abs=0.1)),
        (gap.stop_s, lost.duration_s),
    ]
    assert not [s for s in lost.scores if s.start_s < gap.stop_s and s.stop_s > gap.time_s + 0.1]

    cover = reports["cover_first.mp4"]
    assert (cover.n_frames, cover.gaps, cover.stream) == (100, (), None)
    n_bad = sum(bool(report.gaps) for report in reports.values())
    assert f"{n_bad} of 4 videos failed or have gaps" in done.stderr


def write_two_streams(path: Path) -> Path:
    """A video of 30 dark and one of 50 bright pictures in one file; the first is the default."""
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=10) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for stream, n, brightness in zip(streams, (30, 50), (20, 220), strict=True):
            for _ in range(n):
                picture = np.full((48, 64, 3), brightness, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
    return path


def test_the_stream_of_several_is_named_and_can_be_chosen(tmp_path: Path) -> None:
    video, out = write_two_streams(tmp_path / "two.mkv"), tmp_path / "out"
    saved = out / "two.mkv.json"

    def detect(*options: object) -> subprocess.CompletedProcess[str]:
        return headhunt("detect", video, "--out", out, *options)

    done = detect()
    default = load_report(saved)
    assert done.returncode == 0, done.stderr
    assert default.stream is not None
    assert (default.stream.number, default.stream.of) == (0, (0, 1))
    assert default.n_frames == 30
    assert "stream 0 was scored; the file has the video streams 0, 1 (--stream)" in done.stdout
    written = saved.stat().st_mtime_ns
    for same in ([], ["--stream", "0"]):
        assert detect("--resume", *same).returncode == 0
        assert saved.stat().st_mtime_ns == written
    # a report of another stream is no report of this one; the plot shows the same stream as the scores
    assert detect("--resume", "--stream", "1", "--plot", "--threshold", "0").returncode == 0
    second = load_report(saved)
    assert second.stream is not None
    assert (second.stream.number, second.n_frames) == (1, 50)
    with Image.open(saved.with_suffix(".png")) as plot:
        shown = np.asarray(plot.convert("RGB")).reshape(-1, 3).astype(int)
    bright, dark = ((abs(shown - level) < 8).all(1).sum() for level in (220, 20))
    assert bright > 1000 > dark
    refused = detect("--stream", "2")
    assert refused.returncode == 3
    assert "stream 2 is not one of its video streams (0, 1)" in refused.stderr
    assert load_report(saved) == second
