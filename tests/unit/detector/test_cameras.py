"""Cameras of a bundle: files, digests, and which scorer a camera's videos have."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from conftest import ROOT
from headhunt_svc.core.camera_normality import (
    NormalFootage,
    Shrinkage,
    add_harmless,
    camera_normality,
    camera_scorer,
)
from headhunt_svc.core.scoring import apply_scorer, logits
from headhunt_svc.detector.bundle import Bundle, load_bundle, load_golden, save_bundle
from headhunt_svc.detector.cameras import (
    CameraParts,
    CameraScorers,
    Margin,
    StoredCamera,
    camera_file,
    copy_cameras,
    load_camera,
    remove_other_cameras,
    save_camera,
)
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Reporter
from headhunt_svc.detector.scorer_file import save_scorer
from headhunt_svc.errors import ArtifactError, ConfigError
from headhunt_svc.pipeline.export import export
from headhunt_svc.storage.files import sha256
from headhunt_svc.storage.tensors import tensor_bytes
from headhunt_svc.types import Normality, Scorer
from headhunt_svc.video.source import VideoFacts

SHIPPED = ROOT / "artifacts" / "detector"
RNG = np.random.default_rng(0)
N = len(load_bundle(SHIPPED)[1].weight)  # features of the shipped detector
YARD = RNG.normal(2, 1, size=(30, N)).astype(np.float32)


def fleet() -> Scorer:
    """The shipped scorer, with a distance to normal."""
    scorer = load_bundle(SHIPPED)[1]
    return replace(scorer, normality=Normality(np.zeros(N), np.eye(N), 0.5))


def bundle_with_yard(folder: Path) -> Bundle:
    """The shipped bundle with a distance to normal and a camera, in a folder."""
    save_scorer(folder / "scorer.safetensors", fleet())
    camera = save_camera(folder, "yard/north", CameraParts(NormalFootage.measure(YARD)))
    update = {"scorer_sha256": sha256(folder / "scorer.safetensors"), "cameras": {"yard/north": camera}}
    bundle = load_bundle(SHIPPED)[0].relocated(SHIPPED, folder).model_copy(update=update)
    save_bundle(folder, bundle, fleet(), load_golden(SHIPPED))
    return bundle


def test_a_camera_comes_back_as_it_was_written_and_is_small(tmp_path: Path) -> None:
    footage = replace(NormalFootage.measure(YARD), typical=12.5)
    stored = save_camera(tmp_path, "../yard", CameraParts(footage, Shrinkage(1, 2)))
    assert stored == StoredCamera(
        sha256=stored.sha256, segments=30, mean_strength=1, covariance_strength=2, typical=12.5
    )
    path = camera_file(tmp_path, "../yard", stored.sha256)
    assert path.parent == tmp_path / "cameras"
    assert path.stat().st_size < (30 + 1) * N * 4 + 500
    loaded = load_camera(tmp_path, "../yard", stored).footage
    assert loaded is not None
    assert (loaded.segments, loaded.typical) == (30, 12.5)
    np.testing.assert_array_equal(loaded.mean, footage.mean)
    np.testing.assert_array_equal(loaded.factor, footage.factor)
    copy_cameras(tmp_path, tmp_path / "b", {"../yard": stored})
    assert sha256(camera_file(tmp_path / "b", "../yard", stored.sha256)) == stored.sha256


def test_a_file_that_is_missing_or_of_another_bundle_is_named(tmp_path: Path) -> None:
    stored = save_camera(tmp_path, "yard", CameraParts(NormalFootage.measure(YARD)))
    path = camera_file(tmp_path, "yard", stored.sha256)
    other = save_camera(tmp_path, "yard", CameraParts(NormalFootage.measure(YARD + 1)))
    path.write_bytes(camera_file(tmp_path, "yard", other.sha256).read_bytes())
    with pytest.raises(ArtifactError, match=r"yard-[0-9a-f]{12}\.safetensors is not the one that this bundle"):
        load_camera(tmp_path, "yard", stored)
    with pytest.raises(ArtifactError, match=r"door-[0-9a-f]{12}\.safetensors cannot be read as a camera"):
        load_camera(tmp_path, "door", stored)
    digest = hashlib.sha256(b"no tensors").hexdigest()
    camera_file(tmp_path, "yard", digest).write_bytes(b"no tensors")
    with pytest.raises(ArtifactError, match="cannot be read as a camera"):
        load_camera(tmp_path, "yard", stored.model_copy(update={"sha256": digest}))
    other = save_camera(tmp_path, "yard", CameraParts(NormalFootage.measure(YARD[:, :9])))
    with pytest.raises(ArtifactError, match=rf"has 9 features, the scorer {N}"):
        CameraScorers.load(tmp_path, fleet(), {"yard": other})


def test_a_renewed_camera_leaves_the_old_one_readable_until_the_bundle_names_the_new_one(tmp_path: Path) -> None:
    old = save_camera(tmp_path, "yard", CameraParts(NormalFootage.measure(YARD)))
    new = save_camera(tmp_path, "yard", CameraParts(NormalFootage.measure(YARD + 1)))
    footage = load_camera(tmp_path, "yard", old).footage
    assert footage is not None
    np.testing.assert_array_equal(footage.mean, NormalFootage.measure(YARD).mean)
    remove_other_cameras(tmp_path, {"yard": new})
    assert list((tmp_path / "cameras").iterdir()) == [camera_file(tmp_path, "yard", new.sha256)]
    remove_other_cameras(tmp_path, None)
    assert list((tmp_path / "cameras").iterdir()) == []


def test_each_camera_has_its_own_scorer_and_all_others_the_fleets() -> None:
    normal = NormalFootage.measure(YARD)
    footage = {"yard": CameraParts(normal)}
    cameras = CameraScorers(fleet(), footage)
    assert [cameras.normality(name) for name in ("yard", "door", None)] == ["yard", "fleet", "fleet"]
    own, z = cameras.scorer("yard"), RNG.normal(size=(9, N))
    np.testing.assert_array_equal(apply_scorer(own, z), apply_scorer(camera_scorer(fleet(), normal), z))
    assert cameras.scorer("yard") is own
    assert cameras.scorer("door") is cameras.scorer(None)
    assert CameraScorers(fleet(), {}).normality("yard") is None
    logistic = CameraScorers(replace(fleet(), normality=None), footage)
    assert (logistic.normality("yard"), logistic.scorer("yard").normality) == (None, None)


def test_a_bundle_without_cameras_keeps_its_name(tmp_path: Path) -> None:
    bundle = load_bundle(SHIPPED)[0]
    assert "cameras" not in bundle.model_dump(mode="json")
    assert Reporter.load(SHIPPED).normality is None
    camera = save_camera(tmp_path, "yard", CameraParts(NormalFootage.measure(YARD)))
    assert bundle.model_copy(update={"cameras": {"yard": camera}}).detector_id != bundle.detector_id


def test_a_reporter_knows_the_cameras_of_its_bundle(tmp_path: Path) -> None:
    bundle = bundle_with_yard(tmp_path)
    reporter = Reporter.load(tmp_path)
    yard = reporter.at("yard/north")
    assert (reporter.normality, yard.normality, reporter.detector_id) == ("fleet", "yard/north", bundle.detector_id)
    assert yard.at("yard/north") is yard
    assert reporter.at("door") is reporter
    assert yard.at(None).scorer is reporter.scorer
    assert yard.detector_id == reporter.detector_id
    assert yard.scorer.normality is not None
    np.testing.assert_allclose(yard.scorer.normality.mean, 30 / 35 * YARD.mean(0), rtol=1e-5)
    assert bundle.cameras is not None
    camera_file(tmp_path, "yard/north", bundle.cameras["yard/north"].sha256).unlink()
    with pytest.raises(ArtifactError, match=r"yard%2Fnorth-[0-9a-f]{12}\.safetensors cannot be read as a camera"):
        Reporter.load(tmp_path)


def test_a_cameras_operating_point_is_refused_for_scores_with_another_normality(tmp_path: Path) -> None:
    bundle = bundle_with_yard(tmp_path)
    f1, names = bundle.operating_points["f1"], ("yard/north", "a point alone")
    points = bundle.operating_points | dict.fromkeys(names, f1)
    bundle = bundle.model_copy(update={"operating_points": points})
    footage = {name: CameraParts(NormalFootage.measure(YARD)) for name in ("yard/north", "door")}
    reporter = Reporter(bundle, fleet(), CameraScorers(fleet(), footage))
    for camera in (None, "door"):
        with pytest.raises(ConfigError, match=r"the operating point 'yard/north' .* `--camera yard/north`"):
            reporter.at(camera).report(VideoFacts(video_id="v"), iter(()), Options("yard/north"))
        reporter.at(camera).check_normality(Options("a point alone"))
    reporter.at("yard/north").check_normality(Options("yard/north"))
    reporter.at("yard/north").check_normality(Options("f1"))
    logistic = replace(fleet(), normality=None)
    Reporter(bundle, logistic, CameraScorers(logistic, footage)).check_normality(Options("yard/north"))


def test_the_default_point_is_no_cameras(tmp_path: Path) -> None:
    bundle = bundle_with_yard(tmp_path)
    f1, (camera,) = bundle.operating_points["f1"], (bundle.cameras or {}).values()
    points = dict.fromkeys(("a camera", "conformal"), f1)
    update = {"operating_points": points, "cameras": {"a camera": camera}}
    assert bundle.model_copy(update=update).default_point == "conformal"


def test_the_graph_of_a_camera_scores_as_the_camera_does(tmp_path: Path) -> None:
    bundle = bundle_with_yard(tmp_path)
    out, scorer = tmp_path / "yard.onnx", Reporter.load(tmp_path).at("yard/north").scorer
    z = RNG.normal(1, 1, size=(7, N)).astype(np.float32)
    export(tmp_path, out, bundle.default_point, "yard/north")
    session = onnxruntime.InferenceSession(out)
    np.testing.assert_allclose(session.run(["raw"], {"features": z})[0], apply_scorer(scorer, z), atol=1e-5)
    assert session.get_modelmeta().custom_metadata_map["normality"] == "yard/north"
    with pytest.raises(ConfigError, match=r"no camera 'door' in .*; there are: yard/north"):
        export(tmp_path, out, bundle.default_point, "door")
    assert json.loads((tmp_path / "bundle.json").read_text())["cameras"]["yard/north"]["segments"] == 30


def margin(shift: float = 1.0) -> Margin:
    scorer = fleet()
    return Margin(scorer.weight + shift, scorer.bias - shift, 3)


def test_a_camera_without_marks_has_the_file_of_earlier_versions(tmp_path: Path) -> None:
    footage = NormalFootage.measure(YARD)
    stored = save_camera(tmp_path, "yard", CameraParts(footage))
    content = tensor_bytes({"mean": footage.mean, "factor": footage.factor})
    assert camera_file(tmp_path, "yard", stored.sha256).read_bytes() == content
    assert set(stored.model_dump()) == {"sha256", "segments", "mean_strength", "covariance_strength"}


@pytest.mark.parametrize("with_footage", [True, False])
def test_weights_from_marks_come_back_to_the_bit(tmp_path: Path, with_footage: bool) -> None:
    conformed = replace(NormalFootage.measure(YARD), typical=3.5) if with_footage else None
    footage = NormalFootage.measure(np.concatenate([YARD, YARD + 1])) if with_footage else None
    parts = CameraParts(footage, margin=margin(), conformed=conformed)
    stored = save_camera(tmp_path, "yard", parts)
    assert StoredCamera.model_validate_json(stored.model_dump_json()) == stored
    loaded = load_camera(tmp_path, "yard", stored)
    assert loaded.margin is not None
    np.testing.assert_array_equal(loaded.margin.weight, margin().weight)
    assert (loaded.margin.bias, loaded.margin.marks) == (margin().bias, 3)
    assert (loaded.footage is None, stored.segments) == (not with_footage, 60 if with_footage else 0)
    unmarked = loaded.unmarked
    if conformed is None:
        assert unmarked is None
    else:
        assert unmarked is not None
        assert save_camera(tmp_path, "yard", unmarked) == save_camera(tmp_path, "yard", CameraParts(conformed))


@pytest.mark.parametrize("before", [None, replace(NormalFootage.measure(YARD), typical=3.5)])
def test_harmless_segments_come_back(tmp_path: Path, before: NormalFootage | None) -> None:
    """Also where the camera has no other footage of its own."""
    normality = fleet().normality
    assert normality is not None
    footage = add_harmless(normality, before, YARD[:4] + 9)
    stored = save_camera(tmp_path, "yard", CameraParts(footage, margin=margin()))
    loaded = load_camera(tmp_path, "yard", StoredCamera.model_validate_json(stored.model_dump_json())).footage
    assert loaded is not None
    assert (loaded.segments, loaded.harmless, loaded.typical) == (footage.segments, 4, footage.typical)
    own = [camera_normality(normality, normal) for normal in (footage, loaded)]
    np.testing.assert_array_equal(own[0].precision, own[1].precision)


def test_a_marked_camera_has_its_own_weights_and_all_others_the_fleets_to_the_bit() -> None:
    cameras = CameraScorers(fleet(), {"yard": CameraParts(None, margin=margin())})
    z = RNG.normal(size=(9, N))
    np.testing.assert_allclose(logits(cameras.scorer("yard"), z) - logits(fleet(), z), z.sum(1) - 1)
    assert cameras.scorer("door") is cameras.scorer(None)
    assert [cameras.correction(name) for name in ("yard", "door", None)] == ["yard", None, None]
    assert cameras.normality("yard") is None  # nobody's normal footage is known
    conformed = CameraScorers(fleet(), {"yard": CameraParts(NormalFootage.measure(YARD), margin=margin())})
    np.testing.assert_array_equal(conformed.margin_scorer("yard").weight, margin().weight)
    assert conformed.margin_scorer("yard").normality is conformed.scorer("door").normality
    assert conformed.scorer("yard").normality is not conformed.scorer("door").normality


def bundle_with_marks(folder: Path) -> Bundle:
    """The shipped bundle with a camera that has weights of its own, and an operating point of its name."""
    bundle, scorer = load_bundle(SHIPPED)
    camera = save_camera(folder, "yard", CameraParts(None, margin=margin(0.01)))
    points = bundle.operating_points | {"yard": bundle.operating_points["f1"]}
    update = {"cameras": {"yard": camera}, "operating_points": points}
    bundle = bundle.relocated(SHIPPED, folder).model_copy(update=update)
    save_bundle(folder, bundle, scorer, load_golden(SHIPPED))
    return bundle


def test_reports_and_graphs_say_whose_correction_they_have(tmp_path: Path) -> None:
    bundle = bundle_with_marks(tmp_path)
    reporter = Reporter.load(tmp_path)
    yard = reporter.at("yard")
    assert (reporter.correction, yard.correction, yard.normality) == (None, "yard", None)
    assert reporter.at("door") is reporter
    assert yard.at(None).scorer is reporter.scorer
    yard.check_normality(Options("yard"))
    with pytest.raises(ConfigError, match=r"the operating point 'yard' .* as one of 'fleet'"):
        reporter.check_normality(Options("yard"))
    out, z = tmp_path / "yard.onnx", RNG.normal(1, 1, size=(7, N)).astype(np.float32)
    export(tmp_path, out, "f1", "yard")
    session = onnxruntime.InferenceSession(out)
    np.testing.assert_allclose(session.run(["raw"], {"features": z})[0], apply_scorer(yard.scorer, z), atol=1e-5)
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["correction"] == "yard"
    assert "normality" not in metadata
    shipped = load_bundle(SHIPPED)[0]
    assert bundle.detector_id != shipped.detector_id
    assert bundle.features_id == shipped.features_id
    assert bundle.model_copy(update={"prompt": "another"}).features_id != shipped.features_id


def test_a_damaged_file_of_weights_is_named(tmp_path: Path) -> None:
    stored = save_camera(tmp_path, "yard", CameraParts(None, margin=margin()))
    other = save_camera(tmp_path, "yard", CameraParts(None, margin=replace(margin(), weight=np.full(N, np.nan))))
    with pytest.raises(ArtifactError, match="not finite"):
        load_camera(tmp_path, "yard", other)
    footage = save_camera(tmp_path, "yard", CameraParts(NormalFootage.measure(YARD)))
    with pytest.raises(ArtifactError, match=r"cannot be read as a camera.*weight"):
        load_camera(tmp_path, "yard", footage.model_copy(update={"marks": 3}))
    with pytest.raises(ValueError, match="without marks has normal footage"):
        StoredCamera(sha256="0", segments=0, mean_strength=5, covariance_strength=40)
    with pytest.raises(ArtifactError, match=rf"has {N} features, the scorer 2"):
        CameraScorers.load(tmp_path, replace(fleet(), weight=np.ones(2), normality=None), {"yard": stored})
