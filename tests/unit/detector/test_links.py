"""A bundle that is activated while a process runs: taken over where its features are the same, else refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from conftest import ROOT
from headhunt_svc.detector.deployments import Deployed
from headhunt_svc.detector.in_use import InUse
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.errors import ConfigError
from headhunt_svc.settings import Settings
from helpers.bundles import bundle, rebiased


@pytest.fixture(scope="module")
def shipped() -> Detector:
    return Detector.load(ROOT / "artifacts" / "detector")


@pytest.fixture
def deployed(tmp_path: Path, shipped: Detector, monkeypatch: pytest.MonkeyPatch) -> Deployed:
    """Two bundles, of which the first is in use; the model is loaded once for all tests."""

    def load(folder: Path, settings: Settings | None = None, whole: bool = False) -> Detector:
        old = Detector.__new__(Detector)
        old.__dict__.update(shipped.__dict__)
        return old

    monkeypatch.setattr(Detector, "load", load)
    place = Deployed(tmp_path / "deployed")
    place.activate(bundle(tmp_path, "first", 1), "")
    return place


def change(folder: Path, **fields: Any) -> None:
    contents = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps(contents | fields))


def metric(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def test_an_activated_bundle_is_taken_over_with_the_model_that_is_loaded(deployed: Deployed, tmp_path: Path) -> None:
    in_use = InUse.load(deployed.current)
    before = in_use.now
    in_use.look()
    assert in_use.now == before
    new_id = deployed.activate(rebiased(tmp_path, "second", 0.5), "")
    in_use.look()
    assert in_use.detector.detector_id == new_id
    assert in_use.detector.extractor is before.detector.extractor
    assert in_use.detector.scorer.bias == pytest.approx(before.detector.scorer.bias + 0.5)
    assert before.detector.detector_id != new_id  # whoever scores a video with it goes on
    assert metric("headhunt_detector_info", role="active", detector_id=new_id) == 1
    assert metric("headhunt_detector_info", role="active", detector_id=before.detector.detector_id) == 0
    deployed.rollback(None, "")
    in_use.look()
    assert in_use.detector.detector_id == before.detector.detector_id


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("prompt", "Is anything strange?", "another prompt"),
        ("segmentation", {"length_s": 3.2, "frames_per_segment": 4}, "another segmentation"),
        ("heads", None, "another heads"),
        ("mllm", {"id": "../demo_mllm", "dtype": "bfloat16"}, "another model"),
        ("fingerprint", {"torch": "1.0"}, "another fingerprint"),
    ],
)
def test_a_bundle_of_other_features_takes_a_restart(
    deployed: Deployed, tmp_path: Path, field: str, value: object, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    in_use, other = InUse.load(deployed.current), bundle(tmp_path, "other", 0.9)
    contents = json.loads((other / "bundle.json").read_text())
    change(other, **{field: contents["heads"][::-1] if value is None else value})
    new_id = deployed.activate(other, "")
    in_use.look()
    assert in_use.detector.detector_id != new_id
    assert says in in_use.refused["active"]
    assert "it scores other features, and takes a restart" in in_use.refused["active"]
    assert metric("headhunt_detector_refused", role="active") == 1
    in_use.look()
    assert len([r for r in caplog.records if "is refused" in r.message]) == 1  # said once
    deployed.rollback(None, "")
    in_use.look()
    assert in_use.refused == {}
    assert metric("headhunt_detector_refused", role="active") == 0


def test_a_broken_bundle_and_a_link_that_is_gone_leave_the_detector_in_use(deployed: Deployed, tmp_path: Path) -> None:
    in_use, bad = InUse.load(deployed.current), rebiased(tmp_path, "bad", 1)
    kept = in_use.now
    deployed.activate(bad, "")
    (bad / "scorer.safetensors").write_bytes(b"")
    in_use.look()
    assert in_use.now == kept
    assert "scorer.safetensors cannot be read as a scorer" in in_use.refused["active"]
    deployed.current.unlink()
    in_use.look()
    assert in_use.now == kept
    assert in_use.refused["active"] == f"{deployed.current} is gone"


def test_a_bundle_that_is_activated_during_a_look_is_taken_over_once(
    deployed: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_use, new = InUse.load(deployed.current), rebiased(tmp_path, "second", 0.5)
    exchanges = metric("headhunt_detector_exchanges_total")
    readlink = Path.readlink

    def activated_first(path: Path) -> Path:
        monkeypatch.setattr(Path, "readlink", readlink)
        deployed.activate(new, "")
        return readlink(path)

    monkeypatch.setattr(Path, "readlink", activated_first)
    in_use.look()
    in_use.look()
    assert exchanges is not None
    assert metric("headhunt_detector_exchanges_total") == exchanges + 1


def test_links_in_a_circle_leave_the_detector_in_use(deployed: Deployed) -> None:
    in_use = InUse.load(deployed.current)
    kept = in_use.now
    deployed.current.unlink()
    deployed.current.symlink_to(deployed.current)
    in_use.look()
    assert in_use.now == kept
    assert "active" in in_use.refused


def test_a_bundle_without_what_is_asked_for_here_is_refused(deployed: Deployed, tmp_path: Path) -> None:
    in_use = InUse.load(deployed.current)
    kept = in_use.now

    def fits(detector: object) -> None:
        raise ConfigError("camera yard: no operating point 'yard'")

    deployed.activate(rebiased(tmp_path, "second", 0.5), "")
    in_use.look(fits)
    assert in_use.now == kept
    assert in_use.refused == {"active": "camera yard: no operating point 'yard'"}


def test_the_same_folder_activated_again_is_read_again(deployed: Deployed, tmp_path: Path) -> None:
    in_use = InUse.load(deployed.current)
    change(tmp_path / "first", description_prompt="What is it?")
    in_use.look()
    assert in_use.detector.bundle.description_prompt != "What is it?"  # not activated
    new_id = deployed.activate(tmp_path / "first", "made again")
    in_use.look()
    assert in_use.detector.detector_id == new_id


def test_a_folder_that_is_no_link_is_never_exchanged(deployed: Deployed, tmp_path: Path) -> None:
    in_use = InUse.load(tmp_path / "first")
    kept = in_use.now
    (tmp_path / "candidate").symlink_to(rebiased(tmp_path, "second", 0.5))
    change(tmp_path / "first", description_prompt="What is it?")
    in_use.look()
    assert in_use.now == kept
    assert in_use.refused == {}


def test_looking_costs_nothing_while_nothing_changes(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    in_use = InUse.load(deployed.current)
    in_use.look()
    calls: list[object] = []
    monkeypatch.setattr("headhunt_svc.detector.links.load_bundle", calls.append)
    for _ in range(100):
        in_use.look()
    assert calls == []


def test_a_candidate_is_scored_beside_until_it_is_in_use_or_stopped(deployed: Deployed, tmp_path: Path) -> None:
    in_use = InUse.load(deployed.current)
    with pytest.raises(ConfigError, match="there is no candidate"):
        deployed.stop_shadow("")
    with pytest.raises(ConfigError, match="is in use: there is nothing to compare"):
        deployed.shadow(tmp_path / "first", "")
    candidate = rebiased(tmp_path, "candidate", 0.5)
    candidate_id = deployed.shadow(candidate, "fewer alarms of cars")
    in_use.look()
    first_id = in_use.detector.detector_id
    assert in_use.now.candidate is not None
    assert in_use.now.candidate.detector_id == candidate_id
    assert metric("headhunt_detector_info", role="candidate", detector_id=candidate_id) == 1
    assert [v.detector_id for v in deployed.history()] == [first_id]  # it was never in use
    assert deployed.stop_shadow("not now") == candidate_id
    in_use.look()
    assert in_use.now.candidate is None
    assert metric("headhunt_detector_info", role="candidate", detector_id=candidate_id) == 0
    deployed.shadow(candidate, "")
    assert deployed.activate_candidate("better") == candidate_id
    in_use.look()
    assert in_use.detector.detector_id == candidate_id
    assert in_use.now.candidate is None
    assert not deployed.candidate.is_symlink()
    lines = [json.loads(line) for line in deployed.log.read_text().splitlines()]
    assert [line["what"] for line in lines] == ["bundle", "candidate", "candidate stopped", "candidate", "bundle"]
    assert deployed.rollback(None, "").detector_id == first_id


def test_a_candidate_of_other_features_is_refused_by_name(deployed: Deployed, tmp_path: Path) -> None:
    other = bundle(tmp_path, "other", 0.9)
    change(other, prompt="Is anything strange?")
    with pytest.raises(ConfigError, match=r"has another prompt than detector \w+ in use"):
        deployed.shadow(other, "")
    in_use = InUse.load(deployed.current)
    deployed.candidate.symlink_to(other)  # by hand
    in_use.look()
    assert in_use.now.candidate is None
    assert "has another prompt" in in_use.refused["candidate"]
    assert metric("headhunt_detector_refused", role="candidate") == 1
    assert metric("headhunt_detector_refused", role="active") == 0
