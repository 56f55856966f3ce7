"""From a file with a hole to figures: every stage counts the seconds of its frames."""

from pathlib import Path

import numpy as np
import pytest

from conftest import write_video
from headhunt_svc.core.frame_times import FrameTimes
from headhunt_svc.data.datasets import Annotation, make_record
from headhunt_svc.data.feature_store import FeatureStore
from headhunt_svc.detector.report import SegmentScore
from headhunt_svc.errors import ArtifactError
from headhunt_svc.params import SegmentationParams
from headhunt_svc.pipeline.evaluate import scored_video
from headhunt_svc.pipeline.extract import extract_videos
from headhunt_svc.pipeline.labelled_features import load_labelled, scored_videos
from headhunt_svc.pipeline.recalibrate import relabelled
from headhunt_svc.storage.tensors import load_tensors, save_tensors
from headhunt_svc.types import HeadRef, VideoRecord
from headhunt_svc.video.files import read_times
from helpers.models import tiny
from helpers.reports import REPORT

CUT = SegmentationParams(length_s=1.0, frames_per_segment=2)
TIMES = [*range(0, 2000, 100), *range(92_000, 94_000, 100)]  # ms
EDGES_S = [[0.0, 1.0], [1.0, 2.0], [92.0, 93.0], [93.0, 94.0]]  # of the segments, ten frames each
HEAD = (HeadRef(0, 0),)


def with_hole(folder: Path, *spans: tuple[float, float]) -> VideoRecord:
    path = write_video(folder / "v.mkv", len(TIMES), times=TIMES)
    annotation = Annotation(
        video="v.mkv", split="validation", label="fall" if spans else "normal", spans=spans, unit="seconds"
    )
    return make_record(annotation, path, read_times(path)[0])


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[FeatureStore, VideoRecord]:
    """Features of a normal video with a hole."""
    folder = tmp_path_factory.mktemp("features")
    record = with_hole(folder)
    store = FeatureStore(folder / "features")
    extract_videos(lambda: tiny("internvl"), "tiny", [record], ["what?"], CUT, store, HEAD)
    return store, record


def test_features_know_when_their_segments_are(stored: tuple[FeatureStore, VideoRecord]) -> None:
    store, record = stored
    np.testing.assert_allclose(store.times(["v.mkv"]), EDGES_S, atol=1e-9)
    data = load_labelled(store, [record], 0, 0.25)
    (video,) = scored_videos(data, [np.array([0.9, 0.9, 0.9, 0.1])])
    np.testing.assert_allclose(video.seconds, EDGES_S, atol=1e-9)
    assert video.duration_s == pytest.approx(4.0)
    assert [tuple(e) for e in video.events(0.5).events] == [(0, 20), (20, 30)]  # not across the hole
    np.testing.assert_array_equal(data.only(["v.mkv"]).times, data.times)


def test_features_without_times_are_refused(stored: tuple[FeatureStore, VideoRecord], tmp_path: Path) -> None:
    store, _ = stored
    (shard,) = store.folder.glob("*.safetensors")
    facts, tensors = load_tensors(shard)
    before = FeatureStore(tmp_path)
    save_tensors(tmp_path / shard.name, tensors, {name: fact for name, fact in facts.items() if name != "times"})
    with pytest.raises(ArtifactError, match=r"features of v\.mkv have no times: run `headhunt extract`"):
        before.load("v.mkv")


def test_new_labels_begin_when_their_segments_do(stored: tuple[FeatureStore, VideoRecord], tmp_path: Path) -> None:
    store, normal = stored
    features = store.load("v.mkv")
    again = relabelled(normal, features, {1: True, 3: True})
    assert (again.true_spans, again.span_starts_s) == (((10, 20), (30, 40)), (1.0, 93.0))
    fall = with_hole(tmp_path, (0.5, 92.5))
    assert (fall.true_spans, fall.span_starts_s) == (((5, 25),), (0.5,))
    assert relabelled(fall, features, {1: False}).span_starts_s == (0.5, 92.0)
    constant = make_record(
        Annotation(video="v.mkv", split="test", label="normal", spans=(), unit="frames"),
        fall.path,
        FrameTimes.at_rate(40, 10.0),
    )
    assert relabelled(constant, features, {1: True}).span_starts_s is None


def test_figures_of_reports_are_in_the_seconds_of_their_segments(tmp_path: Path) -> None:
    record, stops = with_hole(tmp_path, (0.5, 94.0)), (10, 20, 30, 40)
    scores = tuple(
        SegmentScore(
            index=i, start_frame=start, stop_frame=stop, start_s=edges[0], stop_s=edges[1], raw=raw, smoothed=raw
        )
        for i, (start, stop, edges, raw) in enumerate(
            zip((0, *stops), stops, EDGES_S, (0.1, 0.1, 0.9, 0.9), strict=False)
        )
    )
    report = REPORT.model_copy(update={"n_frames": 40, "scores": scores})
    events = scored_video(record, report).events(0.5)
    assert events.delay(0, 0) == pytest.approx(92.0 - 0.5)
    assert events.duration_s == pytest.approx(4.0)
