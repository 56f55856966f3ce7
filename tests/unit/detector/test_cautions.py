"""What speaks against trusting a detector: stated once, from the bundle alone, wherever its scores are read."""

import json
from dataclasses import replace
from pathlib import Path
from typing import cast

import onnx
import pytest

from conftest import ROOT
from headhunt_svc.detector.bundle import Bundle, load_bundle, save_graph
from headhunt_svc.detector.cautions import cautions, domain_of
from headhunt_svc.errors import ArtifactError
from headhunt_svc.types import Alternatives, Confidence, Verdict

SHIPPED = ROOT / "artifacts" / "detector"


def measured(verdict: Verdict) -> Confidence:
    return Confidence(50, (0.5, 0.25), 0.1, None, 0.52, 0.04, verdict, "words")


def test_a_bundle_of_before_is_written_as_it_was_read() -> None:
    raw = json.loads((SHIPPED / "bundle.json").read_text())
    assert Bundle.model_validate(raw).model_dump(mode="json") == raw
    new = {"domain", "confidence", "unavailable"}
    old = Bundle.model_validate({k: v for k, v in raw.items() if k not in new})
    assert not new & json.loads(old.model_dump_json()).keys()
    assert old.cautions == ()


@pytest.mark.parametrize("verdict", ["trustworthy", "unstable", "interchangeable", "not trustworthy"])
def test_domain_and_confidence_are_part_of_the_detector(verdict: Verdict) -> None:
    old, _ = load_bundle(SHIPPED)
    new = old.model_copy(update={"domain": "parking lots", "confidence": measured(verdict)})
    assert new.detector_id != old.detector_id
    compared = replace(measured(verdict), alternatives=Alternatives(0.6, 0.02, 0.7, 0.01))
    later = new.model_copy(update={"confidence": compared})
    assert Bundle.model_validate_json(later.model_dump_json()) == later
    assert Bundle.model_validate_json(new.model_dump_json()) == new
    assert new.cautions == cautions("parking lots", measured(verdict))


def test_every_caution_says_the_way_out() -> None:
    assert cautions(None, None) == cautions(None, measured("trustworthy")) == ()
    for works in ("unstable", "interchangeable"):
        assert cautions(None, measured(cast(Verdict, works))) == ()
    (domain,) = cautions("parking lots", None)
    assert "has seen parking lots only" in domain
    assert "name another model as mllm.id in params.yaml" in domain
    (chance,) = cautions(None, measured("not trustworthy"))
    assert chance.startswith("heads at chance: ")
    assert "AUC 0.52 +- 0.04 (chance: 0.50)" in chance
    assert "check the labels or label more videos" in chance
    assert cautions("parking lots", measured("not trustworthy")) == (domain, chance)


def test_an_exported_graph_says_it_too(tmp_path: Path) -> None:
    old, scorer = load_bundle(SHIPPED)
    bundle = old.model_copy(update={"domain": "parking lots"})
    save_graph(tmp_path / "g.onnx", bundle, scorer, bundle.default_point)
    properties = {p.key: p.value for p in onnx.load(tmp_path / "g.onnx").metadata_props}
    assert json.loads(properties["cautions"]) == list(bundle.cautions)


def test_a_model_folder_states_what_the_model_has_seen(tmp_path: Path) -> None:
    assert domain_of(tmp_path) is None
    record = tmp_path / "pretraining.json"
    for text in ("{}", "[]", '{"domain": null}'):
        record.write_text(text)
        assert domain_of(tmp_path) is None
    record.write_text('{"domain": "parking lots at night"}')
    assert domain_of(tmp_path) == "parking lots at night"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b'{"domain": 7}', b'{"domain": " "}'])
def test_a_broken_statement_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pretraining.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"pretraining\.json.*or remove it"):
        domain_of(tmp_path)


def test_the_embedded_model_has_seen_rendered_scenes() -> None:
    from headhunt_svc.demo.pretraining import DOMAIN

    assert domain_of(ROOT / "artifacts" / "demo_mllm") == DOMAIN
    assert "rendered" in DOMAIN
