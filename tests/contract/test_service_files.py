"""Dashboards, alerts, the Bento's requirements and the documents use names that exist."""

import json
import re
import tomllib
from pathlib import Path

import yaml
from prometheus_client import Counter, Gauge, Histogram

from conftest import ROOT
from headhunt_svc.serve import metrics
from headhunt_svc.serve.gate import PROBES, ROUTES
from headhunt_svc.serve.openapi import document
from headhunt_svc.settings import Settings

DOC = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")


def exported() -> dict[str, tuple[str, ...]]:
    """Names of the series as they are scraped, and their labels."""
    suffixes = {Counter: ("_total",), Gauge: ("",), Histogram: ("_bucket", "_sum", "_count")}
    found = [m for m in vars(metrics).values() if isinstance(m, (Counter, Gauge, Histogram))]
    return {m._name + suffix: m._labelnames for m in found for suffix in suffixes[type(m)]}


def expressions(path: Path) -> list[str]:
    if path.suffix == ".yml":
        rules = yaml.safe_load(path.read_text())["groups"]
        return [rule["expr"] for group in rules for rule in group["rules"]]
    return [t["expr"] for panel in json.loads(path.read_text())["panels"] for t in panel["targets"]]


def test_alerts_and_dashboard_are_built_on_the_services_metrics() -> None:
    names, used = exported(), set()
    for file in ("alerts.yml", "grafana.json"):
        for expression in expressions(ROOT / "monitoring" / file):
            found = re.findall(r"headhunt_\w+", expression)
            assert found, expression
            used |= set(found)
            labels = {name for of in found for name in names.get(of, ())} | {"le"}
            for grouped in re.findall(r"by \(([^)]*)\)", expression):
                assert set(re.split(r",\s*", grouped)) <= labels, expression
            for label in re.findall(r"(\w+)[=!]~?\"", expression):
                assert label in labels, expression
    assert used <= set(names), used - set(names)
    bases = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in used}
    assert bases == {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in names}


def test_every_metric_route_and_setting_is_documented() -> None:
    for name in {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported()}:
        assert f"`{name}`" in DOC, name
    for route in [*document()["paths"], *ROUTES, *PROBES]:
        assert route in DOC, route
    for name in Settings.model_fields:
        assert f"HEADHUNT_{name.upper()}" in DOC, name


def test_the_bento_requires_what_the_package_requires() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {*project["dependencies"], *project["optional-dependencies"]["service"]}
    assert set(yaml.safe_load((ROOT / "bentofile.yaml").read_text())["python"]["packages"]) == wanted
