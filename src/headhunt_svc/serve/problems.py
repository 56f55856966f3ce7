"""Answers that are not what was asked for: application/problem+json (RFC 9457), with what is wrong and the way out."""

from collections.abc import Mapping
from http import HTTPStatus

from pydantic import BaseModel
from starlette.responses import Response

from headhunt_svc.errors import ArtifactError, ConfigError, HeadHuntError, VideoError
from headhunt_svc.serve.logs import request_id

MEDIA_TYPE = "application/problem+json"


class ProblemBody(BaseModel):
    """RFC 9457; kind is the name of the error, for programs: video, options, upload, uri, key, route, busy, ..."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    kind: str
    request_id: str


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """Ends a request with this answer."""

    def __init__(self, status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail, self.headers = status, kind, detail, dict(headers or {})

    @property
    def body(self) -> ProblemBody:
        """What is answered."""
        title = HTTPStatus(self.status).phrase
        return ProblemBody(
            title=title, status=self.status, detail=self.detail, kind=self.kind, request_id=request_id.get()
        )

    def response(self) -> Response:
        """The same as a response."""
        return Response(self.body.model_dump_json(), self.status, self.headers, MEDIA_TYPE)


def of_error(error: HeadHuntError) -> Problem:
    """The answer for an error that a user can cause; others are the service's fault."""
    if isinstance(error, VideoError):
        return Problem(422, "video", str(error))
    if isinstance(error, ConfigError):
        return Problem(400, "options", str(error))
    kind = "detector" if isinstance(error, ArtifactError) else "internal"
    return Problem(500, kind, str(error))
