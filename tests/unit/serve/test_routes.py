"""The routes under /v1 without a model or a database (helpers/routes.py); the whole is tested in tests/integration."""

import asyncio
import base64
import io
import json
import os
import re
import tracemalloc
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
import sqlalchemy.exc
from fastapi.testclient import TestClient
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.routing import Mount

from conftest import ROOT
from headhunt_svc.detector.options import Options
from headhunt_svc.errors import ArtifactError, ConfigError, UnreachableError, VideoDecodeError
from headhunt_svc.jobs.inputs import Allowed, expand
from headhunt_svc.jobs.models import JobRequest
from headhunt_svc.names import CameraName
from headhunt_svc.notify.webhooks import check_url
from headhunt_svc.serve.engine import Video
from headhunt_svc.serve.gate import Gate
from headhunt_svc.serve.models import DetectOptions, SegmentFrames
from headhunt_svc.serve.openapi import Application
from headhunt_svc.serve.problems import MEDIA_TYPE, Problem
from headhunt_svc.serve.requests import JSON_LIMIT_BYTES
from headhunt_svc.settings import JobSettings
from headhunt_svc.types import Scorer
from headhunt_svc.web.keys import Keys
from helpers.routes import JOB, MP4, ScriptedEngine, ScriptedQueue, application, batch, report

VIDEO = {"content-type": "video/mp4"}
JSON = {"content-type": "application/json"}


class Service:
    def __init__(self, app: Application, engine: ScriptedEngine, queue: ScriptedQueue) -> None:
        self.app, self.engine, self.queue = app, engine, queue
        self.http = TestClient(app)


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(*application(tmp_path, uri_roots=str(tmp_path)))


def problem(answer: httpx.Response, status: int, kind: str) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE
    body = answer.json()
    assert (body["status"], body["kind"]) == (status, kind)
    detail: str = body["detail"]
    return detail


def events(answer: httpx.Response) -> list[tuple[str, dict[str, Any]]]:
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = re.findall(r"event: (\w+)\ndata: (.*)\n\n", answer.text)
    return [(kind, json.loads(data)) for kind, data in found]


def send(
    app: Application, path: str, messages: Callable[[], Any], headers: dict[str, str] = VIDEO
) -> list[dict[str, Any]]:
    """Call the application as a server does; what it sent."""
    sent: list[dict[str, Any]] = []

    async def collect(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(k.encode(), v.encode()) for k, v in headers.items()], "http_version": "1.1", "scheme": "http",
        "server": ("127.0.0.1", 1), "client": ("127.0.0.1", 2), "asgi": {"version": "3.0"}, "extensions": {},
    }  # fmt: skip
    asyncio.run(asyncio.wait_for(app(scope, messages, collect), 30))
    return sent


# detect


def test_a_report_is_answered_as_the_detector_writes_it(service: Service) -> None:
    answer = service.http.post("/detect?video_id=yard&camera=gate", content=MP4, headers=VIDEO)
    assert answer.text == report("yard", Options()).model_dump_json()
    assert answer.headers["server-timing"] == "model;dur=250.0"
    assert service.engine.calls == [(MP4, "yard", Options(), "gate")]


@pytest.mark.parametrize(
    ("given", "video_id"),
    [("a\x9b2J.mp4", "a%C2%9B2J.mp4"), ("\u202egpj.mp4", "%E2%80%AEgpj.mp4"), ("Küche 100%/7", "Küche 100%/7")],
)
def test_the_name_of_a_video_can_be_printed(service: Service, given: str, video_id: str) -> None:
    answer = service.http.post("/detect", params={"video_id": given}, content=MP4, headers=VIDEO)
    assert answer.json()["video_id"] == service.engine.calls[0][1] == video_id


@pytest.mark.parametrize("way", ["query", "form", "json"])
def test_options_come_by_query_form_or_json(service: Service, tmp_path: Path, way: str) -> None:
    (tmp_path / "a.mp4").write_bytes(MP4)
    fields = {"operating_point": "recall", "threshold": 0.25, "smoothing": "causal", "contributions": True, "stream": 2}
    fields |= {"describe": True}
    if way == "query":
        answer = service.http.post("/detect", params=fields, content=MP4, headers=VIDEO)
    elif way == "form":
        form = {name: str(value) for name, value in fields.items()}
        answer = service.http.post("/detect", data=form, files={"video": ("a.mp4", MP4)})
    else:
        answer = service.http.post("/detect", json={"uri": str(tmp_path / "a.mp4"), **fields})
    assert answer.status_code == 200, answer.text
    name = "video" if way == "query" else "a.mp4"
    assert service.engine.calls == [(MP4, name, Options("recall", 0.25, "causal", True, 2, True), "")]


