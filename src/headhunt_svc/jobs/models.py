"""Types of the queue and of its HTTP routes: requests, states, outcomes."""

from typing import Annotated, Any, Literal, TypedDict

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, StringConstraints

from headhunt_svc.detector.options import DEFAULT_OPERATING_POINT

JOB_ID_LENGTH = 12
JOB_ID = f"[0-9a-f]{{{JOB_ID_LENGTH}}}"
State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
_PRINTABLE = r"^[^\x00-\x1f\x7f]+$"
Text = Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=_PRINTABLE)]
StoredText = Annotated[str, StringConstraints(min_length=1, max_length=16_384, pattern=_PRINTABLE)]  # also of %XX


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class JobOptions(_Model):
    """How the videos of a job or of an archive are scored; the same options as detector.Options."""

    operating_point: str = DEFAULT_OPERATING_POINT
    threshold: float | None = Field(None, ge=0, le=1)
    smoothing: Literal["offline", "causal"] = "offline"
    contributions: bool = Field(
        False,
        description="What each head adds, for every segment.",
        validation_alias=AliasChoices("contributions", "attribution"),  # the name in jobs that were queued before
    )
    stream: int | None = Field(None, ge=0, description="Number of the video stream; default: the one players show.")
    describe: bool = Field(False, description="The model describes every event's peak in words.")


class JobVideo(_Model):
    """One video: a path, `upload:SHA256` or a URI, and its name in the results.

    below: of a job over HTTP, the folder or prefix that the video may not leave; it is then decoded within limits.
    """

    uri: StoredText
    video_id: StoredText
    below: StoredText | None = None


class JobRequest(_Model):
    """Submits a job. The same request for the same detector, with the same key, is the same job."""

    inputs: tuple[Text, ...] = Field(
        min_length=1,
        max_length=100_000,
        description="Paths, folders, globs, manifests (.csv, .jsonl), URIs, upload:SHA256.",
    )
    options: JobOptions = Field(default_factory=lambda: JobOptions.model_validate({}))
    priority: int = Field(default=100, ge=1, le=10_000, description="Lower is sooner.")
    webhook: str | None = Field(default=None, pattern=r"^https?://", max_length=2000)
    key: str = Field(default="", max_length=200, description="Idempotency key: another key is another job.")


class Trouble(_Model):
    """Why a video waits for another attempt."""

    reason: str
    attempt: int


class VideoState(_Model):
    """One video of a job."""

    index: int
    video_id: str
    uri: str
    state: State
    error: str | None = None
    result: str | None = Field(None, description="Key of the stored result.")
    events: int | None = None
    trouble: Trouble | None = None


class Job(_Model):
    """A job's state."""

    job_id: str
    state: State
    created: float = Field(description="Seconds since 1970.")
    detector_id: str
    request: JobRequest
    counts: dict[State, int]
    percent: float
    eta_s: float | None = Field(description="Seconds until the end at the pace so far; null until a video is done.")
    videos: tuple[VideoState, ...] = ()


class Delivery(_Model):
    """One webhook."""

    delivery_id: str
    event: str
    state: State
    attempts: int
    error: str | None = None


class AttemptOutcome(TypedDict, total=False):
    """What one attempt at a video ended with: `result` and `events`, or one of the others."""

    result: str  # key of the stored result
    events: int  # how many
    error: str  # of the video: another attempt would fail likewise
    trouble: str  # an outage that may pass
    died: str  # the process that scored it
    stopped: str  # cancelled, or the worker ends


Row = dict[str, Any]  # one video as a record with the columns of rows.SCHEMA
