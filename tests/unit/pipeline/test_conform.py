"""conform: footage and names that it refuses."""

import pkgutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from conftest import ROOT
from headhunt_svc.core.calibration import RULES, points_for_smoothing
from headhunt_svc.core.camera_normality import NormalFootage
from headhunt_svc.core.protocol import ScoredVideo
from headhunt_svc.data.datasets import data_digest, save_index, save_labels
from headhunt_svc.detector.batches import FeatureBatch, TimedSegment
from headhunt_svc.detector.bundle import Bundle, StoredPoint, load_bundle, load_golden, save_bundle
from headhunt_svc.detector.cameras import CameraParts, Margin, StoredCamera, load_camera, save_camera
from headhunt_svc.detector.pipeline import Reporter
from headhunt_svc.detector.scorer_file import save_scorer
from headhunt_svc.errors import ArtifactError, ConfigError, OutputError, VideoError
from headhunt_svc.params import CalibrateParams, SegmentationParams
from headhunt_svc.pipeline.conform import (
    check_footage_is_new,
    check_lengths,
    check_name,
    check_no_copies,
    inputs_to,
    write_conformed,
)
from headhunt_svc.pipeline.files import inputs_of
from headhunt_svc.storage.files import sha256
from headhunt_svc.storage.locks import sole_writer
from headhunt_svc.types import NORMAL, FrameSpan, HeadRef, Normality, Scorer, Segment, VideoRecord

N = len(load_bundle(ROOT / "artifacts" / "detector")[1].weight)  # features of the shipped detector
POINT = StoredPoint(sigma_segments=0.75, threshold=0.5)


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
    recalibrated = bundle.model_copy(update={"cameras": {"yard": camera}})
    of_one_clip = bundle.model_copy(update={"operating_points": points})
    check_name(bundle, "yard", again=False)
    for taken, has in (
        (with_yard, "an operating point"),
        (recalibrated, "a camera"),
        (of_one_clip, "an operating point"),
    ):
        check_name(taken, "yard", again=True)
        with pytest.raises(ConfigError, match=f"has {has} 'yard': choose another name, or give --again"):
            check_name(taken, "yard", again=False)
    with pytest.raises(ConfigError, match="'fleet' is what the average of all cameras is called"):
        check_name(bundle, "fleet", again=True)


@pytest.mark.parametrize("again", [False, True])
def test_names_that_mean_something_else_are_refused(again: bool) -> None:
    bundle = load_bundle(ROOT / "artifacts" / "detector")[0]
    no_points = bundle.model_copy(update={"operating_points": {"yard": bundle.operating_points["f1"]}})
    rules = points_for_smoothing([], CalibrateParams())
    assert tuple(rules) == RULES
    for name in rules:
        with pytest.raises(ConfigError, match=f"'{name}' is the operating point of a rule .*: choose another name$"):
            check_name(no_points, name, again)
    for name in ("", "  ", "unnamed"):
        with pytest.raises(ConfigError, match="'unnamed', or no name, is what videos without a camera have: choose"):
            check_name(bundle, name, again)


def test_copies_are_no_independent_videos(tmp_path: Path) -> None:
    for name, content in (("a.mp4", b"1"), ("b.mp4", b"2"), ("c.mp4", b"long")):
        (tmp_path / name).write_bytes(content)
    check_no_copies(inputs_of([tmp_path]))
    (tmp_path / "d.mp4").write_bytes(b"1")
    with pytest.raises(ConfigError, match=r"1 of 4 files are copies .*: d\.mp4 is a\.mp4: give every video once"):
        check_no_copies(inputs_of([tmp_path]))


@pytest.mark.parametrize("unit", ["s", "frames"])
def test_a_video_shorter_than_a_segment_is_refused(unit: str) -> None:
    length = {"length_s": 2.0} if unit == "s" else {"length_frames": 20}
    segmentation = SegmentationParams.model_validate({**length, "frames_per_segment": 8})

    def video(name: str, n: int) -> ScoredVideo:
        record = VideoRecord(name, Path(name), n, 10.0, "validation", NORMAL, ())
        return ScoredVideo(record, (FrameSpan(0, n),), np.zeros(1))

    check_lengths([video("a", 20), video("b", 90)], segmentation)
    with pytest.raises(VideoError, match=r"1 of 2 videos are shorter than one segment .*: c has .*: take longer ones"):
        check_lengths([video("a", 20), video("c", 19)], segmentation)


def conformed(folder: Path, z: np.ndarray | None) -> Bundle:
    """Write cameras yard and door into a bundle, then `yard` anew from features, or None: without a normality."""
    shipped = ROOT / "artifacts" / "detector"
    old, scorer = load_bundle(shipped)
    fleet = replace(scorer, normality=Normality(np.zeros(N), np.eye(N), 0.5))
    save_scorer(folder / "scorer.safetensors", fleet)
    footage = NormalFootage.measure(np.random.default_rng(0).normal(size=(9, N)))
    cameras = {name: save_camera(folder, name, CameraParts(footage)) for name in ("yard", "door")}
    update = {"scorer_sha256": sha256(folder / "scorer.safetensors"), "cameras": cameras}
    bundle = old.relocated(shipped, folder).model_copy(update=update)
    save_bundle(folder, bundle, fleet, load_golden(shipped))
    write_conformed(folder, folder, bundle, "yard", POINT, None if z is None else NormalFootage.measure(z))
    Reporter.load(folder)
    return load_bundle(folder)[0]