def test_options_in_the_body_override_the_querys(service: Service, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(MP4)
    query = "/detect?threshold=0.1&video_id=yard"
    service.http.post(query, data={"threshold": "0.2"}, files={"video": ("a.mp4", MP4)})
    service.http.post(query, json={"uri": str(tmp_path / "a.mp4"), "threshold": None})
    assert [call[1:3] for call in service.engine.calls] == [("yard", Options(threshold=0.2)), ("yard", Options())]


@pytest.mark.parametrize("name", ["north yard", "Hof-Süd", "y" * 80, "", "a\x1bb", "y" * 300])
def test_a_camera_may_have_any_name_that_conform_gives(name: str) -> None:
    assert DetectOptions.model_validate({"camera": name}).camera == (CameraName(name) if name else "")
    frames = {"width": 16, "height": 16, "fps": 1.0, "camera": name, "frames": ("",)}
    assert SegmentFrames.model_validate(frames).camera == (CameraName(name) if name else "")


@pytest.mark.parametrize(
    ("query", "body", "says"),
    [
        ("?loud=1", {}, "loud: Extra inputs are not permitted; there are: operating_point, threshold, smoothing"),
        ("?threshold=1.5", {}, "threshold: Input should be less than or equal to 1"),
        ("?threshold=nan", {}, "threshold: "),
        ("?smoothing=none", {}, "smoothing: Input should be 'offline' or 'causal'"),
        ("?camera=" + "a" * 4097, {}, "camera: "),
        ("?resolution_s=0", {}, "resolution_s: "),
        ("?stream=-1", {}, "stream: "),
        ("", {"data": {"loud": "1"}}, "loud: Extra inputs are not permitted; there are: operating_point"),
        ("", {"data": {"threshold": "x"}}, "threshold: "),
        ("", {"json": {"uri": "/a", "loud": 1}}, "loud: Extra inputs are not permitted; there are: operating_point"),
        ("", {"json": {"threshold": 0.5}}, "uri: Field required"),
        ("", {"json": []}, "body: Input should be an object"),
        ("", {"content": b"{", "headers": JSON}, "body: this is not JSON (EOF"),
        ("", {"content": b"\xff", "headers": JSON}, "body: this is not JSON ("),
        ("", {"content": b"", "headers": JSON}, "body: this is not JSON ("),
    ],
)
@pytest.mark.parametrize("path", ["/detect", "/detect/stream"])
def test_a_wrong_option_is_named(service: Service, path: str, query: str, body: dict[str, Any], says: str) -> None:
    files = {"files": {"video": ("a.mp4", MP4)}} if not body or "data" in body else {}
    assert problem(service.http.post(path + query, **body, **files), 400, "options").startswith(says)
    assert service.engine.calls == []


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (VideoDecodeError("{}: nothing decodes"), 422, "video"),
        (ConfigError("{}: no operating point"), 400, "options"),
        (ArtifactError("{}: broken"), 500, "detector"),
        (Problem(504, "deadline", "{}: not done"), 504, "deadline"),
    ],
)
def test_an_error_names_the_video_as_the_client_does(
    service: Service, tmp_path: Path, error: Exception, status: int, kind: str
) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(MP4)
    shown = "yard" if not isinstance(error, Problem) else str(path)  # a problem is not about the file
    service.engine.error = Problem(status, kind, error.detail.format(path)) if isinstance(error, Problem) else error
    body = {"uri": str(path), "video_id": "yard"}
    assert problem(service.http.post("/detect", json=body), status, kind).startswith(f"{shown}: ")
    assert problem(service.http.post("/detect/stream", json=body), status, kind).startswith(f"{shown}: ")
    assert service.engine.admitted_now == 0


@pytest.mark.parametrize("path", ["/detect", "/detect/stream", "/score", "/detector"])
def test_a_service_that_is_not_ready_says_when_to_come_back(service: Service, path: str) -> None:
    service.engine.refusal = Problem(503, "not ready", "the model is being loaded", {"Retry-After": "5"})
    frames = {"width": 16, "height": 16, "fps": 10, "frames": ["AAAA"]}
    send = {"json": frames} if path == "/score" else {"content": MP4, "headers": VIDEO}
    answer = service.http.get(path) if path == "/detector" else service.http.post(path, **send)
    assert problem(answer, 503, "not ready") == "the model is being loaded"
    assert answer.headers["retry-after"] == "5"


