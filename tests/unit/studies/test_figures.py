"""The ablation as Markdown and pictures."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from conftest import ROOT
from headhunt_svc.studies.figures import SWEEPS, draw_arms, draw_sweeps, learning_curves, markdown, summary


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"), float)


def row(value: float, **more: object) -> dict:
    return {
        "roc_auc": value,
        "roc_auc_interval": [value - 0.1, value + 0.1],
        "average_precision": value / 2,
        "f1": 0.5,
        **more,
    }


RESULT: dict = {
    "detector_id": "d",
    "arms": {
        "expert_robust": {
            "how": "ten heads",
            "test": row(0.9, groups={"unseen_kinds": row(0.8), "new_cameras": {"undefined": "no camera is stated"}}),
            "hard": row(0.7),
            "low_label": {
                "9": {
                    "mean": 0.6,
                    "std": 0.1,
                    "roc_auc": [0.5, 0.7],
                    "average_precision": [0.2, 0.4],
                    "unseen_kinds": [0.4, 0.5],
                },
                "18": {
                    "mean": 0.65,
                    "std": 0.1,
                    "roc_auc": [0.6, 0.7],
                    "average_precision": [0.3, 0.35],
                    "unseen_kinds": [0.5, 0.5],
                },
            },
        },
        "untrained": {
            "how": "random weights",
            "test": row(0.5, groups={"unseen_kinds": row(0.45), "new_cameras": {"undefined": "no camera is stated"}}),
        },
        "all_heads": {
            "how": "all",
            "test": row(0.91, groups={"unseen_kinds": row(0.81), "new_cameras": {"undefined": "no camera is stated"}}),
        },
    },
    "sweeps": {name: {"1": {"roc_auc": 0.5, "average_precision": 0.5}} for name in SWEEPS},
}


def test_the_small_table_has_the_main_arms_and_the_rows_that_the_detector_has() -> None:
    assert summary(RESULT, "roc_auc") == (
        ["ROC-AUC", "detector", "all heads"],
        [
            ["all", "0.900 [0.800, 1.000]", "0.910 [0.810, 1.010]"],
            ["unseen kinds", "0.800 [0.700, 0.900]", "0.810 [0.710, 0.910]"],
            ["hard", "0.700 [0.600, 0.800]", "-"],
            ["9 labelled videos", "0.600 [0.505, 0.695]", "-"],
        ],
    )
    assert [cells[1] for cells in summary(RESULT, "average_precision")[1]] == [
        "0.450",
        "0.400",
        "0.350",
        "0.300 [0.205, 0.395]",
    ]


def test_the_page_shows_every_arm_on_what_is_new_and_says_what_is_not_there() -> None:
    text = markdown(RESULT)
    assert "| untrained | 0.450 [0.350, 0.550] | 0.225 |" in text
    assert "new cameras: no row, no camera is stated\n" in text


def test_each_figure_of_the_learning_curve_has_a_table() -> None:
    curves = list(learning_curves(RESULT).values())
    assert [rows for _, rows in curves] == [
        [["expert robust", "0.600 ± 0.100", "0.650 ± 0.050"]],
        [["expert robust", "0.300 ± 0.100", "0.325 ± 0.025"]],
        [["expert robust", "0.450 ± 0.050", "0.500 ± 0.000"]],
    ]
    assert "| expert robust | 0.450 ± 0.050 | 0.500 ± 0.000 |" in markdown(RESULT)


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
