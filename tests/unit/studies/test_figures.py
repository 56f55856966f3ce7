"""The ablation as Markdown and pictures."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from conftest import ROOT
from headhunt_svc.studies.figures import draw_arms, draw_sweeps, markdown


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"), float)


def test_the_shipped_tables_and_pictures_are_those_of_the_figures(tmp_path: Path) -> None:
    result = json.loads((ROOT / "artifacts" / "ablation.json").read_text())
    text = markdown(result)
    assert (ROOT / "artifacts" / "ablation.md").read_text() == text
    for name, row in result["arms"].items():
        line = next(x for x in text.splitlines() if x.startswith(f"| {name.replace('_', ' ')} |"))
        assert f"{row['test']['roc_auc']:.3f}" in line
        assert row["how"] in line
    for draw, name in ((draw_arms, "ablation"), (draw_sweeps, "sweeps")):
        draw(tmp_path / "drawn.png", result)
        drawn, shipped = pixels(tmp_path / "drawn.png"), pixels(ROOT / "artifacts" / "plots" / f"{name}.png")
        assert drawn.shape == shipped.shape
        assert np.abs(drawn - shipped).mean() < 0.05  # of 255; a bar that is 0.1 lower gives 0.11
