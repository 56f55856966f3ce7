"""The ablation as Markdown and pictures."""

import json
from pathlib import Path

from PIL import Image

from conftest import ROOT
from headhunt_svc.studies.figures import draw_arms, draw_sweeps, markdown


def test_the_shipped_tables_and_pictures_are_those_of_the_figures(tmp_path: Path) -> None:
    result = json.loads((ROOT / "artifacts" / "ablation.json").read_text())
    text = markdown(result)
    assert (ROOT / "artifacts" / "ablation.md").read_text() == text
    for name, row in result["arms"].items():
        line = next(x for x in text.splitlines() if x.startswith(f"| {name.replace('_', ' ')} |"))
        assert f"{row['test']['roc_auc']:.3f}" in line
        assert row["how"] in line
    for draw in (draw_arms, draw_sweeps):
        draw(tmp_path / "x.png", result)
        with Image.open(tmp_path / "x.png") as picture:
            assert picture.width > 800