@pytest.mark.parametrize("path", ["/detect", "/detect/stream", "/jobs/uploads"])
def test_a_body_that_is_no_video_is_refused(service: Service, path: str) -> None:
    assert "no video in a container" in problem(
        service.http.post(path, content=b"x" * 99, headers=VIDEO), 415, "upload"
    )
    assert "text/plain is not taken" in problem(
        service.http.post(path, content=b"x", headers={"content-type": "text/plain"}), 415, "upload"
    )


def test_a_uri_that_may_not_be_read_is_a_422(service: Service) -> None:
    assert "HEADHUNT_URI_ROOTS" in problem(service.http.post("/detect", json={"uri": "/etc/passwd"}), 422, "uri")


def test_memory_does_not_grow_with_the_upload(tmp_path: Path) -> None:
    app, engine, _ = application(tmp_path)
    n_sent = 0

    async def receive() -> dict[str, Any]:
        nonlocal n_sent
        if n_sent == 1024:
            return await asyncio.Event().wait()  # type: ignore[return-value]
        n_sent += 1
        return {"type": "http.request", "body": MP4[:12].ljust(2**16, b"x"), "more_body": n_sent < 1024}

    size = 0

    async def detect(work: Any, video: Video) -> AsyncGenerator[Any, None]:
        nonlocal size
        size = video.path.stat().st_size
        yield report(video.name, video.options.for_detector)

    engine.detect = detect  # type: ignore[method-assign]
    app.openapi()
    tracemalloc.start()
    sent = send(app, "/detect", receive)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sent[0]["status"] == 200
    assert size == 2**26
    assert peak < 2**22


@pytest.mark.parametrize("path", ["/detect", "/detect/stream"])
def test_a_slow_sender_is_not_cut_short(tmp_path: Path, path: str) -> None:
    """To ask whether the client has gone is to receive a message: that must wait until the video is here."""
    app, engine, _ = application(tmp_path)
    left, n_calls = [MP4[i : i + 100] for i in range(0, len(MP4), 100)], 0

    async def receive() -> dict[str, Any]:
        nonlocal n_calls
        n_calls += 1
        if n_calls % 2:  # a message is late; the next call finds it already there
            await asyncio.sleep(60 if not left else 0.01)
        if not left:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    assert send(app, path, receive)[0]["status"] == 200
    assert engine.calls[0][0] == MP4


# stream


def test_events_are_scores_and_then_the_report(service: Service) -> None:
    service.engine.batches = [batch(0.25, 0.5), batch(0.75)]
    answer = service.http.post("/detect/stream?video_id=yard", content=MP4, headers=VIDEO)
    (first, second, last) = events(answer)
    segment = {"index": 0, "start_s": 0.0, "stop_s": 1.0, "raw": 0.25}
    assert first == (
        "scores",
        {"scored_s": 2.0, "segments": [segment, {"index": 1, "start_s": 1.0, "stop_s": 2.0, "raw": 0.5}]},
    )
    assert second == ("scores", {"scored_s": 1.0, "segments": [segment | {"raw": 0.75}]})
    assert last == ("report", json.loads(report("yard", Options()).model_dump_json()))
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-accel-buffering"] == "no"


@pytest.mark.parametrize("error", [VideoDecodeError("a.mp4: broken"), Problem(503, "stopping", "the service stopped")])
def test_a_problem_after_the_first_event_is_the_last_event(service: Service, error: Exception) -> None:
    service.engine.batches, service.engine.error = [batch(0.25)], error
    answer = service.http.post("/detect/stream", content=MP4, headers=VIDEO)
    assert answer.status_code == 200
    assert [kind for kind, _ in events(answer)] == ["scores", "error"]
    body = events(answer)[-1][1]
    assert (body["status"], body["kind"]) == (
        (422, "video") if isinstance(error, VideoDecodeError) else (503, "stopping")
    )
    assert service.engine.admitted_now == 0


