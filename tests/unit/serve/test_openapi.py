"""The document of the routes: every error and schema, and no page that loads scripts."""

import json
import re
from pathlib import Path

import pytest

from conftest import ROOT
from headhunt_svc.serve.problems import MEDIA_TYPE
from helpers.routes import Service, problem


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


def test_every_error_in_the_document_is_a_problem_and_every_status_is_in_the_manual(service: Service) -> None:
    document = service.http.get("/openapi.json").json()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    statuses = set()
    for operation in operations:
        for status, answer in operation["responses"].items():
            if status >= "400":
                statuses.add(status)
                assert list(answer["content"]) == [MEDIA_TYPE], operation["operationId"]
                assert answer["content"][MEDIA_TYPE]["schema"] == {"$ref": "#/components/schemas/ProblemBody"}
    manual = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
    rows = {
        status for row in re.findall(r"^\| (\d{3}(?:, \d{3})*) \|", manual, re.MULTILINE) for status in row.split(", ")
    }
    assert statuses == rows - {"405"}
    assert len({operation["operationId"] for operation in operations}) == len(operations) == 18


def test_every_reference_in_the_document_leads_to_a_schema(service: Service) -> None:
    document = service.app.openapi()
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert names <= set(document["components"]["schemas"])
    assert {"Report", "DetectByUri", "ScoredSegments", "ProblemBody", "JobRequest"} <= names


def test_no_page_loads_scripts_from_elsewhere(service: Service) -> None:
    for path in ("/docs", "/redoc", "/docs/oauth2-redirect"):
        assert "openapi.json" in problem(service.http.get(path), 404, "route")
