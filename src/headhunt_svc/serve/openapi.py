"""The OpenAPI 3.1 document, from the models that parse and answer."""

from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from headhunt_svc.detector.report import Report
from headhunt_svc.jobs.models import JOB_ID, Job, JobRequest
from headhunt_svc.serve import jobs
from headhunt_svc.serve.models import WIRE, DetectByUri, DetectOptions, DetectorCard, Progress, Score, SegmentFrames
from headhunt_svc.serve.problems import MEDIA_TYPE, ProblemBody

BINARY = {"type": "string", "contentMediaType": "application/octet-stream"}
VIDEO_TYPES = ("video/*", "application/octet-stream")
ASKED: tuple[type[BaseModel], ...] = (DetectOptions, DetectByUri, SegmentFrames, JobRequest)
FRAME = "gICAgICA"  # the start of a grey picture


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _answers(good: dict[str, Any], *bad: int, status: int = 200) -> dict[str, Any]:
    problem = {"content": {MEDIA_TYPE: {"schema": _ref(ProblemBody)}}}
    words = {
        400: "An option is wrong.",
        401: "The key is missing or wrong.",
        404: "No such job.",
        408: "The client hung up.",
        413: "Too large.",
        415: "Wrong content type.",
        422: "No such video can be scored.",
        429: "Too many wait; see Retry-After.",
        503: "Not ready, or stopping.",
        504: "Not done within the deadline.",
    }
    return {str(status): good} | {str(code): {"description": words[code]} | problem for code in (401, *bad, 503)}


def _parameters() -> list[dict[str, Any]]:
    schema = DetectOptions.model_json_schema()["properties"]
    return [
        {"name": name, "in": "query", "required": False, "schema": of, "description": of.get("description", "")}
        for name, of in schema.items()
    ]


def _video_body() -> dict[str, Any]:
    fields = DetectOptions.model_json_schema()["properties"]
    form = {"type": "object", "required": ["video"], "properties": {"video": BINARY, **fields}}
    types: dict[str, Any] = {kind: {"schema": {}} for kind in VIDEO_TYPES}
    example = {"uri": "file:///srv/footage/yard.mp4", "operating_point": "f1"}
    return {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": form},
            **types,
            "application/json": {"schema": _ref(DetectByUri), "example": example},
        },
    }


def _json_of(model: type[BaseModel]) -> dict[str, Any]:
    return {"description": model.__doc__ or "", "content": {"application/json": {"schema": _ref(model)}}}


def _job_paths() -> dict[str, Any]:
    """What is under /v1/jobs."""
    one = [{"name": "job_id", "in": "path", "required": True, "schema": {"type": "string", "pattern": f"^{JOB_ID}$"}}]
    key = {"name": "Idempotency-Key", "in": "header", "required": False, "schema": {"type": "string", "maxLength": 200}}
    asked = {"schema": _ref(JobRequest), "example": {"inputs": ["/srv/footage/yard.mp4"], "key": "night 12"}}
    form = {"type": "object", "required": ["video"], "properties": {"video": BINARY}}
    video = {"multipart/form-data": {"schema": form}, **{kind: {"schema": {}} for kind in VIDEO_TYPES}}
    rows = {
        "description": "A row for each video that is done, errors included: JSON lines, or parquet.",
        "content": {
            "application/x-ndjson": {"schema": {"type": "string"}},
            "application/vnd.apache.parquet": {"schema": BINARY},
        },
    }
    state, form_of = _answers(_json_of(Job), 404), jobs.ResultsQuery.model_json_schema()["properties"]["format"]
    return {
        "/v1/jobs": {
            "post": {
                "summary": "Put videos into the queue; the same request and key again is the same job.",
                "operationId": "submitJob",
                "parameters": [key],
                "requestBody": {"required": True, "content": {"application/json": asked}},
                "responses": _answers(_json_of(Job), 400, 413, 422, status=202),
            },
            "get": {
                "summary": "All jobs, the newest first.",
                "operationId": "jobs",
                "responses": _answers(_json_of(jobs.JobList)),
            },
        },
        "/v1/jobs/uploads": {
            "post": {
                "summary": "A video that a job can name.",
                "operationId": "uploadForJobs",
                "requestBody": {"required": True, "content": video},
                "responses": _answers(_json_of(jobs.Uploaded), 400, 408, 413, 415, 422, status=201),
            }
        },
        "/v1/jobs/{job_id}": {
            "get": {"summary": "A job and its videos.", "operationId": "job", "parameters": one, "responses": state}
        },
        "/v1/jobs/{job_id}/cancel": {
            "post": {
                "summary": "Stop it; what is done stays.",
                "operationId": "cancelJob",
                "parameters": one,
                "responses": state,
            }
        },
        "/v1/jobs/{job_id}/retry": {
            "post": {
                "summary": "Run failed and cancelled videos again.",
                "operationId": "retryJob",
                "parameters": one,
                "responses": state,
            }
        },
        "/v1/jobs/{job_id}/results": {
            "get": {
                "summary": "What is there so far.",
                "operationId": "jobResults",
                "parameters": [*one, {"name": "format", "in": "query", "required": False, "schema": form_of}],
                "responses": _answers(rows, 400, 404),
            }
        },
        "/v1/jobs/{job_id}/deliveries": {
            "get": {
                "summary": "Its webhooks.",
                "operationId": "jobDeliveries",
                "parameters": one,
                "responses": _answers(_json_of(jobs.DeliveryList), 404),
            }
        },
    }


@cache
def document() -> dict[str, Any]:
    """OpenAPI as a dict."""
    told: tuple[type[BaseModel], ...] = (*WIRE, *jobs.WIRE)
    _, schemas = models_json_schema(
        [(m, "validation" if m in ASKED else "serialization") for m in told],
        ref_template="#/components/schemas/{model}",
    )
    body, bad = _video_body(), (400, 408, 413, 415, 422, 429, 504)
    events = {
        "description": "Events `scores` (Progress), then one `report` (Report) or `error` (ProblemBody).",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
    score_body = {"width": 96, "height": 96, "fps": 10, "frames": [FRAME]}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "headhunt-svc",
            "version": "1",
            "description": "Anomalous events in video, from the attention heads of a frozen multimodal LLM.",
        },
        "paths": {
            "/v1/detect": {
                "post": {
                    "summary": "A video in, the report out.",
                    "operationId": "detect",
                    "parameters": _parameters(),
                    "requestBody": body,
                    "responses": _answers(_json_of(Report), *bad),
                }
            },
            "/v1/detect/stream": {
                "post": {
                    "summary": "The same as server-sent events, segment by segment.",
                    "operationId": "detectStream",
                    "parameters": _parameters(),
                    "requestBody": body,
                    "responses": _answers(events, *bad),
                    "x-event-data": {"scores": _ref(Progress), "report": _ref(Report), "error": _ref(ProblemBody)},
                }
            },
            "/v1/score": {
                "post": {
                    "summary": "The score of one segment, from its frames.",
                    "operationId": "score",
                    "requestBody": {
                        "required": True,
                        "content": {"application/json": {"schema": _ref(SegmentFrames), "example": score_body}},
                    },
                    "responses": _answers(_json_of(Score), 400, 413, 415, 422, 429),
                }
            },
            "/v1/detector": {
                "get": {
                    "summary": "Which detector answers, and how good it is.",
                    "operationId": "detector",
                    "responses": _answers(_json_of(DetectorCard)),
                }
            },
            **_job_paths(),
        },
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}, {}],
    }
