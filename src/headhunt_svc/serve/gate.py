"""Middleware before every route: request ids, keys, one log line, metrics, and problems instead of plain errors."""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headhunt_svc.serve import metrics, sites
from headhunt_svc.serve.connections import LIMITS
from headhunt_svc.serve.logs import request_id
from headhunt_svc.serve.problems import MEDIA_TYPE, RETRY, Problem
from headhunt_svc.web.keys import Keys

logger = logging.getLogger(__name__)
PROBES = ("/livez", "/readyz", "/healthz")
ROUTES = frozenset({"/v1/detect", "/v1/detect/stream", "/v1/score", "/v1/detector", "/v1/openapi.json", "/metrics"})
GROUPS = ("/v1/jobs", "/v1/events")  # routes with ids in their paths
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Gate:
    """ASGI middleware; `keys` returns None where no key is needed."""

    def __init__(self, app: ASGIApp, keys: Callable[[], Keys | None]) -> None:
        self._app, self._keys = app, keys
        self._requests = 0  # now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        own_id = Headers(scope=scope).get("x-request-id", "")
        id_ = own_id if REQUEST_ID.fullmatch(own_id) else uuid.uuid4().hex
        token = request_id.set(id_)
        started, status, key = time.perf_counter(), 0, None
        self._requests += 1
        replaced = False  # a problem was sent instead of the answer

        async def send_answer(message: Message) -> None:
            nonlocal status, replaced
            if message["type"] == "http.response.start":
                status, headers = message["status"], MutableHeaders(scope=message)
                headers["X-Request-ID"] = id_
                replaced = status >= 400 and headers.get("content-type") != MEDIA_TYPE
                if replaced:
                    await send_problem(status)
            if not replaced:
                await send(message)

        async def send_problem(code: int) -> None:
            detail = f"{scope['method']} {scope['path']}: see /v1/openapi.json for what there is"
            problem = Problem(code, "route" if code < 500 else "internal", detail, {"X-Request-ID": id_})
            await problem.response()(scope, receive, send)

        try:
            keys = self._keys()
            key = keys.name_of(Headers(scope=scope).get("authorization")) if keys is not None else None
            scope.setdefault("state", {})["key_name"] = key
            await self._answer(scope, keys is not None, key)(scope, receive, send_answer)
        except Exception:
            logger.exception("a request failed")
            if not status:
                await send_problem(500)
                status = 500
            # otherwise the server closes the connection; it would log the text of what is raised
        finally:
            self._requests -= 1
            seconds = time.perf_counter() - started
            route = scope["path"] if scope["path"] in ROUTES else "other"
            route = next((group for group in GROUPS if scope["path"].startswith(group)), route)
            metrics.REQUESTS.labels(route, str(status)).inc()
            metrics.REQUEST_SECONDS.labels(route).observe(seconds)
            fields = {"method": scope["method"], "route": route, "status": status, "seconds": round(seconds, 4)}
            logger.info("request", extra={"fields": fields | ({"key": key} if key else {})})
            request_id.reset(token)

    def _answer(self, scope: Scope, is_key_needed: bool, key: str | None) -> ASGIApp:
        """What answers this request; `key`: the name of its key, if that is one of ours."""
        if not is_key_needed and (problem := sites.refusal(Headers(scope=scope))) is not None:
            return problem.response()
        if is_key_needed and key is None:
            way_out = "send a key that this service knows as `Authorization: Bearer KEY`"
            return Problem(401, "key", way_out, {"WWW-Authenticate": "Bearer"}).response()
        if self._requests > LIMITS.requests:
            detail = f"{LIMITS.requests} requests are being answered: try again later"
            return Problem(503, "busy", detail, RETRY).response()
        return _metrics if scope["path"] == "/metrics" else self._app


async def _metrics(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with all metrics of the service, and none of BentoML's: those have a label for every path asked for."""
    if scope["method"] not in ("GET", "HEAD"):
        await Problem(405, "route", "GET /metrics", {"Allow": "GET, HEAD"}).response()(scope, receive, send)
        return
    text = await asyncio.to_thread(metrics.exposition)
    await Response(text, media_type=CONTENT_TYPE_LATEST)(scope, receive, send)
