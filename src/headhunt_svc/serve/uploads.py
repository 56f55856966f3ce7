"""Stand-in until branch sandbox is merged."""

from dataclasses import dataclass
from pathlib import Path

from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request


class UploadError(Exception):
    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail = status, title, detail


@dataclass(frozen=True, slots=True)
class Received:
    path: Path
    filename: str | None
    options: dict[str, str]


async def receive_video(request: Request, folder: Path, limit_bytes: int) -> Received:
    kind, params = parse_options_header(request.headers.get("content-type", ""))
    path = folder / "video"
    size = 0
    if kind != b"multipart/form-data":
        with path.open("wb") as f:
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit_bytes:
                    raise UploadError(413, "too large", "too large")
                f.write(chunk)
        if not size:
            raise UploadError(400, "empty", "the body is empty")
        return Received(path, None, {})
    options: dict[str, str] = {}
    state = {"name": b"", "header": b"", "value": b"", "filename": b"", "data": b""}
    filename = None
    with path.open("wb") as f:

        def header_field(d: bytes, a: int, b: int) -> None:
            state["header"] += d[a:b]

        def header_value(d: bytes, a: int, b: int) -> None:
            state["value"] += d[a:b]

        def header_end() -> None:
            if state["header"].lower() == b"content-disposition":
                _, p = parse_options_header(state["value"])
                state["name"], state["filename"] = p.get(b"name", b""), p.get(b"filename", b"")
            state["header"] = state["value"] = b""

        def data(d: bytes, a: int, b: int) -> None:
            nonlocal size, filename
            if state["name"] == b"video":
                f.write(d[a:b])
                size += b - a
                filename = state["filename"].decode() or None
            else:
                state["data"] += d[a:b]

        def end() -> None:
            if state["name"] != b"video":
                options[state["name"].decode()] = state["data"].decode()
            state["data"] = b""

        try:
            parser = MultipartParser(
                params[b"boundary"],
                {
                    "on_header_field": header_field,
                    "on_header_value": header_value,
                    "on_header_end": header_end,
                    "on_part_data": data,
                    "on_part_end": end,
                },
            )
            async for chunk in request.stream():
                parser.write(chunk)
                if size > limit_bytes:
                    raise UploadError(413, "too large", "too large")
        except (KeyError, ValueError) as exc:
            raise UploadError(400, "multipart", str(exc)) from exc
    if not size:
        raise UploadError(400, "empty", "no video")
    return Received(path, filename, options)
