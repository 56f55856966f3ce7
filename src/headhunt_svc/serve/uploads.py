"""Stream the video in a request's body (multipart or raw) to a file, without holding it in memory."""

import re
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from headhunt_svc.serve.problems import Problem

MAX_FIELDS, MAX_NAME, MAX_VALUE = 32, 64, 4096
_FORM_OVERHEAD = 2**18  # bytes of fields and boundaries beside the video
_HEAD = 4096  # bytes that identify a container
_RAW = (b"", b"application/octet-stream")  # and video/*, image/gif

_STARTS = (b"\x1aE\xdf\xa3", b"FLV\x01", b"GIF87a", b"GIF89a", b"OggS", b"0&\xb2u\x8ef\xcf\x11", b"YUV4MPEG2 ")
_DAHUA = (b"DHAV", b"DAHUA")
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"uuid")
_MPEG = tuple(b"\x00\x00\x01" + bytes([code]) for code in (0xB0, 0xB3, 0xB5, 0xBA))
# raw H.264: parameters, access unit, additional data, slice; raw H.265: parameters, access unit, additional data
_RAW_STREAM = re.compile(rb"\0{2,3}\x01(?:[\x06\x09\x01\x21\x41\x61\x25\x45\x65\x27\x47\x67]|[\x40\x42\x46\x4e]\x01)")
_TS_PACKETS = (188, 192, 204)


class UploadError(Problem):
    """The body holds no video that may be scored."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(status, "upload", detail)


@dataclass(frozen=True, slots=True)
class Received:
    """A video on disk, the sender's name for the file, and the other fields of the form."""

    path: Path
    filename: str | None
    options: dict[str, str]


def looks_like_video(head: bytes) -> bool:
    """Are these the first bytes of a container that video/ reads?"""
    if head.startswith((*_STARTS, *_DAHUA, *_MPEG)) or head[4:8] in _BOXES or _RAW_STREAM.match(head):
        return True
    if head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"AVIX"):
        return True
    # a transport stream may start within a packet: look for its sync byte, once a packet
    return any(
        all(head[start + i * size : start + i * size + 1] == b"G" for i in range(5))
        for size in _TS_PACKETS
        for start in range(size)
    )


async def receive_video(
    request: Request, folder: Path, limit_bytes: int, take: Callable[[int], object] = lambda n: None
) -> Received:
    """Stream the body to a new file in `folder`; multipart: the field `video` is the file, others are options.

    take: called with the size of each piece before it is written; may raise.

    Raises:
        UploadError: 413 longer than limit_bytes, 400 empty or broken, 415 not a video, 422 wrong fields. Nothing is
            left in the folder.
    """
    kind, _ = parse_options_header(request.headers.get("content-type", ""))
    multipart = kind == b"multipart/form-data"
    if not multipart and kind not in (*_RAW, b"image/gif") and not kind.startswith(b"video/"):
        shown = kind.decode("latin-1")[:80]
        raise UploadError(415, f"content type {shown} is not taken: send multipart/form-data or video/*")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit_bytes + _FORM_OVERHEAD * multipart:
        raise _too_large(limit_bytes)
    file = NamedTemporaryFile(dir=folder, prefix="video-", delete=False)  # closed below
    path = Path(file.name)
    try:
        with file as f:  # to close it may fail, too: the disk may be full
            target = _Target(f, limit_bytes, take)
            filename, options = None, dict[str, str]()
            if multipart:
                form = _Form(request, target)
                await form.read()
                filename, options = form.filename, form.options
            else:
                async for chunk in request.stream():
                    target.write(chunk)
            target.check()
    except BaseException:
        path.unlink()
        raise
    return Received(path, filename, options)


def _too_large(limit_bytes: int) -> UploadError:
    return UploadError(413, f"the video is longer than {limit_bytes} bytes; cut it or compress it")


@dataclass(slots=True)
class _Target:
    """The file that the video goes to."""

    file: IO[bytes]
    limit_bytes: int
    take: Callable[[int], object]
    size: int = 0
    head: bytes = b""

    def write(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > self.limit_bytes:
            raise _too_large(self.limit_bytes)
        self.take(len(data))
        if len(self.head) < _HEAD:
            self.head = (self.head + data)[:_HEAD]
            if len(self.head) == _HEAD:
                self._sniff()
        self.file.write(data)

    def _sniff(self) -> None:
        if not looks_like_video(self.head):
            raise UploadError(415, "the data is no video in a container that is read here, such as mp4")

    def check(self) -> None:
        if not self.size:
            raise UploadError(400, "no video in the request: send one as the body or as the field `video`")
        self._sniff()


class _Form(MultiPartParser):
    """Starlette's parser, but the field `video` goes to the target as it arrives, and other fields become options."""

    def __init__(self, request: Request, target: _Target) -> None:
        super().__init__(request.headers, self._limited(request))
        self.target = target
        self.options: dict[str, str] = {}
        self.filename: str | None = None
        self.videos, self.ended = 0, False

    async def _limited(self, request: Request) -> AsyncGenerator[bytes, None]:
        total = 0
        async for chunk in request.stream():
            total += len(chunk)
            if total > self.target.limit_bytes + _FORM_OVERHEAD:
                raise _too_large(self.target.limit_bytes)
            yield chunk

    async def read(self) -> None:
        try:
            await self.parse()
        except (MultiPartException, FormParserError) as exc:
            raise UploadError(400, f"the multipart body cannot be read ({exc.__cause__ or exc})") from exc
        if not self.ended:
            raise UploadError(400, "the multipart body ends in the middle; send it again")

    def on_headers_finished(self) -> None:
        _, parameters = parse_options_header(self._current_part.content_disposition)
        name = _text(parameters.get(b"name", b""), MAX_NAME, "a field's name")
        self._current_part.field_name = name
        if name == "video":
            self.videos += 1
            self.filename = _file_name(parameters.get(b"filename", b""))
            if self.videos > 1:
                raise UploadError(422, "more than one field `video`: send one video in a request")
        elif b"filename" in parameters or not name:
            raise UploadError(422, f"a file in the field {name!r}: the video's field is `video`")
        elif name in self.options or len(self.options) >= MAX_FIELDS:
            raise UploadError(422, f"field {name!r} is there twice, or more than {MAX_FIELDS}")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self._current_part
        if part.field_name == "video":
            self.target.write(data[start:end])
        elif len(part.data) + end - start > MAX_VALUE:
            raise UploadError(422, f"field {part.field_name!r} has more than {MAX_VALUE} bytes")
        else:
            part.data += data[start:end]

    def on_part_end(self) -> None:
        name = self._current_part.field_name
        if name != "video":
            self.options[name] = _text(bytes(self._current_part.data), MAX_VALUE, f"field {name!r}")

    def on_end(self) -> None:
        self.ended = True


def _text(data: bytes, max_bytes: int, label: str) -> str:
    if len(data) > max_bytes:
        raise UploadError(422, f"{label} has more than {max_bytes} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise UploadError(422, f"{label} is not UTF-8") from exc


def _file_name(data: bytes) -> str | None:
    """The last part of a POSIX or Windows path, to be shown; never used as a path."""
    name = data.decode("utf-8", "replace").replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in name if c.isprintable())[:200] or None
