"""What the routes take from a request: the engine, JSON within a limit, a video with its options."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from json import JSONDecodeError
from typing import Annotated, Any

from fastapi import Depends
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from headhunt_svc.names import VideoId
from headhunt_svc.serve.engine import Engine, Video, Work
from headhunt_svc.serve.models import DetectByUri, DetectOptions
from headhunt_svc.serve.problems import Problem, parsed
from headhunt_svc.serve.uploads import receive_video
from headhunt_svc.serve.uris import fetch
from headhunt_svc.storage.json_text import parse_json

JSON_LIMIT_BYTES = 16 * 1024**2
JSON_S = 60.0  # for the whole of it


class JsonRequest(Request):
    """A request whose body, where it is read as a whole, must be JSON of at most JSON_LIMIT_BYTES."""

    @property
    def is_json(self) -> bool:
        """Does the content type say so?"""
        return self.headers.get("content-type", "").split(";")[0].strip().lower() == "application/json"

    async def stream(self) -> AsyncGenerator[bytes]:
        """The body in pieces. Raises Problem (408) where the client hangs up."""
        try:
            async for chunk in super().stream():
                yield chunk
        except ClientDisconnect as exc:
            raise Problem(408, "gone", "the client hung up") from exc

    async def body(self) -> bytes:
        """The body. Raises Problem (415, 413, 408)."""
        if not hasattr(self, "_body"):
            if not self.is_json:
                raise Problem(415, "upload", "send the body as application/json")
            try:
                async with asyncio.timeout(JSON_S):
                    self._body = await self._whole()
            except TimeoutError as exc:
                raise Problem(408, "slow", f"the JSON body did not arrive within {JSON_S:g} s: send it again") from exc
        return self._body

    async def json(self) -> Any:
        """The value of the body. Raises Problem (400) where it is nested too deep, not UTF-8, or a number too long."""
        if not hasattr(self, "_json"):
            try:
                self._json = parse_json(await self.body())
            except JSONDecodeError:
                raise  # FastAPI's answer names the place
            except ValueError as exc:
                raise Problem(400, "options", f"body: {exc}") from exc
        return self._json

    async def _whole(self) -> bytes:
        body = bytearray()
        async for chunk in self.stream():
            body += chunk
            if len(body) > JSON_LIMIT_BYTES:
                raise Problem(413, "upload", f"a JSON body may have {JSON_LIMIT_BYTES} bytes")
        return bytes(body)


class LimitedRoute(APIRoute):
    """A route whose request is a JsonRequest; FastAPI alone would read a body of any size into memory."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As FastAPI's, for a JsonRequest."""
        handle = super().get_route_handler()

        async def limited(request: Request) -> Response:
            return await handle(JsonRequest(request.scope, request.receive))

        return limited


async def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


CurrentEngine = Annotated[Engine, Depends(_engine)]


async def video_of(request: Request, query: DetectOptions, engine: Engine, work: Work) -> Video:
    """Receive a request's video into the work's folder; options in the body override the query's. Raises Problem."""
    assert isinstance(request, JsonRequest)
    if request.is_json:
        by_uri = parsed(DetectByUri, await work.wait(request.body()))
        fetched = await work.wait(fetch(by_uri.uri, work.folder, engine.settings))
        if fetched.file is not None:
            work.files.enter_context(fetched.file)
        path, options = fetched.path, _override(query, by_uri)
        return Video(path, VideoId(options.video_id) if options.video_id else VideoId.of_file(path.name), options)
    received = await work.wait(receive_video(request, work.folder, engine.settings.max_upload_bytes))
    options = _override(query, parsed(DetectOptions, received.options))
    return Video(received.path, VideoId(options.video_id or received.filename or "video"), options)


def _override(query: DetectOptions, body: DetectOptions) -> DetectOptions:
    fields = body.model_fields_set & DetectOptions.model_fields.keys()
    return query.model_copy(update={name: getattr(body, name) for name in fields})
