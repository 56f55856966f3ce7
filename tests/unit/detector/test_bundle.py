"""Operating points on disk: side by side, by name, for both ways of smoothing; older bundles keep their name."""

from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from pydantic import ValidationError

from conftest import ROOT
from headhunt_svc.detector.bundle import (
    Bundle,
    StoredPoint,
    check_model,
    load_bundle,
    load_operating_points,
    save_operating_points,
)
from headhunt_svc.errors import ArtifactError, ConfigError
from headhunt_svc.model.identity import LockedFile
from headhunt_svc.types import CalibratedPair, CalibratedPoint, OperatingPoint, Unavailable

OFFLINE = CalibratedPoint(OperatingPoint(0.5, 0.7), "the best frame F1", 0.8, 0.9, None)
CAUSAL = CalibratedPoint(OperatingPoint(0.75, 0.6, "causal"), "the best frame F1", 0.7, 0.9, None)


def shipped_with(points: dict[str, StoredPoint]) -> Bundle:
    return load_bundle(ROOT / "artifacts" / "detector")[0].model_copy(update={"operating_points": points})


def test_points_survive_locator_json(tmp_path: Path) -> None:
    points = {
        "f1": CalibratedPair(OFFLINE, CAUSAL),
        "budget": CalibratedPair(OFFLINE, None),
        "conformal": Unavailable("too few videos"),
    }
    save_operating_points(tmp_path / "l.json", points)
    rule = "the best frame F1"
    causal = StoredPoint(sigma_segments=0.75, threshold=0.6, rule=rule)
    stored = load_operating_points(tmp_path / "l.json")
    assert stored.points == {
        "f1": StoredPoint(sigma_segments=0.5, threshold=0.7, rule=rule, causal=causal),
        "budget": StoredPoint(sigma_segments=0.5, threshold=0.7, rule=rule),
    }
    assert stored.unavailable == {"conformal": "too few videos"}


def test_a_bundle_knows_why_it_lacks_a_point() -> None:
    points = {"calm": StoredPoint(sigma_segments=0.5, threshold=0.7)}
    bundle = shipped_with(points).model_copy(update={"unavailable": {"f1": "no true span is found"}})
    with pytest.raises(
        ConfigError, match=r"no operating point 'f1' in this bundle \(no true span is found\); there are: calm"
    ):
        bundle.operating_point("f1")
    assert bundle.default_point == "calm"
    with pytest.raises(ValidationError, match="operating_points"):
        Bundle.model_validate(bundle.model_dump() | {"operating_points": {}})


@pytest.mark.parametrize(
    "text",
    ["[]", '{"f1": 7}', '{"f1": {"sigma_segments": 0.5}}', '{"f1": {"sigma_segments": 0.5, "threshold": 7}}'],
)
def test_what_holds_no_points_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "l.json").write_text(text)
    with pytest.raises(ArtifactError, match="run `headhunt calibrate` again"):
        load_operating_points(tmp_path / "l.json")


def test_points_are_chosen_by_name_and_smoothing() -> None:
    causal = StoredPoint(sigma_segments=0.75, threshold=0.6)
    bundle = shipped_with(
        {
            "quiet": StoredPoint(sigma_segments=0.5, threshold=0.9),
            "calm": StoredPoint(sigma_segments=0.5, threshold=0.7, causal=causal),
        }
    )
    assert bundle.operating_point("quiet") == OperatingPoint(0.5, 0.9, "offline")
    assert bundle.operating_point("calm", "causal") == OperatingPoint(0.75, 0.6, "causal")
    assert bundle.default_point == "calm"
    with pytest.raises(ConfigError, match="no operating point 'f1' in this bundle; there are: calm, quiet"):
        bundle.operating_point("f1")
    with pytest.raises(
        ConfigError, match="no operating point 'quiet' in this bundle for causal smoothing; there are: calm"
    ):
        bundle.operating_point("quiet", "causal")


