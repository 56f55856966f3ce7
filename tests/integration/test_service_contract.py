"""The OpenAPI document holds: schemathesis asks the real server."""

import os

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import checks

from headhunt_svc.serve.api import create_app
from helpers.server import Server

EXAMPLES = int(os.environ.get("HEADHUNT_TEST_EXAMPLES", "10"))  # many: a longer run by hand
CHECKED = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
DOCUMENT = create_app().openapi()
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
POSITIVE, NEGATIVE = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
OPERATIONS = [
    (path, method, mode)
    for path, of in DOCUMENT["paths"].items()
    for method in of
    for mode in ((POSITIVE, NEGATIVE) if method == "post" else (POSITIVE,))  # a get takes nothing that could be wrong
]


@pytest.mark.parametrize(("path", "method", "mode"), OPERATIONS)
def test_no_answer_breaks_the_document(
    server: Server, path: str, method: str, mode: schemathesis.GenerationMode
) -> None:
    operation = SCHEMA[path][method.upper()]

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
    )
    def holds(case: schemathesis.Case) -> None:
        case.call_and_validate(base_url=f"{server.url}/v1", checks=CHECKED)

    holds()


def test_the_document_is_served(server: Server) -> None:
    assert httpx.get(f"{server.url}/v1/openapi.json").json() == DOCUMENT
