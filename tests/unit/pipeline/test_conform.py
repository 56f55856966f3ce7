"""conform: footage and names that it refuses."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from conftest import ROOT
from headhunt_svc.data.datasets import data_digest, save_index, save_labels
from headhunt_svc.detector.batches import FeatureBatch, TimedSegment
from headhunt_svc.detector.bundle import load_bundle
from headhunt_svc.detector.cameras import StoredCamera
from headhunt_svc.errors import ConfigError
from headhunt_svc.pipeline.conform import check_footage_is_new, check_name, inputs_to
from headhunt_svc.pipeline.files import inputs_of
from headhunt_svc.types import NORMAL, FrameSpan, HeadRef, Scorer, Segment, VideoRecord


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


def test_what_is_normal_is_relative_to_the_background_of_each_video() -> None:
    z = np.random.default_rng(0).normal(9, 1, size=(20, 6)).astype(np.float32)
    segments = tuple(TimedSegment(Segment("v", i, FrameSpan(i, i + 1), (i,)), i, i + 1.0) for i in range(len(z)))
    batches = [FeatureBatch(segments[i : i + 8], z[i : i + 8, None]) for i in range(0, len(z), 8)]
    plain = Scorer((HeadRef(0, 0),), np.ones(6), 0.0)
    np.testing.assert_array_equal(inputs_to(plain, batches), z)
    relative = Scorer((HeadRef(0, 0),), np.ones(12), 0.0, background="median")
    np.testing.assert_allclose(inputs_to(relative, batches), np.hstack([z, z - np.median(z, 0)]), atol=1e-5)


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
