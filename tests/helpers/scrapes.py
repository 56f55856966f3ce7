"""Rules and dashboards of monitoring/ against what running processes really export."""

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import yaml
from prometheus_client.parser import text_string_to_metric_families

from conftest import ROOT

FILES = sorted([*(ROOT / "monitoring").glob("alerts*.yml"), *(ROOT / "monitoring").glob("grafana*.json")])
PREFIXES = {  # of metrics, by the process whose scrape must have them; the service has all others
    "watch": ("headhunt_camera_", "headhunt_watch_", "headhunt_notify_", "headhunt_prediction_log_", "headhunt_probe_"),
    "worker": ("headhunt_job", "headhunt_worker_", "headhunt_scorer_"),
    "monitor": ("headhunt_monitor_",),
}
AFTER_FAULTS = {  # series that only a fault of some cause begins; a scrape says that they are exported
    "headhunt_job_retries_total",
    "headhunt_prediction_log_lost_rows_total",
}


def expressions(path: Path) -> list[str]:
    """All PromQL of a file of rules or of a dashboard."""
    if path.suffix == ".yml":
        groups = yaml.safe_load(path.read_text())["groups"]
        return [rule["expr"] for group in groups for rule in group["rules"]]
    return [t["expr"] for panel in json.loads(path.read_text())["panels"] for t in panel["targets"]]


def process_of(metric: str) -> str:
    """The process whose scrape must have this metric."""
    return next((process for process, prefixes in PREFIXES.items() if metric.startswith(prefixes)), "service")


def labels_in(expression: str) -> set[str]:
    """The labels that an expression groups by or chooses by."""
    groups = re.findall(r"(?:by|on) \(([^)]*)\)", expression)
    return {label for group in groups for label in re.split(r",\s*", group)} | set(
        re.findall(r'(\w+)[=!]~?"', expression)
    )


def scrape(url: str) -> str:
    """What Prometheus gets."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def missing(text: str, process: str) -> Iterator[str]:
    """What rules and dashboards use of a process and its scrape does not have."""
    families = list(text_string_to_metric_families(text))
    declared = {name for family in families for name in (family.name, f"{family.name}_total")}
    samples: dict[str, set[str]] = {}
    for family in families:
        for sample in family.samples:
            samples.setdefault(sample.name, set()).update(sample.labels)
    for path in FILES:
        for expression in expressions(path):
            names = [name for name in re.findall(r"headhunt_\w+", expression) if process_of(name) == process]
            for name in names:
                if name not in samples and not (name in AFTER_FAULTS and name in declared):
                    yield f"{path.name}: {name}"
            if not names or set(names) & AFTER_FAULTS or any(process_of(n) != process for n in names):
                continue
            labels = set().union(*(samples.get(name, set()) for name in names))
            yield from (f"{path.name}: {label} of {names}" for label in labels_in(expression) - labels - {"job"})
