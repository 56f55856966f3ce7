"""The middleware in front of all routes: keys, hosts, counts and ids of requests."""

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.routing import Mount

from headhunt_svc.serve.gate import Gate
from headhunt_svc.web.keys import Keys
from helpers.routes import JOB, MP4, VIDEO, Service, problem


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


@pytest.fixture
def gated(service: Service) -> TestClient:
    """The application behind the middleware, as BentoML mounts it, asking for a key."""
    keys = Keys([("gate", "k" * 20)])
    return TestClient(
        Gate(Starlette(routes=[Mount("/v1", service.app)]), lambda: keys),
        headers={"Authorization": f"Bearer {'k' * 20}"},
    )


def counted(route: str, status: int) -> float:
    return REGISTRY.get_sample_value("headhunt_requests_total", {"route": route, "status": str(status)}) or 0.0


def test_requests_are_counted_by_route_and_status(gated: TestClient) -> None:
    for path, route, status in (
        ("/v1/detector", "/v1/detector", 200),
        (f"/v1/jobs/{JOB}", "/v1/jobs", 200),
        ("/v1/nothing", "other", 404),
        ("/nothing", "other", 404),
        ("/v1/detect", "/v1/detect", 405),
    ):
        before = counted(route, status)
        answer = gated.get(path)
        assert answer.status_code == status
        assert counted(route, status) == before + 1
        if status != 200:
            assert "openapi.json" in problem(answer, status, "route")


def test_a_request_without_a_key_that_is_known_is_a_401(gated: TestClient) -> None:
    answer = gated.get("/v1/detector", headers={"Authorization": "Bearer no"})
    assert "Authorization: Bearer" in problem(answer, 401, "key")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_an_answer_carries_the_requests_id(gated: TestClient) -> None:
    for path in ("/v1/detector", "/v1/nothing", "/nothing"):
        answer = gated.get(path, headers={"X-Request-ID": "mine.1"})
        assert answer.headers["x-request-id"] == "mine.1"
        if answer.status_code != 200:
            assert answer.json()["request_id"] == "mine.1"
    assert re.fullmatch(
        "[0-9a-f]{32}", gated.get("/v1/detector", headers={"X-Request-ID": "a b"}).headers["x-request-id"]
    )


def test_an_error_of_the_program_is_a_problem_without_its_text(service: Service) -> None:
    service.queue.error = RuntimeError("a secret")
    before = counted("/v1/jobs", 500)
    app = Gate(Starlette(routes=[Mount("/v1", service.app)]), lambda: None)
    answer = TestClient(app, "http://localhost", raise_server_exceptions=False).get("/v1/jobs")
    assert "secret" not in problem(answer, 500, "internal")
    assert counted("/v1/jobs", 500) == before + 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "127.0.0.1:3000"}, 200),
        ({"Host": "[::1]:3000", "Origin": "http://[::1]:3000", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Host": "evil.example:3000"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "[::"}, 403),
        ({"Host": "localhost:3000", "Origin": "http://evil.example"}, 403),
        ({"Host": "localhost:3000", "Origin": "null"}, 403),
        ({"Host": "localhost:3000", "Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_without_keys_no_page_of_another_site_is_answered(
    service: Service, headers: dict[str, str], status: int
) -> None:
    app = Gate(Starlette(routes=[Mount("/v1", service.app)]), lambda: None)
    answer = TestClient(app, "http://localhost").post("/v1/detect", content=MP4, headers=VIDEO | headers)
    assert answer.status_code == status
    assert len(service.engine.calls) == (status == 200)
    if status == 403:
        assert "HEADHUNT_API_KEYS" in problem(answer, 403, "host")


def test_with_a_key_a_request_may_come_under_any_name(gated: TestClient) -> None:
    assert gated.get("/v1/detector", headers={"Host": "vad.example", "Origin": "http://vad.example"}).status_code == 200
