"""A thin client of the service.

with Client("http://127.0.0.1:3000") as client:
    report = client.detect(Path("yard.mp4"))
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx

from headhunt_svc.detector.options import Options
from headhunt_svc.detector.report import Report
from headhunt_svc.errors import ConfigError, HeadHuntError, ServerError, VideoDecodeError, VideoOpenError
from headhunt_svc.names import escape
from headhunt_svc.storage.json_text import parse_json

TIMEOUT_S = 3600.0


class Client:
    """Asks a service at `url`; `key` is sent as a bearer token.

    Raises, in every method:
        VideoError: the service cannot score this video. ConfigError: it does not know an option.
        ServerError: it does not answer, is busy, or does not accept the key.
    """

    def __init__(self, url: str, key: str | None = None) -> None:
        self._url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(headers=headers, timeout=httpx.Timeout(TIMEOUT_S, connect=10), trust_env=False)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def detect(
        self, path: Path, video_id: str | None = None, options: Options = Options(), camera: str | None = None
    ) -> Report:
        """The report of a video, as Detector.detect returns it; camera: its name in the service's log and metrics."""
        with self._upload("/v1/detect", path, video_id, options, camera) as response:
            return Report.model_validate_json(response.read())

    def stream(
        self, path: Path, video_id: str | None = None, options: Options = Options()
    ) -> Iterator[dict[str, Any] | Report]:
        """Progress (the service's events `scores`), and last the report."""
        with self._upload("/v1/detect/stream", path, video_id, options) as response:
            event = ""
            for line in response.iter_lines():
                if line.startswith("event: "):
                    event = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    data = line.removeprefix("data: ")
                    if event == "error":
                        raise self._error(
                            data.encode(), parse_json(data)["status"], path, video_id or escape(path.name)
                        )
                    yield Report.model_validate_json(data) if event == "report" else parse_json(data)

    def detector(self) -> dict[str, Any]:
        """The service's detector: model, heads, operating points, figures."""
        with self._request("GET", "/v1/detector") as response:
            card: dict[str, Any] = parse_json(response.read())
            return card

    @contextmanager
    def _upload(
        self, route: str, path: Path, video_id: str | None, options: Options, camera: str | None = None
    ) -> Iterator[httpx.Response]:
        """Sends a video as the body of a request."""
        name = video_id or escape(path.name)
        query = {key: value for key, value in (asdict(options) | {"camera": camera}).items() if value is not None}
        query["video_id"] = name
        headers = {"Content-Type": "application/octet-stream"}
        try:
            with (
                path.open("rb") as video,
                self._request("POST", route, path, name, params=query, content=video, headers=headers) as response,
            ):
                yield response
        except OSError as exc:
            raise VideoOpenError(f"{path}: {exc.strerror}") from exc

    @contextmanager
    def _request(
        self, method: str, route: str, path: Path | None = None, name: str = "", **arguments: Any
    ) -> Iterator[httpx.Response]:
        try:
            with self._http.stream(method, f"{self._url}{route}", **arguments) as response:
                if response.status_code != 200:
                    raise self._error(response.read(), response.status_code, path, name)
                yield response
        except httpx.HTTPError as exc:
            raise ServerError(f"{self._url} does not answer ({exc!r}): is the service running?") from exc

    def _error(self, body: bytes, status: int, path: Path | None, name: str) -> HeadHuntError:
        """The error that a problem document stands for; a video is named by its path here."""
        try:
            problem = parse_json(body)
            kind, detail = str(problem["kind"]), str(problem["detail"])
        except (ValueError, KeyError, TypeError):
            return ServerError(f"{self._url} answers {status}: is it this service?")
        if kind in ("video", "upload") and path is not None:
            return VideoDecodeError(detail.replace(name, str(path)) if name in detail else f"{path}: {detail}")
        if kind == "options":
            return ConfigError(detail)
        return ServerError(f"{self._url} answers {status}: {detail}")
