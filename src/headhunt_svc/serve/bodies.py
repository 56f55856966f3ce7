"""JSON bodies and query parameters, parsed or refused."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from headhunt_svc.serve.problems import Problem

M = TypeVar("M", bound=BaseModel)
JSON_LIMIT_BYTES = 16 * 1024**2


def parsed(model: type[M], raw: Mapping[str, Any] | bytes) -> M:
    """The model of a JSON body or of parameters. Raises Problem (400): names the field that is wrong."""
    try:
        return model.model_validate_json(raw) if isinstance(raw, bytes) else model.model_validate(raw)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        known = ", ".join(model.model_fields)
        more = f"; there are: {known}" if first["type"] == "extra_forbidden" else ""
        raise Problem(400, "options", f"{where}: {first['msg']}{more}") from exc


async def json_body(request: Request) -> bytes:
    """A JSON body. Raises Problem (413)."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > JSON_LIMIT_BYTES:
            raise Problem(413, "upload", f"a JSON body may have {JSON_LIMIT_BYTES} bytes")
    return bytes(body)
