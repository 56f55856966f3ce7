"""Errors as HTTP answers: application/problem+json (RFC 9457), with what is wrong and the way out."""

import errno
import typing
from collections.abc import Callable, Coroutine, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from headhunt_svc.errors import ArtifactError, ConfigError, HeadHuntError, VideoError
from headhunt_svc.names import printable
from headhunt_svc.serve.logs import request_id

MEDIA_TYPE = "application/problem+json"
FULL = (errno.ENOSPC, errno.EDQUOT)  # no room on the disk
RETRY = {"Retry-After": "5"}
M = TypeVar("M", bound=BaseModel)


class ProblemBody(BaseModel):
    """RFC 9457; kind is the name of the error, for programs: video, options, upload, uri, key, route, busy, ..."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    kind: str
    request_id: str


class Problem(HTTPException):
    """Ends a request with this answer."""

    def __init__(self, status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, printable(detail), headers)
        self.kind = kind

    @property
    def body(self) -> ProblemBody:
        """The body of the answer."""
        title = HTTPStatus(self.status_code).phrase
        return ProblemBody(
            title=title, status=self.status_code, detail=self.detail, kind=self.kind, request_id=request_id.get()
        )

    def response(self) -> Response:
        """The answer."""
        return Response(self.body.model_dump_json(), self.status_code, self.headers, MEDIA_TYPE)


def problem_of(error: HTTPException | HeadHuntError) -> Problem:
    """The answer to an error: 4xx where the client can mend it, otherwise 500."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException):  # Starlette's own: no such route or method
        return Problem(error.status_code, "route", f"{error.detail}: see /v1/openapi.json", error.headers)
    if isinstance(error, VideoError):
        return Problem(422, "video", str(error))
    if isinstance(error, ConfigError):
        return Problem(400, "options", str(error))
    if isinstance(error.__cause__, OSError) and error.__cause__.errno in FULL:
        return disk_full()
    kind = "detector" if isinstance(error, ArtifactError) else "internal"
    return Problem(500, kind, str(error))


def invalid(error: Mapping[str, Any], where: Sequence[str | int], model: type[BaseModel] | None) -> Problem:
    """The answer to a pydantic error at `where`; an unknown field is told which fields the model has."""
    if error["type"] == "json_invalid":
        return Problem(400, "options", f"body: this is not JSON ({error['ctx']['error']})")
    detail = f"{'.'.join(map(str, where)) or 'body'}: {error['msg']}"
    if error["type"] == "extra_forbidden" and model is not None:
        nested: Any = model
        for name in where[:-1]:
            nested = nested.model_fields[name].annotation
        detail += f"; there are: {', '.join(nested.model_fields)}"
    return Problem(400, "options", detail)


def parsed(model: type[M], fields: Mapping[str, str] | bytes) -> M:
    """The model of form fields or a JSON body. Raises Problem (400) that names the field that is wrong."""
    try:
        return model.model_validate_json(fields) if isinstance(fields, bytes) else model.model_validate(fields)
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_input=False)[0]
        raise invalid(error, error["loc"], model) from exc


async def _on_invalid(request: Request, exc: RequestValidationError) -> Response:
    """Name the first of the parameters and fields that FastAPI refused."""
    hints = typing.get_type_hints(request.scope["endpoint"]).values()
    models = [hint for hint in hints if isinstance(hint, type) and issubclass(hint, BaseModel)]
    error = exc.errors()[0]
    return invalid(error, error["loc"][1:], models[0] if models else None).response()


async def _on_error(_: Request, exc: HTTPException | HeadHuntError) -> Response:
    return problem_of(exc).response()


def disk_full() -> Problem:
    """The answer where nothing more can be written."""
    return Problem(507, "storage", "a disk of this service is full: tell who runs it, or try again later", RETRY)


async def _on_os_error(_: Request, exc: OSError) -> Response:
    if exc.errno not in FULL:
        raise exc
    return disk_full().response()


Handlers = dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]]
HANDLERS: Handlers = {
    RequestValidationError: _on_invalid,
    HeadHuntError: _on_error,
    HTTPException: _on_error,
    OSError: _on_os_error,
}
