import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect, Request

from conftest import write_video
from headhunt_svc.serve.uploads import (
    MAX_FIELDS,
    MAX_NAME,
    MAX_VALUE,
    Received,
    UploadError,
    looks_like_video,
    receive_video,
)

MP4 = b"\0\0\0\x18ftypisom" + bytes(range(256)) * 40
FORM = "multipart/form-data; boundary=b"


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    named = f'; filename="{filename}"' if filename is not None else ""
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + value + b"\r\n"


def send(folder: Path, chunks: list[bytes], limit: int = 2**20, **headers: str) -> Received:
    waiting = list(chunks)

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": waiting.pop(0) if waiting else b"", "more_body": bool(waiting)}

    given = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    request = Request({"type": "http", "method": "POST", "path": "/", "headers": given}, receive)
    return asyncio.run(receive_video(request, folder, limit))


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_form_is_read_however_it_is_cut(tmp_path: Path, size: int) -> None:
    body = (
        part("threshold", b"0.5")
        + part("video", MP4, "C:\\\\clips\\\\a.mp4")
        + part("smoothing", b"causal")
        + b"--b--\r\n"
    )
    got = send(tmp_path, [body[i : i + size] for i in range(0, len(body), size)], content_type=FORM)
    assert got.path.read_bytes() == MP4
    assert got.filename == "a.mp4"
    assert got.options == {"threshold": "0.5", "smoothing": "causal"}


@pytest.mark.parametrize("kind", [{}, {"content_type": "video/mp4"}, {"content_type": "application/octet-stream"}])
def test_a_raw_body_is_the_video(tmp_path: Path, kind: dict[str, str]) -> None:
    got = send(tmp_path, [MP4[:3], MP4[3:]], **kind)
    assert (got.path.read_bytes(), got.filename, got.options) == (MP4, None, {})


END = b"--b--\r\n"


@pytest.mark.parametrize(
    ("chunks", "headers", "status", "says"),
    [
        ([b""], {}, 400, "no video in the request"),
        ([part("threshold", b"1") + END], {"content_type": FORM}, 400, "no video in the request"),
        ([part("video", b"", "a") + END], {"content_type": FORM}, 400, "no video in the request"),
        ([b"hello " * 100], {}, 415, "no video in a container"),
        ([part("video", b"#EXTM3U\nhttp://x", "a.mp4") + END], {"content_type": FORM}, 415, "no video in a container"),
        ([MP4], {"content_type": "application/json"}, 415, "application/json is not taken"),
        ([MP4] * 3, {}, 413, "longer than 20000 bytes"),
        ([MP4], {"content_length": "20001"}, 413, "longer than 20000 bytes"),
        ([part("video", MP4 * 3, "a") + END], {"content_type": FORM}, 413, "longer than 20000 bytes"),
        ([part("a", b"") + b"--b\r\n", b"x" * 400_000], {"content_type": FORM}, 413, "longer than"),
        ([part("video", MP4, "a") + part("video", MP4, "b") + END], {"content_type": FORM}, 422, "more than one"),
        ([part("image", MP4, "a") + END], {"content_type": FORM}, 422, "a file in the field 'image'"),
        ([part("a", b"1") * 2 + END], {"content_type": FORM}, 422, "twice"),
        (
            [b"".join(part(f"a{i}", b"1") for i in range(MAX_FIELDS + 1)) + END],
            {"content_type": FORM},
            422,
            "more than",
        ),
        ([part("a", b"x" * (MAX_VALUE + 1)) + END], {"content_type": FORM}, 422, "field 'a' has more than"),
        ([part("a" * (MAX_NAME + 1), b"x") + END], {"content_type": FORM}, 422, "name has more than"),
        ([part("a", b"\xff") + END], {"content_type": FORM}, 422, "not UTF-8"),
        ([part("video", MP4, "a")], {"content_type": FORM}, 400, "ends in the middle"),
        ([part("video", MP4, "a")[:-300]], {"content_type": FORM}, 400, "ends in the middle"),
        ([b"garbage"], {"content_type": FORM}, 400, "cannot be read"),
        ([MP4], {"content_type": "multipart/form-data"}, 400, "boundary"),
        ([MP4], {"content_type": f"multipart/form-data; boundary={'b' * 1000}"}, 400, "cannot be read"),
    ],
)
def test_wrong_bodies_are_named_and_leave_nothing(
    tmp_path: Path, chunks: list[bytes], headers: dict[str, str], status: int, says: str
) -> None:
    with pytest.raises(UploadError, match=says) as raised:
        send(tmp_path, chunks, limit=20_000, **headers)
    assert raised.value.status_code == status
    assert list(tmp_path.iterdir()) == []


@given(st.binary(max_size=600), st.integers(1, 50))
def test_any_bytes_are_an_upload_error_or_a_file(tmp_path_factory, data: bytes, size: int) -> None:
    folder = tmp_path_factory.mktemp("any")
    for kind in (FORM, "video/mp4"):
        body = part("video", MP4, "a") + data if kind == FORM else data
        try:
            send(folder, [body[i : i + size] for i in range(0, len(body), size)], content_type=kind).path.unlink()
        except UploadError as exc:
            assert exc.status_code in (400, 413, 415, 422)  # noqa: PT017
        assert list(folder.iterdir()) == []


def test_a_sender_who_hangs_up_leaves_nothing(tmp_path: Path) -> None:
    async def body() -> AsyncIterator[dict[str, object]]:
        yield {"type": "http.request", "body": MP4, "more_body": True}
        yield {"type": "http.disconnect"}

    messages = body()
    request = Request({"type": "http", "method": "POST", "path": "/", "headers": []}, lambda: anext(messages))
    with pytest.raises(ClientDisconnect):
        asyncio.run(receive_video(request, tmp_path, 2**20))
    assert list(tmp_path.iterdir()) == []


def test_memory_holds_a_piece_and_not_the_video(tmp_path: Path) -> None:
    sent = 0

    async def receive() -> dict[str, object]:
        nonlocal sent
        sent += 1
        return {"type": "http.request", "body": MP4[:12].ljust(2**16, b"x"), "more_body": sent < 1024}

    request = Request({"type": "http", "method": "POST", "path": "/", "headers": []}, receive)
    tracemalloc.start()
    got = asyncio.run(receive_video(request, tmp_path, 2**30))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert got.path.stat().st_size == 2**26
    assert peak < 2**22


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        ("mp4", "libx264"), ("mov", "mpeg4"), ("mkv", "libx264"), ("webm", "libvpx-vp9"), ("avi", "mpeg4"),
        ("flv", "flv"), ("ts", "mpeg2video"), ("m2ts", "mpeg2video"), ("mpg", "mpeg2video"), ("wmv", "wmv2"),
        ("gif", "gif"), ("3gp", "mpeg4"),
    ],
)  # fmt: skip
def test_every_container_is_known_by_its_first_bytes(tmp_path: Path, suffix: str, codec: str) -> None:
    assert looks_like_video(write_video(tmp_path / f"a.{suffix}", 10, 25, codec=codec).read_bytes()[:4096])
