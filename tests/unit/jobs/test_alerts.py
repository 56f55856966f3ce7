import re

import yaml
from prometheus_client import REGISTRY

from conftest import ROOT
from headhunt_svc.jobs import metrics


def test_alerts_name_only_metrics_that_there_are() -> None:
    assert metrics.JOBS
    names = {s.name for family in REGISTRY.collect() for s in family.samples} | {f.name for f in REGISTRY.collect()}
    names |= {f"{f.name}_total" for f in REGISTRY.collect() if f.type == "counter"}
    rules = yaml.safe_load((ROOT / "monitoring" / "alerts-jobs.yml").read_text())["groups"][0]["rules"]
    for rule in rules:
        used = set(re.findall(r"headhunt_\w+", rule["expr"]))
        assert used
        assert used <= names, rule["alert"]
