"""The routes under /v1/jobs: batch jobs that `headhunt worker` scores."""

import asyncio
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Literal, TypeVar

import sqlalchemy.exc
from pydantic import BaseModel, Field
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from headhunt_svc.errors import UnreachableError
from headhunt_svc.jobs.client import Jobs, NoSuchJobError
from headhunt_svc.jobs.inputs import UPLOAD, within
from headhunt_svc.jobs.models import Delivery, Job, JobRequest
from headhunt_svc.jobs.rows import save_parquet
from headhunt_svc.serve.bodies import json_body, parsed
from headhunt_svc.serve.engine import Engine
from headhunt_svc.serve.problems import Problem
from headhunt_svc.serve.uploads import UploadError, receive_video
from headhunt_svc.storage.files import sha256

T = TypeVar("T")
_lock = Lock()


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


class ResultsQuery(BaseModel):
    """Which form results come in."""

    format: Literal["jsonl", "parquet"] = "jsonl"


WIRE: tuple[type[BaseModel], ...] = (JobRequest, Job, JobList, DeliveryList, Uploaded)


def _open(request: Request) -> Jobs:
    """The queue; opened by the first request that needs it."""
    state = request.app.state
    with _lock:
        if getattr(state, "jobs", None) is None:
            state.jobs = Jobs()
        found: Jobs = state.jobs
        return found


async def _with_jobs(request: Request, call: Callable[[Jobs], T]) -> T:
    """Call in a thread; a database that is away is a 503."""
    try:
        return await asyncio.to_thread(lambda: call(_open(request)))
    except NoSuchJobError as exc:
        raise Problem(404, "job", str(exc)) from exc
    except (UnreachableError, sqlalchemy.exc.OperationalError) as exc:
        why = "the database of the jobs does not answer: try again later"
        raise Problem(503, "database", why, {"Retry-After": "5"}) from exc


def _json(model: BaseModel, status: int = 200, **headers: str) -> Response:
    return Response(model.model_dump_json(), status, headers, "application/json")


async def submit(request: Request) -> Response:
    """POST /v1/jobs; the header Idempotency-Key is the request's `key`."""
    engine: Engine = request.app.state.engine
    asked = parsed(JobRequest, await json_body(request))
    if key := request.headers.get("idempotency-key"):
        asked = parsed(JobRequest, {**asked.model_dump(), "key": key})

    def call(jobs: Jobs) -> Job:
        allowed = within(jobs.settings.roots, jobs.settings.uri_prefixes)
        return jobs.show(jobs.submit(asked, engine.bundle, allowed))

    job = await _with_jobs(request, call)
    return _json(job, 202, Location=f"/v1/jobs/{job.job_id}")


async def upload(request: Request) -> Response:
    """POST /v1/jobs/uploads: a video as the body, or as the field `video`."""
    engine: Engine = request.app.state.engine
    folder = await _with_jobs(request, lambda jobs: jobs.store.uploads)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        got = await receive_video(request, folder, engine.settings.max_upload_bytes)
    except UploadError as exc:
        raise Problem(exc.status, "upload", str(exc)) from exc
    size = got.path.stat().st_size
    name = await asyncio.to_thread(sha256, got.path)
    got.path.replace(folder / name)
    return _json(Uploaded(uri=f"{UPLOAD}{name}", size=size), 201)


async def all_jobs(request: Request) -> Response:
    """GET /v1/jobs."""
    return _json(JobList(jobs=tuple(await _with_jobs(request, Jobs.all))))


def _of_one(call: Callable[[Jobs, str], object]) -> Callable[[Request], Any]:
    """A route that does something to a job and answers with its state."""

    async def route(request: Request) -> Response:
        job_id = request.path_params["job_id"]

        def done(jobs: Jobs) -> Job:
            jobs.show(job_id)
            call(jobs, job_id)
            return jobs.show(job_id)

        return _json(await _with_jobs(request, done))

    return route


async def results(request: Request) -> Response:
    """GET /v1/jobs/ID/results: what is there so far."""
    job_id = request.path_params["job_id"]
    wanted = parsed(ResultsQuery, dict(request.query_params)).format
    if wanted == "jsonl":
        lines = await _with_jobs(request, lambda jobs: (jobs.show(job_id), jobs.json_lines(job_id, only_done=True))[1])
        return StreamingResponse((line + "\n" for line in lines), media_type="application/x-ndjson")
    with tempfile.NamedTemporaryFile(suffix=".parquet", delete=False) as f:
        path = Path(f.name)
    try:
        await _with_jobs(request, lambda jobs: save_parquet(path, jobs.rows(job_id, only_done=True)))
    except BaseException:
        path.unlink()
        raise
    gone = BackgroundTask(path.unlink)
    return FileResponse(
        path, media_type="application/vnd.apache.parquet", filename=f"{job_id}.parquet", background=gone
    )


async def deliveries(request: Request) -> Response:
    """GET /v1/jobs/ID/deliveries."""
    job_id = request.path_params["job_id"]
    found = await _with_jobs(request, lambda jobs: (jobs.show(job_id), jobs.deliveries(job_id))[1])
    return _json(DeliveryList(deliveries=tuple(found)))


def routes() -> list[Route]:
    """For the application under /v1."""
    get, post = partial(Route, methods=["GET"]), partial(Route, methods=["POST"])
    return [
        post("/jobs", submit),
        get("/jobs", all_jobs),
        post("/jobs/uploads", upload),
        get("/jobs/{job_id}", _of_one(lambda jobs, job_id: None)),
        post("/jobs/{job_id}/cancel", _of_one(Jobs.cancel)),
        post("/jobs/{job_id}/retry", _of_one(Jobs.retry)),
        get("/jobs/{job_id}/results", results),
        get("/jobs/{job_id}/deliveries", deliveries),
    ]
