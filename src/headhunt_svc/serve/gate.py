"""The middleware before every route: request ids, keys, one log line, figures, and problems instead of bare errors."""

import logging
import re
import time
import uuid
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headhunt_svc.serve import metrics
from headhunt_svc.serve.auth import Keys
from headhunt_svc.serve.logs import request_id
from headhunt_svc.serve.problems import MEDIA_TYPE, Problem

logger = logging.getLogger(__name__)
PROBES = ("/livez", "/readyz", "/healthz")
ROUTES = frozenset({"/v1/detect", "/v1/detect/stream", "/v1/score", "/v1/detector", "/v1/openapi.json", "/metrics"})
ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Gate:
    """ASGI middleware. keys: None where none are needed."""

    def __init__(self, app: ASGIApp, keys: Callable[[], Keys | None]) -> None:
        self._app, self._keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        name = given if ID.fullmatch(given) else uuid.uuid4().hex
        token = request_id.set(name)
        started, status, who = time.perf_counter(), 0, None
        bare = False  # is the answer an error without a problem body?

        async def answer(message: Message) -> None:
            nonlocal status, bare
            if message["type"] == "http.response.start":
                status, headers = message["status"], MutableHeaders(scope=message)
                headers["X-Request-ID"] = name
                bare = status >= 400 and headers.get("content-type") != MEDIA_TYPE
                if bare:
                    await instead(status, scope, receive, send, headers)
                    return
            if not bare:
                await send(message)

        async def instead(code: int, *asgi: object) -> None:
            detail = f"{scope['method']} {scope['path']}: see /v1/openapi.json for what there is"
            problem = Problem(code, "route" if code < 500 else "internal", detail, {"X-Request-ID": name})
            await problem.response()(scope, receive, send)

        try:
            keys = self._keys()
            who = keys.name_of(Headers(scope=scope).get("authorization")) if keys is not None else None
            if keys is not None and who is None:
                way_out = "send a key that this service knows as `Authorization: Bearer KEY`"
                refused = Problem(401, "key", way_out, {"WWW-Authenticate": "Bearer"})
                await refused.response()(scope, receive, answer)
            else:
                await self._app(scope, receive, answer)
        except Exception:
            logger.exception("a request failed")
            if status:
                raise
            await instead(500)
            status = 500
        finally:
            seconds = time.perf_counter() - started
            route = scope["path"] if scope["path"] in ROUTES else "other"
            metrics.REQUESTS.labels(route, str(status)).inc()
            metrics.REQUEST_SECONDS.labels(route).observe(seconds)
            about = {"method": scope["method"], "route": route, "status": status, "seconds": round(seconds, 4)}
            logger.info("request", extra={"about": about | ({"key": who} if who else {})})
            request_id.reset(token)
