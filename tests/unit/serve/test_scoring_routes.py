"""The routes that score, without a model (helpers/routes.py); the whole is tested in tests/integration."""

import asyncio
import base64
import json
import re
import tracemalloc
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from conftest import ROOT
from headhunt_svc.detector.options import Options
from headhunt_svc.errors import ArtifactError, ConfigError, VideoDecodeError
from headhunt_svc.names import CameraName
from headhunt_svc.serve.engine import Video
from headhunt_svc.serve.models import DetectOptions, SegmentFrames
from headhunt_svc.serve.problems import Problem
from headhunt_svc.serve.requests import JSON_LIMIT_BYTES
from headhunt_svc.types import Scorer
from helpers.asgi import scope_of, send
from helpers.routes import MP4, VIDEO, Service, application, batch, problem, report

JSON = {"content-type": "application/json"}


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


def events(answer: httpx.Response) -> list[tuple[str, dict[str, Any]]]:
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = re.findall(r"event: (\w+)\ndata: (.*)\n\n", answer.text)
    return [(kind, json.loads(data)) for kind, data in found]


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
    sent = send(app, scope_of("/detect"), receive)
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

    assert send(app, scope_of(path), receive)[0]["status"] == 200
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
    messages, begun = [{"type": "http.request", "body": MP4, "more_body": False}], asyncio.Event()

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        if n_batches and path == "/detect/stream":  # the client stays until the stream has begun
            await begun.wait()
        return {"type": "http.disconnect"}

    async def noticed(scope: Any, receive: Any, send: Any) -> None:
        async def noting(message: dict[str, Any]) -> None:
            await send(message)
            if message["type"] == "http.response.body":
                begun.set()

        await app(scope, receive, noting)

    sent = send(noticed, scope_of(path), receive)
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
