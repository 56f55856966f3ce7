"""The figures in docs/evaluation.md are those that its commands print."""

import json
import re
from pathlib import Path

import pytest

from conftest import ROOT, headhunt
from helpers.verbs import VERBS

PAGE = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")


def figures(external: Path, out: Path, name: str, *args: str | Path) -> dict:
    where = external / "annotations" / name
    options = ("--dataset", name, "--annotations", where, "--bootstrap", "0", "--json", out)
    done = headhunt("evaluate-scores", *args, *options)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


@pytest.mark.external_data
def test_the_figures_are_what_the_commands_print(external: Path, tmp_path: Path) -> None:
    scores = external / "published_scores" / "urf_hvaa_ucf_crime_refined.json"
    ucf = figures(external, tmp_path / "a.json", "ucf_crime", scores, "--stride", "16", "--sigma", "10")
    half_open = figures(external, tmp_path / "b.json", "ucf_crime", "--span-ends", "half_open")
    xd = figures(external, tmp_path / "c.json", "xd_violence")
    for name in ("constant", "video_oracle"):
        keys = ("roc_auc", "average_precision", "pr_auc_trapezoid", "precision")
        row = " +".join(f"{ucf['baselines'][name][k]:.5f}" for k in keys)
        assert re.search(f"{name.replace('_', ' ')} +{row}", PAGE)
    for value in (
        half_open["baselines"]["video_oracle"]["roc_auc"],
        xd["baselines"]["video_oracle"]["average_precision"],
        ucf["roc_auc"],
        ucf["average_precision"],
        ucf["anomalous_videos_only"]["roc_auc"],
    ):
        assert f"{value:.5f}" in PAGE
    abuse = ucf["by_kind"]["Abuse"]
    assert f"for *Abuse* it is {abuse['roc_auc']:.3f} and AP is {abuse['average_precision']:.3f}" in PAGE
    # the oracle's false positives are the normal frames of anomalous videos: AUC = 1 - rate / 2
    share = 2 * ucf["baselines"]["video_oracle"]["roc_auc"] - 1
    assert f"{100 * share:.0f} % of the" in PAGE


def test_the_commands_exist() -> None:
    assert set(re.findall(r"headhunt ((?:bundle )?[a-z-]+)", PAGE)) <= VERBS
