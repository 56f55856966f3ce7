"""Alert rules and dashboards of monitoring/ use only metrics and labels that the code exports."""

import json
import re
from pathlib import Path

import pytest
import yaml

from conftest import ROOT
from headhunt_svc.jobs import metrics as jobs
from headhunt_svc.monitoring import metrics as monitoring
from headhunt_svc.prediction_log import metrics as prediction_log
from headhunt_svc.serve import metrics as service
from helpers.prometheus_series import exported

FILES = sorted([*(ROOT / "monitoring").glob("alerts*.yml"), *(ROOT / "monitoring").glob("grafana*.json")])


def expressions(path: Path) -> list[str]:
    if path.suffix == ".yml":
        groups = yaml.safe_load(path.read_text())["groups"]
        return [rule["expr"] for group in groups for rule in group["rules"]]
    return [t["expr"] for panel in json.loads(path.read_text())["panels"] for t in panel["targets"]]


def used_series(path: Path) -> set[str]:
    return {name for expression in expressions(path) for name in re.findall(r"headhunt_\w+", expression)}


def without_suffix(names: set[str]) -> set[str]:
    return {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in names}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_every_rule_and_panel_uses_metrics_and_labels_that_exist(path: Path) -> None:
    series = exported(jobs, monitoring, prediction_log, service)
    assert expressions(path)
    for expression in expressions(path):
        names = re.findall(r"headhunt_\w+", expression)
        assert names, expression
        assert set(names) <= series.keys(), expression
        labels = {label for name in names for label in series[name]}
        grouped = {label for group in re.findall(r"by \(([^)]*)\)", expression) for label in re.split(r",\s*", group)}
        matched = set(re.findall(r"(\w+)[=!]~?\"", expression))
        assert grouped | matched <= labels, expression


def test_every_metric_of_the_service_has_a_rule_or_a_panel() -> None:
    used = used_series(ROOT / "monitoring" / "alerts.yml") | used_series(ROOT / "monitoring" / "grafana.json")
    assert without_suffix(used) == without_suffix(set(exported(service)))
