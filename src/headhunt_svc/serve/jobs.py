"""The routes under /v1/jobs: batch jobs that `headhunt worker` scores."""

import asyncio
import shutil
import sqlite3
from threading import Lock
from typing import Annotated, Literal

import sqlalchemy.exc
from fastapi import APIRouter, Depends, Header, Query
from fastapi import Path as PathParameter
from pydantic import BaseModel, Field
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse

from headhunt_svc.errors import UnreachableError
from headhunt_svc.jobs.client import PAGE, Jobs, NoSuchJobError
from headhunt_svc.jobs.inputs import UPLOAD, within
from headhunt_svc.jobs.models import JOB_ID, Delivery, Job, JobRequest
from headhunt_svc.jobs.rows import save_parquet
from headhunt_svc.serve.openapi import BINARY, answer, problems, video_body
from headhunt_svc.serve.problems import RETRY, Handlers, Problem, disk_full
from headhunt_svc.serve.quota import Quota
from headhunt_svc.serve.requests import CurrentEngine, LimitedRoute
from headhunt_svc.serve.uploads import receive_video
from headhunt_svc.storage.files import move_file, sha256
from headhunt_svc.storage.scratch import scratch, temporary_folder

PARQUET, JSON_LINES = "application/vnd.apache.parquet", "application/x-ndjson"
router = APIRouter(prefix="/jobs", route_class=LimitedRoute)
REFUSALS = problems(400, 408, 413, 415, 422, 429, 504, 507)
MOST_SHOWN = 10_000  # videos in one answer
_lock = Lock()
OUTAGES = (sqlalchemy.exc.OperationalError, sqlite3.OperationalError)
DAMAGES = (sqlalchemy.exc.DatabaseError, sqlite3.DatabaseError)  # outages are among them


class Uploaded(BaseModel):
    """A video that a job can name."""

    uri: str
    size: int = Field(description="Bytes.")


class JobList(BaseModel):
    """Jobs, the newest first, without their videos."""

    jobs: tuple[Job, ...]


class DeliveryList(BaseModel):
    """Webhooks of a job."""

    deliveries: tuple[Delivery, ...]


def _queue(request: Request) -> Jobs:
    """The queue; opened by the first request that needs it."""
    state = request.app.state
    with _lock:
        if not hasattr(state, "jobs"):
            state.jobs = Jobs()
        queue: Jobs = state.jobs
        return queue


Queue = Annotated[Jobs, Depends(_queue)]
JobId = Annotated[str, PathParameter(json_schema_extra={"pattern": f"^{JOB_ID}$"})]  # others are a 404, not a 400


async def _on_error(_: Request, exc: Exception) -> Response:
    if isinstance(exc, NoSuchJobError):
        return Problem(404, "job", str(exc)).response()
    error = exc.__cause__ if isinstance(exc, UnreachableError) and exc.__cause__ is not None else exc
    cause = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
    if getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or getattr(cause, "sqlstate", None) == "53100":
        return disk_full().response()
    if isinstance(error, DAMAGES) and not isinstance(error, OUTAGES):
        detail = "the database of the jobs is damaged: restore it from a backup, or let jobs begin with a new one"
    else:
        detail = "the database of the jobs does not answer: try again later"
    return Problem(503, "database", detail, RETRY).response()


HANDLERS: Handlers = dict.fromkeys((NoSuchJobError, UnreachableError, *DAMAGES), _on_error)


@router.post("", status_code=202, responses=problems(400, 408, 413, 415, 422, 507))
def submit_job(
    job_request: JobRequest,
    response: Response,
    engine: CurrentEngine,
    queue: Queue,
    idempotency_key: Annotated[str, Header(max_length=200, description="The request's `key`.")] = "",
) -> Job:
    """Put videos into the queue; the same request with the same key is the same job."""
    if idempotency_key:
        job_request = job_request.model_copy(update={"key": idempotency_key})
    allowed = within(queue.settings.roots, queue.settings.uri_prefixes)
    job = queue.show(queue.submit(job_request, engine.bundle, allowed), limit=PAGE)
    response.headers["Location"] = f"/v1/jobs/{job.job_id}"
    return job


@router.get("")
def jobs(queue: Queue) -> JobList:
    """All jobs, the newest first."""
    return JobList(jobs=tuple(queue.all()))


@router.post("/uploads", status_code=201, responses=REFUSALS, openapi_extra=video_body())
async def upload_for_jobs(request: Request, engine: CurrentEngine, queue: Queue) -> Uploaded:
    """Send a video that a job can name: as the body, or as the field `video`."""
    folder = queue.store.uploads
    folder.mkdir(parents=True, exist_ok=True)
    state = request.app.state
    if not hasattr(state, "quota"):
        state.quota = Quota(folder)
    quota: Quota = state.quota
    async with engine.admitted() as work:  # a deadline, a limited number at once, and an end when the service stops
        with quota.taking(queue.settings.upload_bytes) as take, scratch(queue.store.incoming) as incoming:
            received = await work.wait(receive_video(request, incoming, engine.settings.max_upload_bytes, take))
            size = received.path.stat().st_size
            name = await asyncio.to_thread(sha256, received.path)
            await asyncio.to_thread(move_file, received.path, folder / name)
    return Uploaded(uri=f"{UPLOAD}{name}", size=size)


@router.get("/{job_id}", responses=problems(400, 404))
def job(
    job_id: JobId,
    queue: Queue,
    offset: Annotated[int, Query(ge=0, description="The first video shown, by its `index`.")] = 0,
    limit: Annotated[
        int, Query(ge=0, le=MOST_SHOWN, description="How many videos are shown; counts are of all.")
    ] = PAGE,
) -> Job:
    """A job and a page of its videos."""
    return queue.show(job_id, offset, limit)


@router.post("/{job_id}/cancel", responses=problems(404))
def cancel_job(job_id: JobId, queue: Queue) -> Job:
    """Stop a job; what is done stays."""
    queue.cancel(job_id)
    return queue.show(job_id, limit=PAGE)


@router.post("/{job_id}/retry", responses=problems(404))
def retry_job(job_id: JobId, queue: Queue) -> Job:
    """Run failed and cancelled videos again."""
    queue.retry(job_id)
    return queue.show(job_id, limit=PAGE)


@router.get(
    "/{job_id}/results",
    response_class=Response,
    responses=answer(
        200, "A row for each video that is done, errors included.", **{JSON_LINES: {"type": "string"}, PARQUET: BINARY}
    )
    | problems(400, 404),
)
def job_results(job_id: JobId, queue: Queue, format: Literal["jsonl", "parquet"] = "jsonl") -> Response:
    """The results so far, as JSON lines or parquet."""
    queue.show(job_id, limit=0)
    if format == "jsonl":
        lines = (f"{line}\n" for line in queue.json_lines(job_id))
        return StreamingResponse(lines, media_type=JSON_LINES)
    folder = temporary_folder()
    remove = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
    path = folder / f"{job_id}.parquet"
    try:
        save_parquet(path, queue.rows(job_id))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return FileResponse(path, media_type=PARQUET, filename=path.name, background=remove)


@router.get("/{job_id}/deliveries", responses=problems(404))
def job_deliveries(job_id: JobId, queue: Queue) -> DeliveryList:
    """The webhooks of a job."""
    queue.show(job_id, limit=0)
    return DeliveryList(deliveries=tuple(queue.deliveries(job_id)))