def test_a_camera_renewed_without_a_normality_has_none_any_more(tmp_path: Path) -> None:
    bundle = conformed(tmp_path, None)
    assert set(bundle.cameras or {}) == {"door"}
    assert Reporter.load(tmp_path).at("yard").normality == "fleet"
    assert len(list((tmp_path / "cameras").iterdir())) == 1


def test_a_camera_renewed_in_place_has_the_new_normality(tmp_path: Path) -> None:
    bundle = conformed(tmp_path, np.random.default_rng(1).normal(size=(12, N)))
    assert {name: camera.segments for name, camera in (bundle.cameras or {}).items()} == {"door": 9, "yard": 12}
    assert len(list((tmp_path / "cameras").iterdir())) == 2


def test_a_renewed_camera_keeps_its_weights_from_marks(tmp_path: Path) -> None:
    bundle = conformed(tmp_path, np.random.default_rng(1).normal(size=(12, N)))
    margin, z = Margin(np.full(N, 0.25), -1.5, 4), np.random.default_rng(2).normal(size=(15, N))
    write_conformed(tmp_path, tmp_path, bundle, "yard", POINT, NormalFootage.measure(z), margin)
    scorer = Reporter.load(tmp_path).at("yard").scorer
    assert (scorer.weight.tolist(), scorer.bias) == ([0.25] * N, -1.5)
    stored = (load_bundle(tmp_path)[0].cameras or {})["yard"]
    unmarked = load_camera(tmp_path, "yard", stored).unmarked
    assert unmarked is not None
    assert unmarked.footage is not None
    assert unmarked.footage.segments == 15
    write_conformed(tmp_path, tmp_path, load_bundle(tmp_path)[0], "yard", POINT, None, margin)
    assert Reporter.load(tmp_path).at("yard").scorer.bias == -1.5


def test_an_interrupted_renewal_in_place_leaves_the_old_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("headhunt_svc.pipeline.conform.save_bundle", killed)
    with pytest.raises(KeyboardInterrupt):
        conformed(tmp_path, np.random.default_rng(1).normal(size=(12, N)))
    assert Reporter.load(tmp_path).at("yard").normality == "yard"


def footage(seed: int) -> NormalFootage:
    return NormalFootage.measure(np.random.default_rng(seed).normal(size=(12, N)))


def test_cameras_that_processes_add_in_place_at_once_all_stay(tmp_path: Path) -> None:
    old = conformed(tmp_path, None)  # as it was when both began to score
    write_conformed(tmp_path, tmp_path, old, "gate", POINT, footage(1))
    write_conformed(tmp_path, tmp_path, old, "hall", POINT, footage(2))
    bundle = load_bundle(tmp_path)[0]
    assert set(bundle.cameras or {}) == {"door", "gate", "hall"}
    assert {"gate", "hall"} <= bundle.operating_points.keys()
    assert [Reporter.load(tmp_path).at(name).normality for name in ("door", "gate", "hall")] == ["door", "gate", "hall"]
    write_conformed(tmp_path, tmp_path / "new", old, "ramp", POINT, footage(3))
    assert set(load_bundle(tmp_path / "new")[0].cameras or {}) == {"door", "gate", "hall", "ramp"}


@pytest.mark.parametrize("step", ["load_bundle", "save_bundle", "remove_other_cameras"])
def test_no_other_process_writes_between_reading_the_bundle_again_and_the_end(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, place = conformed(tmp_path / "bundle", None), f"headhunt_svc.pipeline.conform.{step}"
    real: Callable[..., Any] = pkgutil.resolve_name(place)

    def alone(*arguments: Any) -> Any:
        with pytest.raises(OutputError, match="another process writes to"), sole_writer(tmp_path / "out"):
            pass
        return real(*arguments)

    monkeypatch.setattr(place, alone)
    write_conformed(tmp_path / "bundle", tmp_path / "out", old, "gate", POINT, footage(1))
    assert not list((tmp_path / "out").glob(".*"))  # DVC may hash the folder


def test_a_camera_that_was_scored_with_what_is_no_more_is_refused(tmp_path: Path) -> None:
    old = conformed(tmp_path, None)
    bundle, fleet = load_bundle(tmp_path)
    golden = load_golden(tmp_path)
    write_conformed(tmp_path, tmp_path, old, "gate", POINT, footage(1))
    changed = [(load_bundle(tmp_path)[0], fleet)]  # another process was first with a camera of this name
    save_scorer(tmp_path / "other.safetensors", other := replace(fleet, bias=fleet.bias + 1))
    changed.append((bundle.model_copy(update={"scorer_sha256": sha256(tmp_path / "other.safetensors")}), other))
    changed.append((bundle.model_copy(update={"prompt": "another"}), fleet))
    for now, scorer in changed:
        save_bundle(tmp_path, now, scorer, golden)
        before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
        with pytest.raises(ArtifactError, match=r"another process has changed .*: nothing is written, run the same"):
            write_conformed(tmp_path, tmp_path, old, "gate", POINT, footage(2))
        assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before
