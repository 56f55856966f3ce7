"""With several decoders reports, features and their order are those of one, to the bit."""

import threading
from pathlib import Path

import pytest

from conftest import ROOT, write_video
from headhunt_svc.data.datasets import save_index
from headhunt_svc.data.feature_store import FeatureStore
from headhunt_svc.detector.decoders import Decoders
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.report import Report
from headhunt_svc.errors import VideoError
from headhunt_svc.params import SegmentationParams
from headhunt_svc.pipeline.detect import detect_stored, detect_videos
from headhunt_svc.pipeline.extract import extract_videos
from headhunt_svc.pipeline.files import Outputs, Passes, inputs_of
from headhunt_svc.settings import Settings
from headhunt_svc.types import IndexedVideo
from headhunt_svc.video.files import read_times
from helpers.models import tiny

SHIPPED = ROOT / "artifacts" / "detector"


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADHUNT_BATCH_SEGMENTS", "2")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of several lengths and widths, the first the longest; one is no video."""
    folder = tmp_path_factory.mktemp("several")
    for i, n in enumerate((98, 20, 40, 17, 33)):
        write_video(folder / f"{i}.mp4", n, size=(64 + 32 * i, 48))
    (folder / "2b.mp4").write_text("no video")
    return folder


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.load(SHIPPED, Settings(batch_segments=2))


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The threads in which the model was run."""
    seen: set[str] = set()
    real = Decoders.turn

    def turn(self, *args):
        seen.add(threading.current_thread().name)
        return real(self, *args)

    monkeypatch.setattr(Decoders, "turn", turn)
    return seen


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_detect_gives_the_same_reports_in_the_same_order(
    detector: Detector, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: set[str]
) -> None:
    results: dict[str, list[tuple[str, Report | str]]] = {}
    for n in ("1", "3"):
        threads.clear()
        monkeypatch.setenv("HEADHUNT_DECODERS", n)
        found = detect_videos(detector, inputs_of([videos]), Outputs(tmp_path / n))
        results[n] = [(item.video_id, str(r) if isinstance(r, VideoError) else r) for item, r in found]
        assert ("decoder" in threads) == (n == "3")
    assert [name for name, _ in results["1"]] == ["0.mp4", "1.mp4", "2.mp4", "2b.mp4", "3.mp4", "4.mp4"]
    assert results["3"] == results["1"]
    assert files(tmp_path / "3") == files(tmp_path / "1")
    assert [name for name, r in results["3"] if isinstance(r, str)] == ["2b.mp4"]


def test_a_loop_that_is_left_can_be_resumed(
    detector: Detector, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADHUNT_DECODERS", "3")
    results = detect_videos(detector, inputs_of([videos]), Outputs(tmp_path, resume=True))
    next(results)
    results.close()
    assert not [t for t in threading.enumerate() if t.name in ("decoder", "prefetch")]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    assert tmp_path / "0.mp4.json" in before
    again = list(detect_videos(detector, inputs_of([videos]), Outputs(tmp_path, resume=True)))
    assert len(again) == 6
    assert {path: path.stat().st_mtime_ns for path in before} == before  # what was done stays


def test_the_stages_store_the_same(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: set[str]
) -> None:
    records = []
    for path in sorted(videos.glob("?.mp4")):
        times, _ = read_times(path)
        records.append(IndexedVideo(path.name, path, len(times), times.fps, "test"))
    index = tmp_path / "index.parquet"
    save_index(index, records)
    params = SegmentationParams(length_s=1.0, frames_per_segment=2)
    stored: dict[str, list[dict[str, bytes]]] = {}
    for n in ("1", "3"):
        threads.clear()
        monkeypatch.setenv("HEADHUNT_DECODERS", n)
        out = tmp_path / n
        assert detect_stored(SHIPPED, index, "test", out / "r", out / "f") == Passes(stored=0, decoded=5)
        store = FeatureStore(out / "x")
        assert extract_videos(lambda: tiny("internvl"), "tiny", records, ["what?"], params, store) == Passes(0, 5)
        stored[n] = [files(out / name) for name in "rfx"]
        assert ("decoder" in threads) == (n == "3")
    assert stored["3"] == stored["1"]
    assert [len(each) for each in stored["3"]] == [5, 6, 5]


def test_an_error_ends_the_progress_bar_at_once(tmp_path: Path) -> None:
    """Else a garbage collection ends it, maybe while another one is drawn, and waits for ever for the lock of both."""
    gone = IndexedVideo("gone.mp4", tmp_path / "gone.mp4", 10, 10.0, "test")
    params, store = SegmentationParams(length_s=1.0, frames_per_segment=2), FeatureStore(tmp_path / "x")
    before = set(threading.enumerate())
    with pytest.raises(OSError, match="gone") as caught:
        extract_videos(lambda: tiny("internvl"), "tiny", [gone], ["what?"], params, store)
    assert caught.tb is not None  # it holds on to what the variables of extract_videos hold
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive()
