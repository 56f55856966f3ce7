"""What `headhunt demo show --published` says of figures."""

import copy
import json
from pathlib import Path

import pytest

from conftest import ROOT
from headhunt_svc.cli.demo import print_agreement
from headhunt_svc.demo.published import TOLERANCE, differences

PUBLISHED = json.loads((ROOT / "artifacts" / "metrics.json").read_text())


def test_figures_agree_within_the_tolerance() -> None:
    here = copy.deepcopy(PUBLISHED)
    here["roc_auc"] += 0.9 * TOLERANCE
    here["by_kind"]["fire"]["average_precision"] -= 0.9 * TOLERANCE
    assert differences(here, PUBLISHED) == []


def test_a_figure_that_differs_is_named_with_its_difference() -> None:
    here = copy.deepcopy(PUBLISHED)
    here["roc_auc"] = 0.85
    here["by_kind"]["fire"]["average_precision"] = 0.3
    published = copy.deepcopy(PUBLISHED)
    published["roc_auc"], published["by_kind"]["fire"]["average_precision"] = 0.9, 0.25
    assert differences(here, published) == [
        "ROC-AUC, all videos: 0.850, published 0.900 (-0.050)",
        "AP, fire: 0.300, published 0.250 (+0.050)",
    ]


def test_kinds_that_stand_on_one_side_only_are_named() -> None:
    here = copy.deepcopy(PUBLISHED)
    here["by_kind"]["flood"] = here["by_kind"].pop("fire")
    assert differences(here, PUBLISHED) == [
        "ROC-AUC, fire: published only",
        "AP, fire: published only",
        "ROC-AUC, flood: not published",
        "AP, flood: not published",
    ]


def test_agreement_and_disagreement_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    published = ROOT / "artifacts" / "metrics.json"
    print_agreement(published, published)
    assert f"agree with the published ones ({published}) within 0.01" in capsys.readouterr().out
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(PUBLISHED | {"average_precision": PUBLISHED["average_precision"] + 0.02}))
    print_agreement(path, published)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("by more than 0.01:")
    assert len(lines) == 2
    assert lines[1].startswith("  AP, all videos: ")
    assert lines[1].endswith("(+0.020)")
