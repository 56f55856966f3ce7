"""Everything that a client of the service sends, and a service to its client: answered, or refused with a problem."""

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from headhunt_svc.errors import HeadHuntError
from headhunt_svc.jobs.inputs import expand, within
from headhunt_svc.jobs.models import JobRequest
from headhunt_svc.names import CameraName, VideoId, escape, is_uri, path_of, printable, unescape
from headhunt_svc.serve.client import Client
from headhunt_svc.serve.models import DetectByUri, DetectOptions, SegmentFrames
from headhunt_svc.serve.problems import Problem, parsed
from headhunt_svc.serve.uploads import looks_like_video, receive_video
from headhunt_svc.web.keys import Keys

few = settings(
    max_examples=settings.default.max_examples // 2 if settings.default else 50, suppress_health_check=list(HealthCheck)
)
MP4 = b"\0\0\0\x18ftypisom" + bytes(range(256))
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="threshold"\r\n\r\n0.5\r\n'
    b'--b\r\nContent-Disposition: form-data; name="video"; filename="a.mp4"\r\n\r\n' + MP4 + b"\r\n--b--\r\n"
)
PIECES = st.binary(max_size=8) | st.sampled_from(
    [
        b"--b",
        b"--b--",
        b"\r\n",
        b"\r\n\r\n",
        b'"',
        b"; name=",
        b"filename*=UTF-8''%00\"",
        b"\0",
        b"=" * 4000,
        b"Content-Disposition:",
    ]
)
KINDS = [
    "multipart/form-data; boundary=b",
    "multipart/form-data",
    "video/mp4",
    "",
    "multipart/form-data; boundary=" + "b" * 300,
]
CLIENT = Client("http://127.0.0.1:1")
CHANGES = st.lists(st.tuples(st.integers(0, len(FORM)), st.integers(0, 40), PIECES), max_size=3)
DEEP = ["[" * 20_000, '{"uri":' * 20_000, '{"frames": ' + "[" * 900 + "]" * 900 + "}"]


@few
@given(
    st.lists(st.tuples(st.integers(0, len(FORM)), st.integers(0, 40), PIECES), max_size=3),
    st.sampled_from(KINDS),
    st.integers(1, 400),
)
def test_any_body_is_an_upload_or_refused(
    tmp_path: Path, changes: list[tuple[int, int, bytes]], kind: str, size: int
) -> None:
    body = FORM
    for start, length, put in changes:
        body = body[:start] + put + body[start + length :]
    chunks = [body[i : i + size] for i in range(0, len(body), size)]

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": chunks.pop(0) if chunks else b"", "more_body": bool(chunks)}

    request = Request(
        {"type": "http", "method": "POST", "path": "/", "headers": [(b"content-type", kind.encode())]}, receive
    )
    try:
        received = asyncio.run(receive_video(request, tmp_path, 2**16))
        received.path.unlink()
        parsed(DetectOptions, received.options)
        status = 200
    except Problem as exc:
        status = exc.response().status_code
    assert status in (200, 400, 413, 415, 422)
    assert list(tmp_path.iterdir()) == []


fields = st.dictionaries(
    st.sampled_from("uri threshold camera video_id stream width height fps frames inputs options webhook x".split()),
    st.none() | st.integers() | st.floats() | st.text(max_size=6) | st.lists(st.text(max_size=4), max_size=3)
    | st.sampled_from(["file:///a", "http://[::", "a" * 5000, "\ud800", 10**30, {"a": [1]}, ["AAAA"]]),
    max_size=6,
)  # fmt: skip


@pytest.mark.parametrize("model", [DetectByUri, DetectOptions, SegmentFrames, JobRequest])
@few
@given(fields.map(json.dumps).map(str.encode) | st.binary(max_size=30) | st.sampled_from(DEEP).map(str.encode))
def test_any_json_is_a_request_or_refused(model: type[DetectOptions], body: bytes) -> None:
    status, answer = 200, b""
    try:
        request = parsed(model, body)
        if isinstance(request, SegmentFrames):
            request.pictures(1)
    except Problem as exc:
        status, answer = exc.status_code, bytes(exc.response().body)
    except ValueError as exc:  # what the route makes a problem of
        status, answer = 400, str(exc).encode()
    assert (status == 400) == bool(answer)
    assert len(answer) < 20_000


@few
@given(st.text(max_size=40) | st.text(max_size=20).map("Bearer {}".format) | st.just("Bearer " + "k" * 100_000))
def test_no_other_text_is_a_key(header: str) -> None:
    keys = Keys([("gate", "0123456789abcdef")])
    assert (keys.name_of(header) == "gate") == (header.split(" ")[-1] == "0123456789abcdef")


@few
@given(st.binary(max_size=1000))
def test_any_beginning_is_looked_at(head: bytes) -> None:
    assert looks_like_video(head) in (True, False)


@few
@given(
    st.text() | st.sampled_from(["..", ".", "/", "%2e%2e/", "\0", "\ud800", "a/" * 3000, "漢" * 300, "<p>", "\u202e"])
)
def test_any_text_is_a_name(text: str) -> None:
    camera, video = CameraName(text), VideoId(text)
    for shown in (camera, camera.folder, camera.page, video, video.file, printable(text)):
        shown.encode()
        assert "\n" not in shown
    assert ".." not in Path(camera.folder).parts
    assert ".." not in Path(video.file).parts
    assert not Path(video.file).is_absolute()
    assert len(camera.folder) <= 200
    assert CameraName(camera) == camera
    unescape(escape(text)) if "\0" not in text else None


@few
@given(
    st.text(min_size=1, max_size=30)
    | st.text(max_size=10).map("file://{}".format)
    | st.text(max_size=10).map("memory://{}".format)
    | st.sampled_from(
        [
            "file:///%00",
            "a\0b",
            "[",
            "**/[",
            "x" * 5000,
            "file://" + "x/" * 3000,
            "upload:../../a",
            "http://[::",
            "memory://[",
            "~",
        ]
    )
)
def test_any_input_of_a_job_is_a_video_or_refused(tmp_path: Path, text: str) -> None:
    root = tmp_path / "root"
    root.mkdir(exist_ok=True)
    try:
        videos = expand([text], within([root], ["memory://"]))
    except HeadHuntError:
        videos = ()
    for video in videos:
        assert video.uri.startswith("upload:") or is_uri(video.uri) or path_of(video.uri).resolve().is_relative_to(root)


@few
@given(
    st.binary(max_size=40)
    | st.sampled_from(
        [
            b"null",
            b"[]",
            b'{"kind": 1, "detail": 2}',
            b'{"kind": "video"}',
            b"[" * 100_000,
            b'{"kind":"video","detail":null}',
        ]
    )
)
def test_any_answer_of_a_service_is_an_error(body: bytes) -> None:
    error = CLIENT._error(body, 500, Path("a.mp4"), "a.mp4")
    assert isinstance(error, HeadHuntError)
    assert str(error)