def test_a_point_of_an_older_bundle_is_written_as_it_was_read() -> None:
    old = {"sigma_segments": 0.5, "threshold": 0.7}
    assert StoredPoint.model_validate(old).model_dump(mode="json") == old


def test_a_bundle_without_a_prompt_for_descriptions_keeps_its_name(tmp_path: Path) -> None:
    bundle = load_bundle(ROOT / "artifacts" / "detector")[0].model_copy(update={"description_prompt": None})
    assert "description_prompt" not in bundle.model_dump(mode="json")
    asking = bundle.model_copy(update={"description_prompt": "what happens?"})
    assert asking.model_dump(mode="json") == bundle.model_dump(mode="json") | {"description_prompt": "what happens?"}
    assert asking.detector_id != bundle.detector_id


def test_a_bundle_in_another_folder_names_the_same_model(tmp_path: Path) -> None:
    shipped = ROOT / "artifacts" / "detector"
    bundle, _ = load_bundle(shipped)
    moved = bundle.relocated(shipped, tmp_path / "a" / "b")
    assert Path(moved.mllm_at(tmp_path / "a" / "b").id).samefile(ROOT / "artifacts" / "demo_mllm")
    assert moved.model_copy(update={"mllm": bundle.mllm}) == bundle
    from_hub = bundle.model_copy(update={"mllm_is_local": False})
    assert from_hub.relocated(shipped, tmp_path) is from_hub


def test_an_older_bundle_of_a_hub_is_taken_by_its_commit_and_refused_by_a_branch(tmp_path: Path) -> None:
    shipped = load_bundle(ROOT / "artifacts" / "detector")[0]
    mllm = shipped.mllm.model_copy(update={"id": "owner/model", "revision": "main"})
    older = {"mllm": mllm, "mllm_is_local": False, "mllm_files": None, "mllm_commit": None}
    by_commit = shipped.model_copy(update=older | {"mllm_revision": "a" * 40})
    assert by_commit.model_place(tmp_path).parts[-3:] == ("models--owner--model", "snapshots", "a" * 40)
    with pytest.raises(ArtifactError, match=f"run `headhunt models pull owner/model --revision {'a' * 40}`"):
        check_model(by_commit, tmp_path)
    by_branch = shipped.model_copy(update=older | {"mllm_revision": "main"})
    with pytest.raises(ArtifactError, match="was made for owner/model at main, no commit, which may have moved"):
        check_model(by_branch, tmp_path)


def test_what_later_versions_add_is_left_out_of_an_older_bundles_id() -> None:
    shipped = load_bundle(ROOT / "artifacts" / "detector")[0]
    older = shipped.model_copy(update={"mllm_files": None, "mllm_commit": None})
    assert not {"mllm_files", "mllm_commit"} & set(older.model_dump(mode="json"))
    assert Bundle.model_validate(older.model_dump(mode="json")).detector_id == older.detector_id
    file = LockedFile(name="config.json", size=2, sha256="0" * 64)
    assert older.model_copy(update={"mllm_files": (file,)}).detector_id != older.detector_id


def test_some_fields_of_a_bundle_can_be_asked_for() -> None:
    shipped = load_bundle(ROOT / "artifacts" / "detector")[0]
    assert shipped.confidence is not None
    for confidence in (shipped.confidence, replace(shipped.confidence, alternatives=None)):
        bundle = shipped.model_copy(update={"confidence": confidence})
        assert bundle.model_dump(mode="json", include={"prompt"}) == {"prompt": shipped.prompt}


def test_the_graph_refers_to_no_other_file() -> None:
    graph = onnx.load(str(ROOT / "artifacts" / "detector" / "scorer.onnx"), load_external_data=False)
    tensors = [*graph.graph.initializer, *(a.t for node in graph.graph.node for a in node.attribute if a.HasField("t"))]
    assert tensors
    assert not any(onnx.external_data_helper.uses_external_data(tensor) for tensor in tensors)
