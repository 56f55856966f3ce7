"""A thin client of the service.

with Client("http://127.0.0.1:3000") as client:
    report = client.detect(Path("yard.mp4"))
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from headhunt_svc.detector.options import Options
from headhunt_svc.detector.report import Report
from headhunt_svc.errors import ConfigError, HeadHuntError, ServerError, VideoDecodeError, VideoOpenError

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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    @contextmanager
    def _sent(self, route: str, path: Path, video_id: str | None, options: Options) -> Iterator[httpx.Response]:
        query: dict[str, Any] = {
            "operating_point": options.operating_point,
            "smoothing": options.smoothing,
            "contributions": options.contributions,
            "video_id": video_id or path.name,
        }
        if options.threshold is not None:
            query["threshold"] = options.threshold
        headers = {"Content-Type": "application/octet-stream"}
        try:
            with (
                path.open("rb") as video,
                self._http.stream("POST", f"{self._url}{route}", params=query, content=video, headers=headers) as got,
            ):
                if got.status_code != 200:
                    raise self._error(got.read(), got.status_code, path, video_id or path.name)
                yield got
        except OSError as exc:
            raise VideoOpenError(f"{path}: {exc.strerror}") from exc
        except httpx.HTTPError as exc:
            raise ServerError(f"{self._url} does not answer ({exc!r}): is the service running?") from exc

    def _error(self, body: bytes, status: int, path: Path, name: str) -> HeadHuntError:
        try:
            problem = json.loads(body)
            kind, detail = problem["kind"], problem["detail"]
        except (ValueError, KeyError, TypeError):
            return ServerError(f"{self._url} answers {status}: is it this service?")
        if kind == "video" or kind == "upload":
            return VideoDecodeError(detail.replace(name, str(path)) if name in detail else f"{path}: {detail}")
        if kind == "options":
            return ConfigError(detail)
        return ServerError(f"{self._url} answers {status}: {detail}")

    def detect(self, path: Path, video_id: str | None = None, options: Options = Options()) -> Report:
        """The report of a video, as Detector.detect gives it."""
        with self._sent("/v1/detect", path, video_id, options) as got:
            return Report.model_validate_json(got.read())

    def stream(
        self, path: Path, video_id: str | None = None, options: Options = Options()
    ) -> Iterator[dict[str, Any] | Report]:
        """Progress (as the service's events `scores`), and last the report."""
        with self._sent("/v1/detect/stream", path, video_id, options) as got:
            kind = ""
            for line in got.iter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    data = line.removeprefix("data: ")
                    if kind == "error":
                        raise self._error(data.encode(), json.loads(data)["status"], path, video_id or path.name)
                    yield Report.model_validate_json(data) if kind == "report" else json.loads(data)

    def detector(self) -> dict[str, Any]:
        """Which detector answers."""
        try:
            got = self._http.get(f"{self._url}/v1/detector")
        except httpx.HTTPError as exc:
            raise ServerError(f"{self._url} does not answer ({exc!r}): is the service running?") from exc
        if got.status_code != 200:
            raise self._error(got.content, got.status_code, Path(), "")
        card: dict[str, Any] = got.json()
        return card
