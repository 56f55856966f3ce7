"""The Bento's requirements and the service's document use names that exist."""

import re
import subprocess
import sys
import tomllib

import yaml

from conftest import ROOT
from headhunt_svc.detector import metrics as model
from headhunt_svc.serve import metrics
from headhunt_svc.serve.api import create_app
from headhunt_svc.serve.gate import PROBES, ROUTES
from headhunt_svc.settings import Settings
from helpers.prometheus_series import exported

DOC = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")


def test_every_metric_route_and_setting_is_documented() -> None:
    for name in {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported(model, metrics)}:
        assert f"`{name}`" in DOC, name
    for route in [*(f"/v1{path}" for path in create_app().openapi()["paths"]), *ROUTES, *PROBES]:
        assert route in DOC, route
    for name in Settings.model_fields:
        assert f"HEADHUNT_{name.upper()}" in DOC, name


def test_the_bento_requires_what_the_package_requires() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    packages = {*project["dependencies"], *project["optional-dependencies"]["service"]}
    assert set(yaml.safe_load((ROOT / "bentofile.yaml").read_text())["python"]["packages"]) == packages


def test_before_the_service_knows_where_it_listens_no_key_opens() -> None:
    """In a process of its own: importing the service is what a server does first."""
    code = "from headhunt_svc.serve.service import ProcessKeys as P; assert P.keys().name_of('Bearer x' * 9) is None"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