@pytest.mark.parametrize(
    ("path", "n_batches"), [("/detect", 0), ("/detect", 2), ("/detect/stream", 0), ("/detect/stream", 2)]
)
def test_a_client_that_hangs_up_ends_its_request(tmp_path: Path, path: str, n_batches: int) -> None:
    app, engine, _ = application(tmp_path)
    never = asyncio.Event()
    engine.batches = [*[batch(0.5)] * n_batches, never]
    messages = [{"type": "http.request", "body": MP4, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        if n_batches and path == "/detect/stream":  # the client stays until the stream has begun
            await asyncio.sleep(0.3)
        return {"type": "http.disconnect"}

    sent = send(app, path, receive)
    assert engine.calls
    assert engine.admitted_now == 0
    assert not never.is_set()
    if path == "/detect/stream" and n_batches:
        assert sent[0]["status"] == 200
        assert sent[-1]["more_body"]
    else:
        assert sent[0]["status"] == 408


# score, detector


def test_a_segment_is_scored_from_its_frames(service: Service) -> None:
    bundle, n_heads = service.engine.loaded().bundle, len(service.engine.loaded().scorer.heads)
    frame = base64.b64encode(bytes(16 * 16 * 3)).decode()
    body = {"width": 16, "height": 16, "fps": 10, "frames": [frame] * bundle.segmentation.frames_per_segment}
    answer = service.http.post("/score", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["contributions"] == list(range(n_heads))
    assert answer.json()["raw"] == 0.25
    assert "17 x 16" in problem(service.http.post("/score", json=body | {"width": 17}), 422, "frames")
    assert problem(service.http.post("/score", json=body | {"fps": -1}), 400, "options").startswith("fps: ")
    wrong = service.http.post("/score", json=body | {"frames": [1]})
    assert problem(wrong, 400, "options").startswith("frames.0: Input should be a valid string")


def test_live_scores_relative_to_a_whole_video_are_refused_with_the_way_out(service: Service) -> None:
    bundle, scorer = service.engine.loaded().bundle, service.engine.loaded().scorer
    service.engine.loaded().scorer = Scorer(scorer.heads, np.zeros(2 * scorer.n_features), 0.0, background="median")
    frame = base64.b64encode(bytes(16 * 16 * 3)).decode()
    body = {"width": 16, "height": 16, "fps": 10, "frames": [frame] * bundle.segmentation.frames_per_segment}
    assert "fit.background: ema" in problem(service.http.post("/score", json=body), 400, "options")
    stream = service.http.post("/detect/stream", content=MP4, headers=VIDEO)
    assert "fit.background: ema" in problem(stream, 400, "options")


@pytest.mark.parametrize("path", ["/score", "/jobs"])
def test_json_routes_take_json_of_a_limited_size(service: Service, path: str) -> None:
    assert "application/json" in problem(service.http.post(path, content=b"x"), 415, "upload")
    assert "application/json" in problem(service.http.post(path, content=b"{}", headers=VIDEO), 415, "upload")
    assert problem(service.http.post(path, content=b"{", headers=JSON), 400, "options").startswith(
        "body: this is not JSON"
    )
    assert problem(service.http.post(path, json=1), 400, "options").startswith("body: ")
    assert problem(service.http.post(path, json={}), 400, "options").endswith(": Field required")


@pytest.mark.parametrize("path", ["/detect", "/detect/stream", "/score", "/jobs"])
@pytest.mark.parametrize("declared", [True, False])
def test_a_json_body_beyond_the_limit_is_a_413(service: Service, path: str, declared: bool) -> None:
    large = b" " * (JSON_LIMIT_BYTES + 1)
    content = large if declared else iter([large[:-1], large[:1]])
    answer = service.http.post(path, content=content, headers=JSON)
    assert problem(answer, 413, "upload") == "a JSON body may have 16777216 bytes"


@pytest.mark.parametrize("body", [b"[" * 10**6, b'{"width": ' + b"9" * 10**4 + b"}", b'{"frames": ["\\ud800"]}'])
def test_json_that_python_cannot_hold_is_a_400(service: Service, body: bytes) -> None:
    assert service.http.post("/score", content=body, headers=JSON).status_code == 400


def test_the_detector_card_is_of_the_bundle(service: Service) -> None:
    card = service.http.get("/detector").json()
    assert card["detector_id"] == service.engine.loaded().detector_id
    assert card["test_metrics"]["roc_auc"] == json.loads((ROOT / "artifacts" / "metrics.json").read_text())["roc_auc"]


# jobs


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


# the document


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


# the middleware


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
