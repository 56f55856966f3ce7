"""docs/operations.md and the files of monitoring/ say what the code does."""

import json
import re

import pytest
import yaml

from conftest import ROOT, headhunt
from headhunt_svc.monitoring.config import load_drift
from headhunt_svc.monitoring.diagnosis import REMEDY
from headhunt_svc.prediction_log import metrics

DOC = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def test_every_signal_and_kind_has_its_place() -> None:
    for name in load_drift(ROOT / "monitoring" / "drift.yaml").limits:
        assert f"`{name}`" in DOC
    assert re.findall(r"^### (\w+)$", DOC, flags=re.MULTILINE) == list(REMEDY)


@pytest.mark.parametrize("file", ["alerts-drift.yml", "grafana-drift.json"])
def test_alerts_and_dashboard_use_metrics_that_there_are(file: str) -> None:
    text = (ROOT / "monitoring" / file).read_text()
    if file.endswith("yml"):
        used = [r["expr"] for g in yaml.safe_load(text)["groups"] for r in g["rules"]]
    else:
        used = [t["expr"] for panel in json.loads(text)["panels"] for t in panel["targets"]]
    there = {full + ("_total" if kind == "Counter" else ""): labels for kind, full, _, labels in metrics._ALL.values()}
    for expression in used:
        names = re.findall(r"headhunt_\w+", expression)
        assert names, expression
        labels = {label for name in names for label in there[name]}
        for grouped in re.findall(r"by \(([^)]*)\)", expression):
            assert set(re.split(r",\s*", grouped)) <= labels, expression


def test_commands_of_the_page_exist() -> None:
    verbs = set(re.findall(r"headhunt ((?:monitor|bundles|bundle) [a-z]+|recalibrate)", DOC))
    assert {"monitor run", "monitor rebaseline", "bundles rollback", "recalibrate"} <= verbs
    for group in ("monitor", "bundles", "bundle"):
        shown = headhunt(group, "--help").stdout
        for verb in (v.split()[1] for v in verbs if v.startswith(f"{group} ")):
            assert re.search(rf"\b{verb}\b", shown), verb


def test_no_target_of_the_page_is_missing() -> None:
    assert "monitor-demo:" in (ROOT / "Makefile").read_text()
    for name in re.findall(r"\]\(([\w./-]+)\)", DOC):
        assert (ROOT / "docs" / name).exists(), name
