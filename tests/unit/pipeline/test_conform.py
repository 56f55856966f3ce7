"""conform: footage and names that it refuses, and scores of a camera's own videos."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from conftest import ROOT
from headhunt_svc.core.camera_normality import NormalFootage, camera_scorer
from headhunt_svc.core.scoring import apply_scorer
from headhunt_svc.data.datasets import data_digest, save_index, save_labels
from headhunt_svc.detector.batches import FeatureBatch, TimedSegment
from headhunt_svc.detector.bundle import load_bundle
from headhunt_svc.detector.cameras import StoredCamera
from headhunt_svc.errors import ConfigError
from headhunt_svc.pipeline.conform import check_footage_is_new, check_name, normal_footage, scores_of_others
from headhunt_svc.pipeline.files import inputs_of
from headhunt_svc.types import NORMAL, FrameSpan, HeadRef, Normality, Scorer, Segment, VideoRecord


def test_footage_that_the_detector_was_made_from_is_refused(tmp_path: Path) -> None:
    folder, clips = tmp_path / "data", tmp_path / "clips"
    folder.mkdir()
    clips.mkdir()
    records = []
    for i, split in enumerate(("calibration", "validation", "test")):
        path = folder / f"{i}.mp4"
        path.write_bytes(bytes([i]) * 9)
        spans = () if i else (FrameSpan(0, 5),)
        records.append(VideoRecord(f"{i}.mp4", path, 40, 10.0, cast(Any, split), NORMAL if i else "fall", spans))
    index, labels = tmp_path / "index.parquet", tmp_path / "labels.parquet"
    save_index(index, records)
    save_labels(labels, records)
    made_from = data_digest(records[:2])
    for name, byte in (("new.mp4", 7), ("a test video.mp4", 2), ("0.mp4", 9)):  # a name says nothing
        (clips / name).write_bytes(bytes([byte]) * 9)
    check_footage_is_new(inputs_of([clips]), made_from, index, labels)
    (clips / "copy.mp4").write_bytes(bytes([1]) * 9)
    with pytest.raises(ConfigError, match=r"made from 1 of these videos, .*: copy\.mp4 is 1\.mp4: take other normal"):
        check_footage_is_new(inputs_of([clips]), made_from, index, labels)
    check_footage_is_new(inputs_of([clips]), "of another project", index, labels)
    check_footage_is_new(inputs_of([clips]), made_from, tmp_path / "none.parquet", labels)
    records[1].path.unlink()  # gone: nothing to compare with
    check_footage_is_new(inputs_of([clips]), made_from, index, labels)


def batches_of(z: np.ndarray, size: int = 8) -> list[FeatureBatch]:
    segments = tuple(TimedSegment(Segment("v", i, FrameSpan(i, i + 1), (i,)), i, i + 1.0) for i in range(len(z)))
    heads = z.astype(np.float32)[:, None]
    return [FeatureBatch(segments[i : i + size], heads[i : i + size]) for i in range(0, len(z), size)]


@pytest.mark.parametrize("n_videos", [2, 5, 23])
def test_a_video_is_scored_with_the_normality_of_others(n_videos: int) -> None:
    rng = np.random.default_rng(0)
    fleet = Scorer((HeadRef(0, 0),), rng.normal(size=6), -2.0, Normality(np.zeros(6), np.eye(6), 1.5))
    videos = [rng.normal(4, 0.2, size=(12, 6)).astype(np.float32) for _ in range(n_videos)]
    raw = scores_of_others(fleet, [batches_of(z) for z in videos])
    left_out = range(0, n_videos, min(n_videos, 20))  # with the first one: 20 groups at most
    others = np.concatenate([z for i, z in enumerate(videos) if i not in left_out])
    expected = apply_scorer(camera_scorer(fleet, NormalFootage.measure(others)), videos[0])
    np.testing.assert_allclose(raw[0], expected, rtol=1e-5)
    everything = camera_scorer(fleet, normal_footage([batches_of(z) for z in videos], None))
    in_sample = np.concatenate([apply_scorer(everything, z) for z in videos])
    assert np.concatenate(raw).max() > in_sample.max()


def test_normal_footage_is_relative_to_the_background_of_each_video() -> None:
    videos = [np.random.default_rng(i).normal(9 * i, 1, size=(12, 6)).astype(np.float32) for i in range(3)]
    footage = normal_footage([batches_of(z) for z in videos], "median")
    expected = np.concatenate([np.hstack([z, z - np.median(z, 0)]) for z in videos])
    np.testing.assert_allclose(footage.mean, expected.mean(0), atol=1e-5)
    factor = footage.factor.astype(np.float64)
    np.testing.assert_allclose(factor.T @ factor / 36, np.cov(expected.T, bias=True), atol=1e-3)


def test_a_single_video_is_scored_with_the_fleets_normality() -> None:
    z = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    fleet = Scorer((HeadRef(0, 0),), np.ones(3), 0.0, Normality(np.zeros(3), np.eye(3), 1.0))
    np.testing.assert_allclose(scores_of_others(fleet, [batches_of(z)])[0], apply_scorer(fleet, z))


def test_a_name_is_taken_once_and_a_camera_can_be_renewed() -> None:
    bundle = load_bundle(ROOT / "artifacts" / "detector")[0]
    camera = StoredCamera(sha256="0", segments=9, mean_strength=5, covariance_strength=40)
    points = bundle.operating_points | {"yard": bundle.operating_points[bundle.default_point]}
    with_yard = bundle.model_copy(update={"cameras": {"yard": camera}, "operating_points": points})
    check_name(bundle, "yard", again=False)
    check_name(with_yard, "yard", again=True)
    with pytest.raises(ConfigError, match="has an operating point 'yard': choose another name, or give --again"):
        check_name(with_yard, "yard", again=False)
    with pytest.raises(ConfigError, match=r"has an operating point 'f1': choose another name$"):
        check_name(with_yard, "f1", again=True)
    with pytest.raises(ConfigError, match="'fleet' is what the average of all cameras is called"):
        check_name(bundle, "fleet", again=True)
