"""Reports from stored features are those that decoding gives, to the bit; only what has changed is decoded."""

from pathlib import Path

import numpy as np
import pytest

from conftest import ROOT, write_video
from headhunt_svc.data.datasets import save_index
from headhunt_svc.detector.bundle import load_bundle, load_golden, save_bundle
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.report import load_report
from headhunt_svc.detector.scorer_file import save_scorer
from headhunt_svc.errors import VideoError
from headhunt_svc.pipeline import detect
from headhunt_svc.pipeline.detect import detect_split, detect_stored
from headhunt_svc.pipeline.files import Passes, report_path
from headhunt_svc.settings import Settings
from headhunt_svc.storage.files import sha256
from headhunt_svc.types import IndexedVideo, Scorer
from headhunt_svc.video.files import read_times
from helpers.losses import TS_PACKET

SHIPPED = ROOT / "artifacts" / "detector"
HOLE = [*range(0, 6000, 100), *range(92_000, 98_500, 100)]  # ms


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADHUNT_BATCH_SEGMENTS", "3")


class Project:
    """A folder of test videos, their index, reports and stored features."""

    def __init__(self, folder: Path) -> None:
        self.videos, self.index, self.reports = folder / "videos", folder / "index.parquet", folder / "reports"
        self.features = folder / "features"

    def add(self, *names: str) -> None:
        videos = []
        for name in names:
            times, _ = read_times(self.videos / name)
            videos.append(IndexedVideo(name, self.videos / name, len(times), times.fps, "test"))
        save_index(self.index, videos)

    def detect(self, bundle: Path = SHIPPED) -> Passes:
        return detect_stored(bundle, self.index, "test", self.reports, self.features)

    def check_equal(self, names: list[str], bundle: Path = SHIPPED) -> None:
        """Every report is the one that a plain detector makes from the file, which reads the expert heads alone."""
        detector = Detector.load(bundle, Settings(batch_segments=3))
        assert detector.extractor.n_layers == 1 + max(h.layer for h in detector.scorer.heads)
        for name in names:
            report = load_report(report_path(self.reports, name))
            assert report == detector.detect(self.videos / name, name, Options())


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    write_video(project.videos / "a.mp4", 16 * 7 + 5)
    write_video(project.videos / "yard" / "hole.mkv", len(HOLE), times=HOLE)
    project.add("a.mp4", "yard/hole.mkv")
    return project


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The shipped detector with fewer heads and another scorer and threshold."""
    old, scorer = load_bundle(SHIPPED)
    heads, d_head = scorer.heads[:4], len(scorer.weight) // len(scorer.heads)
    new = Scorer(heads, scorer.weight[: 4 * d_head] * 1.5, scorer.bias + 0.25)
    out = tmp_path / "other"
    save_scorer(out / "scorer.safetensors", new)
    point = old.operating_points["f1"].model_copy(update={"threshold": 0.4, "sigma_segments": 1.0})
    changed = {"heads": heads, "rss": old.rss[:4], "operating_points": {"f1": point}}
    changed |= {"scorer_sha256": sha256(out / "scorer.safetensors")}
    golden = np.ascontiguousarray(load_golden(SHIPPED)[:, : 4 * d_head])
    save_bundle(out, old.relocated(SHIPPED, out).model_copy(update=changed), new, golden)
    return out


def test_only_the_folder_of_the_stage_loses_reports_of_other_videos(project: Project) -> None:
    theirs = [project.reports / "old.json", project.reports.parent / "mine" / "notes.json"]
    for path in theirs:
        path.parent.mkdir()
        path.write_text("{}")
    project.add("a.mp4")
    project.detect()
    assert detect_split(SHIPPED, project.index, "test", theirs[1].parent) == 1
    assert [path.exists() for path in theirs] == [False, True]


def test_the_first_reports_are_those_of_plain_detection(project: Project) -> None:
    assert project.detect() == Passes(stored=0, decoded=2)
    project.check_equal(["a.mp4", "yard/hole.mkv"])


@pytest.fixture
def detected(project: Project) -> Project:
    project.detect()
    return project


def test_another_scorer_needs_neither_pictures_nor_model(
    detected: Project, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADHUNT_BATCH_SEGMENTS", "5")  # the batches stay those that were stored
    with monkeypatch.context() as patch:
        patch.setattr(detect, "open_video", None)
        patch.setattr(detect.Detector, "load", None)
        assert detected.detect(other) == Passes(stored=2, decoded=0)
        assert detected.detect(other) == Passes(stored=0, decoded=0, reports=2)
    detected.check_equal(["a.mp4", "yard/hole.mkv"], other)
    (hole,) = load_report(report_path(detected.reports, "yard/hole.mkv")).holes
    assert hole.stop_s == pytest.approx(92.0)


def test_only_an_added_or_changed_video_is_decoded(
    detected: Project, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    real = detect.open_video
    monkeypatch.setattr(detect, "open_video", lambda path, *a, **k: opened.append(path) or real(path, *a, **k))
    write_video(detected.videos / "b.mp4", 40)
    detected.add("a.mp4", "yard/hole.mkv", "b.mp4")
    assert detected.detect() == Passes(stored=0, decoded=1, reports=2)
    write_video(detected.videos / "a.mp4", 50)
    detected.add("a.mp4", "b.mp4")
    assert detected.detect(other) == Passes(stored=1, decoded=1)
    assert opened == [detected.videos / "b.mp4", detected.videos / "a.mp4"]
    detected.check_equal(["a.mp4", "b.mp4"], other)
    assert len(list(detected.features.glob("*.safetensors"))) == 2  # the one of the video that has gone went too
    assert not report_path(detected.reports, "yard/hole.mkv").exists()


def test_a_gap_stays_one_and_a_bad_video_does_not_stop_the_others(project: Project, other: Path) -> None:
    ts = write_video(project.videos / "lost.ts", 120, codec="mpeg2video", fps=25)
    packets = ts.read_bytes()
    half = len(packets) // 2 // TS_PACKET * TS_PACKET
    ts.write_bytes(packets[:half] + packets[half + 6 * TS_PACKET :])
    (project.videos / "bad.mp4").write_text("no video")
    names = ["bad.mp4", "lost.ts", "a.mp4"]
    save_index(project.index, [IndexedVideo(n, project.videos / n, 120, 25.0, "test") for n in names])
    for bundle in (SHIPPED, other):
        with pytest.raises(VideoError, match=r"2 of 3 videos could not be scored whole: .*bad\.mp4: not a video.*lost"):
            project.detect(bundle)
        project.check_equal(["lost.ts", "a.mp4"], bundle)
        assert load_report(report_path(project.reports, "lost.ts")).gaps
