"""The routes of jobs without a database (helpers/routes.py)."""

import base64
import io
import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import sqlalchemy.exc

from headhunt_svc.errors import UnreachableError
from headhunt_svc.jobs.inputs import Allowed, expand
from headhunt_svc.jobs.models import JobRequest
from headhunt_svc.notify.webhooks import check_url
from headhunt_svc.settings import JobSettings
from helpers.routes import JOB, MP4, VIDEO, Service, problem


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


def test_a_job_is_submitted_once_for_a_key(service: Service) -> None:
    body = {"inputs": ["upload:0"], "options": {"threshold": 0.5}, "key": "a"}
    answer = service.http.post("/jobs", json=body)
    assert (answer.status_code, answer.headers["location"]) == (202, f"/v1/jobs/{JOB}")
    service.http.post("/jobs", json=body, headers={"Idempotency-Key": "night 12"})
    assert [(r.key, r.options.threshold) for r in service.queue.requests] == [("a", 0.5), ("night 12", 0.5)]
    refused = service.http.post("/jobs", json=body, headers={"Idempotency-Key": "x" * 201})
    assert problem(refused, 400, "options").startswith("idempotency-key: ")


def test_a_wrong_field_of_a_job_is_named(service: Service) -> None:
    for body, says in (
        ({"inputs": []}, "inputs: "),
        ({"inputs": ["a"], "loud": 1}, "loud: Extra inputs are not permitted; there are: inputs, options, priority"),
        (
            {"inputs": ["a"], "options": {"loud": 1}},
            "options.loud: Extra inputs are not permitted; there are: operating_point",
        ),
    ):
        assert problem(service.http.post("/jobs", json=body), 400, "options").startswith(says)
    assert service.queue.requests == []


def test_a_job_is_shown_cancelled_and_run_again(service: Service) -> None:
    assert service.http.get("/jobs").json()["jobs"][0]["job_id"] == JOB
    assert service.http.get(f"/jobs/{JOB}").json()["state"] == "queued"
    assert service.http.post(f"/jobs/{JOB}/cancel").json()["job_id"] == JOB
    assert service.http.post(f"/jobs/{JOB}/retry").json()["job_id"] == JOB
    assert service.queue.done == ["cancel", "retry"]
    assert service.http.get(f"/jobs/{JOB}/deliveries").json()["deliveries"][0]["event"] == "finished"


def test_videos_of_a_job_come_in_pages(service: Service) -> None:
    """A job may have 100,000 videos: no answer holds all of them."""
    for query, page in (("", (0, 1000)), ("?offset=5&limit=7", (5, 7)), ("?limit=0", (0, 0))):
        assert service.http.get(f"/jobs/{JOB}{query}").status_code == 200
        assert service.queue.pages[-1] == page
    for query in ("limit=10001", "limit=-1", "offset=-1"):
        problem(service.http.get(f"/jobs/{JOB}?{query}"), 400, "options")
    service.queue.pages.clear()
    service.http.post("/jobs", json={"inputs": ["a"]})
    service.http.get("/jobs")
    assert all(limit is not None for _, limit in service.queue.pages)


def test_results_come_as_json_lines_or_parquet(service: Service) -> None:
    lines = service.http.get(f"/jobs/{JOB}/results")
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line)["video_id"] for line in lines.text.splitlines()] == ["a", "b"]
    parquet = service.http.get(f"/jobs/{JOB}/results?format=parquet")
    assert parquet.headers["content-type"] == "application/vnd.apache.parquet"
    assert pq.read_table(io.BytesIO(parquet.content))["error"].to_pylist() == ["no video"]
    assert problem(service.http.get(f"/jobs/{JOB}/results?format=csv"), 400, "options").startswith("format: ")


@pytest.mark.parametrize("path", ["", "/results", "/results?format=parquet", "/deliveries", "/cancel", "/retry"])
def test_a_job_that_does_not_exist_is_a_404(service: Service, path: str) -> None:
    method = "POST" if path in ("/cancel", "/retry") else "GET"
    for job_id in ("nonsense", "ba9876543210"):
        assert job_id in problem(service.http.request(method, f"/jobs/{job_id}{path}"), 404, "job")


@pytest.mark.parametrize(
    "error", [UnreachableError("away"), sqlalchemy.exc.OperationalError("select", {}, Exception("away"))]
)
def test_a_database_that_is_away_is_a_503(service: Service, error: Exception) -> None:
    service.queue.error = error
    answer = service.http.get("/jobs")
    assert "does not answer" in problem(answer, 503, "database")
    assert answer.headers["retry-after"] == "5"


def test_an_upload_is_named_by_its_content(service: Service, tmp_path: Path) -> None:
    answers = [
        service.http.post("/jobs/uploads", content=MP4, headers=VIDEO),
        service.http.post("/jobs/uploads", files={"video": ("a.mp4", MP4)}),
    ]
    assert [a.status_code for a in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    (stored,) = (tmp_path / "uploads").iterdir()
    assert answers[0].json() == {"uri": f"upload:{stored.name}", "size": len(MP4)}
    assert stored.read_bytes() == MP4


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": [text]}
        for text in (
            "{}/loop.mp4",
            "{}/" + 300 * "x" + "/*",
            "{}/*/" + 1000 * "y/" + "*",
            "file://{}/x%00.mp4",
            "{}/fifo.csv",
            "http://[::",
            "http://[::/*",
            "s3://bucket/%2e%2e/x",
            "upload:../x",
            "/etc/passwd",
        )
    ]
    + [{"inputs": ["{}/a.mp4"], "webhook": f"http://{host}"} for host in ("[::", "localhost:99999", "localhost/a b")],
)
def test_a_job_that_names_what_cannot_be_read_or_called_is_a_400(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: dict[str, Any]
) -> None:
    hooks = {"webhook_hosts": ["localhost"], "webhook_secret": "whsec_" + base64.b64encode(bytes(32)).decode()}
    service.queue.settings = JobSettings.model_validate({"roots": [tmp_path], **hooks})

    def submit(request: JobRequest, bundle: Path, allowed: Allowed) -> str:  # as the queue does before it writes
        if request.webhook is not None:
            check_url(request.webhook, service.queue.settings)
        expand(request.inputs, allowed)
        return JOB

    monkeypatch.setattr(service.queue, "submit", submit)
    (tmp_path / "a.mp4").write_bytes(MP4)
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    os.mkfifo(tmp_path / "fifo.csv")
    body = {**body, "inputs": [text.format(tmp_path) for text in body["inputs"]]}
    assert problem(service.http.post("/jobs", json=body), 400, "options")
    assert service.http.post("/jobs", json={"inputs": [str(tmp_path / "a.mp4")]}).status_code == 202
