"""The tables of README.md and docs/ that come from artifacts/ are what docs/tables.py makes of them."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from conftest import ROOT


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs" / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_pages_have_the_figures_of_the_artifacts(tables: ModuleType) -> None:
    """If not: python docs/tables.py"""
    for name in tables.PAGES:
        assert tables.rewritten(page(name)) == page(name)


def test_each_table_has_one_place(tables: ModuleType) -> None:
    marked = [name for p in tables.PAGES for name in re.findall(r"<!-- table: (.*) -->", page(p))]
    assert sorted(marked) == sorted(tables.TABLES)


def test_old_figures_are_replaced_and_the_text_around_them_stays(tables: ModuleType) -> None:
    now = page("docs/results.md")
    old = re.sub(r"^\| `logistic` \|.*", "| `logistic` | 0.100 |", now, flags=re.MULTILINE).replace("0.9", "0.8")
    prose = re.sub(r"<!-- table: .*?<!-- end -->", "", old, flags=re.DOTALL)
    new = tables.rewritten(old)
    assert re.findall(r"^\| `logistic` \|.*", new, re.MULTILINE) == re.findall(
        r"^\| `logistic` \|.*", now, re.MULTILINE
    )
    assert re.sub(r"<!-- table: .*?<!-- end -->", "", new, flags=re.DOTALL) == prose


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<!-- table: arms -->\nsome prose\n", "write one behind each table"),
        ("<!-- table: arms -->\n<!-- table: arms -->\nprose\n<!-- end -->\n", "write one behind each table"),
        ("prose\n<!-- end -->\n", "write one behind each table"),
        ("<!-- table: arm -->\n<!-- end -->\n", "no table arm"),
    ],
)
def test_a_wrong_mark_is_named_before_anything_is_lost(tables: ModuleType, text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        tables.rewritten(text)


def test_what_was_left_out_is_a_mean_with_its_standard_error(tables: ModuleType) -> None:
    sections = json.loads(page("artifacts/generalisation.json"))
    rows = [[row["roc_auc"] for row in sections[name]["left_out"].values()] for name in ("kinds", "cameras")]
    for arm in rows[0][0]:
        values = [np.array([row[arm] for row in of_section]) for of_section in rows]
        cells = [f"{v.mean():.3f} ± {v.std(ddof=1) / len(v) ** 0.5:.3f}" for v in values]
        assert f"| `{arm.replace('_', ' ')}` | {cells[0]} | {cells[1]} |\n" in tables.left_out()


def test_skills_name_the_worst_kinds_that_are_below_what_is_wanted(tables: ModuleType) -> None:
    accuracy = json.loads(page("artifacts/demo_mllm/pretraining.json"))["accuracy"]
    text = tables.skills()
    kinds = {name: share for name, share in accuracy.items() if name.startswith("yn_")}
    below = sorted((share, name) for name, share in kinds.items() if share < 0.9)
    assert f"{len(kinds) - len(below)} of {len(kinds)} kinds reach it" in text
    for name, share in kinds.items():
        named = (share, name) in below[: tables.WORST_KINDS]
        assert (f" {name.removeprefix('yn_')} {share:.3f}" in text) == named
    for name, share in accuracy.items():
        if name not in kinds:
            assert f" {share:.3f} |\n" in text


def test_a_mistyped_option_and_a_missing_artifact_are_named_and_write_nothing(
    tables: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = "<!-- table: arms -->\nold\n<!-- end -->\n"
    (tmp_path / "page.md").write_text(old)
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    monkeypatch.setattr(tables, "PAGES", ("page.md",))
    monkeypatch.setattr(sys, "argv", ["tables.py", "--chekc"])
    with pytest.raises(SystemExit, match="2"):
        tables.main()
    assert "unrecognized arguments: --chekc" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["tables.py"])
    with pytest.raises(SystemExit, match=r"^page.md: .*ablation.json not found"):
        tables.main()
    assert (tmp_path / "page.md").read_text() == old
