"""What FastAPI cannot derive for the OpenAPI document: bodies that are streamed, problems, events."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from headhunt_svc.detector.report import Report
from headhunt_svc.serve.models import DetectByUri, DetectOptions, ScoredSegments
from headhunt_svc.serve.problems import MEDIA_TYPE, ProblemBody

BINARY = {"type": "string", "contentMediaType": "application/octet-stream"}
_REF = "#/components/schemas/{model}"
_STREAMED: tuple[type[BaseModel], ...] = (DetectByUri, ScoredSegments, Report, ProblemBody)
_STATUS = {
    400: "An option is wrong.",
    401: "The key is missing or wrong.",
    403: "No keys are set, and this comes from a page of another site or under another host name than loopback's.",
    404: "No such job or event, or the event has no such file.",
    408: "The client hung up.",
    413: "Too large.",
    415: "Wrong content type.",
    422: "No such video can be scored.",
    429: "Too many wait; see Retry-After.",
    503: "Not ready, busy, or stopping.",
    504: "Not done within the deadline.",
    507: "A disk is full, or the quota of uploads is used.",
}

Responses = dict[int | str, dict[str, Any]]


def ref(model: type[BaseModel]) -> dict[str, str]:
    """A reference to a model's schema."""
    return {"$ref": _REF.format(model=model.__name__)}


def problems(*statuses: int) -> Responses:
    """`responses=` of a route that answers with these problems."""
    content = {MEDIA_TYPE: {"schema": ref(ProblemBody)}}
    return {status: {"description": _STATUS[status], "content": content} for status in statuses}


def answer(status: int, description: str, **content: dict[str, Any]) -> Responses:
    """`responses=` of a route whose answer is not JSON: schemas by media type."""
    return {status: {"description": description, "content": {kind: {"schema": s} for kind, s in content.items()}}}


def video_body(fields: type[BaseModel] | None = None, by_uri: type[BaseModel] | None = None) -> dict[str, Any]:
    """`openapi_extra=` of a route that streams a video: the body itself or a form, or JSON that names it."""
    properties = {"video": BINARY} | (fields.model_json_schema()["properties"] if fields is not None else {})
    form = {"type": "object", "required": ["video"], "properties": properties}
    content: dict[str, Any] = {"multipart/form-data": {"schema": form}}
    content |= {kind: {"schema": {}} for kind in ("video/*", "application/octet-stream")}
    if by_uri is not None:
        content["application/json"] = {"schema": ref(by_uri)}
    return {"requestBody": {"required": True, "content": content}}


DETECT_BODY = video_body(DetectOptions, DetectByUri)
EVENT_NAMES: dict[type[BaseModel], str] = {ScoredSegments: "scores", Report: "report", ProblemBody: "error"}
EVENTS = {"x-event-data": {name: ref(model) for model, name in EVENT_NAMES.items()}}


class Application(FastAPI):
    """FastAPI, with a document that has the schemas of streamed bodies and no answers that are never given."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        if self.openapi_schema is not None:
            return self.openapi_schema
        document = super().openapi()
        _, streamed = models_json_schema([(model, "validation") for model in _STREAMED], ref_template=_REF)
        schemas = document["components"]["schemas"] | streamed["$defs"]
        for name in ("HTTPValidationError", "ValidationError"):  # wrong fields are problems of status 400 here
            schemas.pop(name, None)
        for operation in (operation for path in document["paths"].values() for operation in path.values()):
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
        document["components"] = {"schemas": schemas, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}}
        document["security"] = [{"key": []}, {}]
        return document
