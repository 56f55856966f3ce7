"""Alert rules and dashboards of monitoring/ use metrics and labels that the code exports, and fire when they should."""

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from conftest import ROOT
from headhunt_svc.cameras import metrics as cameras
from headhunt_svc.cameras.status import CameraState
from headhunt_svc.detector import metrics as model
from headhunt_svc.jobs import metrics as jobs
from headhunt_svc.monitoring import metrics as monitoring
from headhunt_svc.monitoring.config import ALL_SIGNALS
from headhunt_svc.notify import metrics as notify
from headhunt_svc.prediction_log import metrics as prediction_log
from headhunt_svc.serve import metrics as service
from helpers.prometheus_series import exported
from helpers.scrapes import FILES, expressions, labels_in

PROMETHEUS = yaml.safe_load((ROOT / "monitoring" / "prometheus.yml").read_text())
PROMTOOL = shutil.which("promtool")
NEEDS_PROMTOOL = pytest.mark.skipif(PROMTOOL is None, reason="needs promtool")


def promtool(*args: object) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *map(str, args)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@NEEDS_PROMTOOL
def test_the_example_for_prometheus_has_all_rules() -> None:
    promtool("check", "config", ROOT / "monitoring" / "prometheus.yml")
    assert {ROOT / "monitoring" / name for name in PROMETHEUS["rule_files"]} == {p for p in FILES if p.suffix == ".yml"}


@NEEDS_PROMTOOL
@pytest.mark.parametrize("path", sorted((ROOT / "tests/contract/alerts").glob("*.yml")), ids=lambda p: p.stem)
def test_rules_fire_when_a_process_is_gone_and_at_first_bursts(path: Path) -> None:
    promtool("test", "rules", path)


def used_series(path: Path) -> set[str]:
    return {name for expression in expressions(path) for name in re.findall(r"headhunt_\w+", expression)}


def without_suffix(names: set[str]) -> set[str]:
    return {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in names}


def of_cameras() -> dict[str, set[str]]:
    """The series of `headhunt watch`: its own, and those of every camera."""
    now = datetime(2026, 3, 1, tzinfo=UTC)
    state = CameraState(camera="yard", written=now, phase="receiving", last_picture=now, last_scored=now)
    families = cameras.CameraCollector(lambda: [state]).collect()
    return exported(cameras) | {s.name: set(s.labels) for family in families for s in family.samples}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_every_rule_and_panel_uses_metrics_and_labels_that_exist(path: Path) -> None:
    series = exported(model, jobs, monitoring, notify, prediction_log, service) | of_cameras()
    assert expressions(path)
    for expression in expressions(path):
        names = re.findall(r"headhunt_\w+", expression)
        assert names, expression
        jobs_of_up = set(re.findall(r'up\{job="([^"]+)"\}', expression))
        assert jobs_of_up <= {config["job_name"] for config in PROMETHEUS["scrape_configs"]}, expression
        assert set(names) <= series.keys(), expression
        labels = {label for name in names for label in series[name]}
        assert labels_in(expression) <= labels | ({"job"} if jobs_of_up else set()), expression


def test_names_of_alerts_have_one_spelling() -> None:
    groups = [group for path in FILES if path.suffix == ".yml" for group in yaml.safe_load(path.read_text())["groups"]]
    names = [rule["alert"] for group in groups for rule in group["rules"]]
    assert len(names) == len(set(names))
    assert [name for name in names if not re.fullmatch(r"Headhunt([A-Z][a-z]+)+", name)] == []


def test_every_signal_of_drift_has_a_panel_with_a_line_at_its_limit() -> None:
    panels = json.loads((ROOT / "monitoring" / "grafana-drift.json").read_text())["panels"]
    drawn = {}
    for panel in panels:
        for signal in re.findall(r'headhunt_monitor_signal\{[^}]*signal="(\w+)"', panel["targets"][0]["expr"]):
            defaults = panel["fieldConfig"]["defaults"]
            drawn[signal] = defaults["custom"]["thresholdsStyle"]["mode"], defaults["thresholds"]["steps"][-1]["value"]
    assert drawn == dict.fromkeys(ALL_SIGNALS, ("line", 1))
    assert panels[0]["fieldConfig"]["defaults"]["noValue"] == "no alarms"


@pytest.mark.parametrize("path", [p for p in FILES if p.suffix == ".json"], ids=lambda p: p.name)
def test_panels_of_cameras_can_be_narrowed_to_some_cameras(path: Path) -> None:
    document = json.loads(path.read_text())
    expressions_of_cameras = [e for e in expressions(path) if "camera=~" in e]
    variables = {variable["name"] for variable in document["templating"]["list"]}
    assert ("camera" in variables) == bool(expressions_of_cameras)
    assert all('camera=~"$camera"' in e for e in expressions_of_cameras)
    assert [e for e in expressions(path) if "by (camera" in e and "camera=~" not in e] == []


def test_every_metric_of_jobs_has_a_panel() -> None:
    used = used_series(ROOT / "monitoring" / "grafana-jobs.json")
    assert without_suffix(used) == without_suffix(set(exported(jobs)))


def test_every_metric_of_the_service_has_a_rule_or_a_panel() -> None:
    used = used_series(ROOT / "monitoring" / "alerts.yml") | used_series(ROOT / "monitoring" / "grafana.json")
    assert without_suffix(used) == without_suffix(set(exported(model, service)))


def test_every_metric_of_watch_has_a_rule_or_a_panel() -> None:
    used = used_series(ROOT / "monitoring" / "alerts-watch.yml") | used_series(
        ROOT / "monitoring" / "grafana-watch.json"
    )
    assert without_suffix(used) == without_suffix(set(of_cameras()))


@pytest.mark.parametrize(
    ("title", "alert"),
    [
        ("Share of the footage that is scored", "HeadhuntCoverageLow"),
        ("From a segment's end to its stored event", "HeadhuntWatchLate"),
        ("Connections after the first, an hour", "HeadhuntCameraFlaps"),
        ("The process", "HeadhuntWatchGone"),
    ],
)
def test_panels_of_watch_have_a_line_where_a_rule_has_its_limit(title: str, alert: str) -> None:
    groups = yaml.safe_load((ROOT / "monitoring" / "alerts-watch.yml").read_text())["groups"]
    (expression,) = (rule["expr"] for group in groups for rule in group["rules"] if rule["alert"] == alert)
    panels = json.loads((ROOT / "monitoring" / "grafana-watch.json").read_text())["panels"]
    (defaults,) = (panel["fieldConfig"]["defaults"] for panel in panels if panel["title"] == title)
    limits = {float(number) for number in re.findall(r"[<>] ([0-9.]+)", expression)}
    assert defaults["custom"]["thresholdsStyle"]["mode"] == "line"
    assert defaults["thresholds"]["steps"][-1]["value"] in limits
