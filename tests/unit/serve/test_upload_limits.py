"""What uploads can take from the service: a place in the line, a quota, no parts without end, and no full disk."""

import asyncio
import errno
import io
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from headhunt_svc.serve import uploads
from headhunt_svc.serve.engine import Engine
from headhunt_svc.serve.problems import MEDIA_TYPE, Problem
from headhunt_svc.serve.quota import Quota
from headhunt_svc.settings import Settings
from helpers.asgi import scope_of
from helpers.routes import MP4, VIDEO, application


class FullDisk(io.FileIO):
    """A file whose disk is full, which shows when what was buffered is written."""

    def write(self, data: Any) -> int:
        return len(data)

    def close(self) -> None:
        if not self.closed:
            super().close()
            raise OSError(errno.ENOSPC, "No space left on device", "/srv/uploads")


@pytest.mark.parametrize("path", ["/detect", "/detect/stream", "/jobs/uploads"])
def test_a_full_disk_is_a_507_and_leaves_nothing(tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app, *_ = application(tmp_path)
    temporary = uploads.NamedTemporaryFile
    monkeypatch.setattr(uploads, "NamedTemporaryFile", lambda **options: FullDisk(temporary(**options).name, "wb"))
    answer = TestClient(app).post(path, content=MP4, headers=VIDEO)
    assert (answer.status_code, answer.headers["content-type"]) == (507, MEDIA_TYPE), answer.text
    assert "/srv" not in answer.text
    assert not list(tmp_path.glob("**/video-*"))


def test_uploads_for_jobs_have_a_place_in_the_line(tmp_path: Path) -> None:
    app, engine, _ = application(tmp_path)
    engine.refusal = Problem(429, "busy", "many")
    assert TestClient(app).post("/jobs/uploads", content=MP4, headers=VIDEO).status_code == 429


@pytest.mark.parametrize(("ends", "status"), [("deadline", 504), ("drain", 503)])
def test_an_upload_that_does_not_arrive_ends(tmp_path: Path, ends: str, status: int) -> None:
    app, *_ = application(tmp_path)
    messages = [{"type": "http.request", "body": MP4, "more_body": True}]
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def service() -> None:
        engine = Engine(Settings(deadline_s=0.5 if ends == "deadline" else 60, grace_s=0, max_waiting=0), tmp_path)
        engine.in_use = SimpleNamespace(detector=SimpleNamespace(), now=SimpleNamespace(candidate=None))
        engine._runner = SimpleNamespace(forget=lambda *_: None)
        app.state.engine = engine

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            if ends == "drain":
                engine.drain()
            return await asyncio.Event().wait()  # type: ignore[return-value]

        await asyncio.wait_for(app(scope_of("/jobs/uploads"), receive, send), 10)
        assert not engine._works

    asyncio.run(service())
    assert sent[0]["status"] == status
    assert not list(tmp_path.glob("**/video-*"))


def test_uploads_for_jobs_have_a_quota(tmp_path: Path) -> None:
    app, _, queue = application(tmp_path)
    queue.settings = queue.settings.model_copy(update={"upload_bytes": 2 * len(MP4) + 100})
    client = TestClient(app)

    def post(content: bytes) -> httpx.Response:
        return client.post("/jobs/uploads", content=content, headers=VIDEO)

    assert [post(MP4 + bytes([i])).status_code for i in range(2)] == [201, 201]
    third = post(MP4 + b"2")
    assert (third.status_code, third.json()["kind"]) == (507, "storage")
    assert "HEADHUNT_JOBS_UPLOAD_BYTES" in third.json()["detail"]
    assert len(list((tmp_path / "uploads").iterdir())) == 2
    assert client.post("/jobs/uploads", files={"video": ("a.mp4", MP4 + b"3")}).status_code == 507


def test_an_upload_that_is_complete_still_counts_for_those_that_arrive(tmp_path: Path) -> None:
    quota = Quota(tmp_path)
    with quota.taking(100) as slow:
        with quota.taking(100) as fast:
            fast(80)
            (tmp_path / "fast").write_bytes(bytes(80))
        slow(20)
        with pytest.raises(Problem, match="100 bytes together"):
            slow(1)


def test_an_upload_that_is_purged_while_it_is_counted_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "glob", lambda *_: iter([tmp_path / "purged"]))
    with Quota(tmp_path).taking(100) as take:
        take(100)


def multipart(parts: Callable[[int], bytes], n: int) -> bytes:
    return b"".join(b"--b\r\n" + parts(i) for i in range(n)) + b"--b--\r\n"


@pytest.mark.parametrize("path", ["/detect", "/jobs/uploads"])
@pytest.mark.parametrize(
    "parts",
    [
        lambda i: b'Content-Disposition: form-data; name="f%d"\r\n\r\nx\r\n' % i,
        lambda i: b'Content-Disposition: form-data; name="video"; filename="a"\r\n\r\n\r\n',
        lambda i: b"\r\n\r\n",
        lambda i: b"X-%d: y\r\n" % i * 50 + b"\r\nx\r\n",
    ],
)
def test_thousands_of_parts_are_refused_at_once(tmp_path: Path, path: str, parts: Callable[[int], bytes]) -> None:
    app, *_ = application(tmp_path)
    headers = {"content-type": "multipart/form-data; boundary=b"}
    started = time.process_time()
    answer = TestClient(app).post(path, content=multipart(parts, 20_000), headers=headers)
    assert answer.status_code in (400, 422), answer.text
    assert time.process_time() - started < 2
    assert not list(tmp_path.glob("**/video-*"))
