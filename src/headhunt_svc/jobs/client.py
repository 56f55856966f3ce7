"""Jobs as the command line and the service see them: submit, look, cancel, retry, results, purge."""

import json
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy.exc
from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer, WorkflowStatus
from sqlalchemy.engine import make_url

from headhunt_svc.detector.bundle import load_bundle
from headhunt_svc.errors import ConfigError, OutputError, UnreachableError
from headhunt_svc.jobs.inputs import Allowed, expand
from headhunt_svc.jobs.models import JOB_ID, Delivery, Input, Job, JobRequest, Row, State, Trouble, VideoState
from headhunt_svc.jobs.rows import row
from headhunt_svc.jobs.store import ResultStore, locked
from headhunt_svc.settings import JobSettings
from headhunt_svc.storage.files import text_id

VERSION = "jobs-1"  # of the workflows' shape: workers take up only what they understand
JOBS, WEBHOOKS = "jobs", "webhooks"
SERIALIZER = DBOSPortableJSONSerializer()
ACTIVE = ["ENQUEUED", "DELAYED", "PENDING"]
_STATES: dict[str, State] = {
    "ENQUEUED": "queued",
    "DELAYED": "queued",
    "PENDING": "running",
    "SUCCESS": "succeeded",
    "ERROR": "failed",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "failed",
    "CANCELLED": "cancelled",
}
DONE: tuple[State, ...] = ("succeeded", "failed", "cancelled")


class NoSuchJobError(ConfigError):
    """No job has this id."""


def videos_queue(detector_id: str) -> str:
    """The queue of a detector's videos: a worker takes only what its own detector is asked for."""
    return f"videos-{detector_id}"


def migrate(settings: JobSettings) -> str:
    """Make the database's tables where they are missing; returns its URL.

    Raises:
        ConfigError: not a database URL. UnreachableError: it does not answer. OutputError: no folder can be made.
    """
    url = settings.database_url
    try:
        at = make_url(url)
        if at.get_backend_name() == "sqlite":
            settings.folder.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(str(at.database), timeout=30)) as db:
                db.execute("PRAGMA journal_mode=WAL")  # readers do not wait for writers; stays with the file
        DBOS.migrate(url)
    except sqlalchemy.exc.ArgumentError as exc:
        raise ConfigError("HEADHUNT_JOBS_DATABASE is no database URL: postgresql://user:password@host/name") from exc
    except OSError as exc:
        raise OutputError(f"cannot make {settings.folder} ({exc.strerror}): set HEADHUNT_JOBS_FOLDER") from exc
    except sqlalchemy.exc.SQLAlchemyError as exc:
        why = str(exc).splitlines()[0]
        raise UnreachableError(f"the database of the jobs does not answer ({why}): is it running?") from exc
    return url


def state_of(states: "Counter[State]") -> State:
    """A job's state from those of its videos."""
    if states["queued"] or states["running"]:
        return "running" if len(+states) > 1 or states["running"] else "queued"
    return "cancelled" if states["cancelled"] else "failed" if states["failed"] else "succeeded"


class Jobs:
    """The queue, from outside. Close it, or use it in a `with`.

    Raises:
        UnreachableError: the database does not answer.
    """

    def __init__(self, settings: JobSettings | None = None) -> None:
        self.settings = settings or JobSettings()
        self.store = ResultStore(self.settings.folder)
        url = migrate(self.settings)
        self._db = DBOSClient(system_database_url=url, serializer=SERIALIZER, retry_connection_errors=False)

    def __enter__(self) -> "Jobs":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database."""
        self._db.destroy()

    def submit(self, request: JobRequest, bundle: Path, allowed: Allowed = lambda _: True) -> str:
        """Put a job into the queue and return its id; the same request, detector and key give the same job.

        Raises:
            ConfigError: inputs or options cannot be used. ArtifactError: no bundle.
        """
        made, _ = load_bundle(bundle)
        made.operating_point(request.options.operating_point, request.options.smoothing)
        if request.webhook is not None:
            from headhunt_svc.notify.webhooks import check_host

            check_host(request.webhook, self.settings)
        job_id = text_id(f"{made.detector_id} {request.model_dump_json()}")
        if not self._rounds(job_id):
            videos = [v.model_dump() for v in expand(request.inputs, allowed)]
            self._enqueue(job_id, 0, made.detector_id, request, videos, list(range(len(videos))))
        return job_id

    def _enqueue(
        self,
        job_id: str,
        number: int,
        detector_id: str,
        request: JobRequest,
        videos: list[dict[str, str]],
        wanted: list[int],
    ) -> None:
        options = {"queue_name": JOBS, "workflow_name": "job", "workflow_id": f"{job_id}/{number}"}
        about = {"detector_id": detector_id, "request": request.model_dump(mode="json"), "videos": videos}
        self._db.enqueue({**options, "app_version": VERSION}, job_id, number, about, wanted)  # type: ignore[typeddict-item]

    def _rounds(self, job_id: str) -> list[WorkflowStatus]:
        """The job as submitted, and one more for each retry."""
        if not re.fullmatch(JOB_ID, job_id):
            return []
        found = self._db.list_workflows(workflow_id_prefix=f"{job_id}/", name="job", load_output=False)
        return sorted(found, key=lambda w: int(w.workflow_id.split("/")[1]))

    def all(self) -> list[Job]:
        """All jobs, the newest first, without their videos."""
        first = self._db.list_workflows(name="job", sort_desc=True, load_input=False, load_output=False)
        ids = dict.fromkeys(w.workflow_id.split("/")[0] for w in first)
        return [self.show(job_id).model_copy(update={"videos": ()}) for job_id in ids]

    def show(self, job_id: str) -> Job:
        """A job with its videos. Raises ConfigError: there is none of this id."""
        rounds = self._rounds(job_id)
        if not rounds:
            raise NoSuchJobError(f"there is no job {job_id}: see `headhunt jobs list`")
        about = rounds[0].input["args"][2]  # type: ignore[index]
        latest = self._latest(job_id, len(rounds) - 1, set(rounds[-1].input["args"][3]))  # type: ignore[index]
        expanded = rounds[-1].status
        videos = [self._video(i, Input(**v), latest.get(i), expanded) for i, v in enumerate(about["videos"])]
        counts = Counter(v.state for v in videos)
        n_done = sum(counts[s] for s in DONE)
        return Job(
            job_id=job_id,
            state=state_of(counts),
            created=(rounds[0].created_at or 0) / 1000,
            detector_id=about["detector_id"],
            request=JobRequest.model_validate(about["request"]),
            counts={s: counts[s] for s in ("queued", "running", *DONE)},
            percent=100 * n_done / len(videos),
            eta_s=self._eta(list(latest.values()), len(videos) - n_done),
            videos=tuple(videos),
        )

    def _latest(self, job_id: str, last: int, again: set[int]) -> dict[int, WorkflowStatus]:
        """The newest attempt of every video; of those that the last round runs again, that round's or none."""
        found: dict[int, tuple[int, WorkflowStatus]] = {}
        for w in self._db.list_workflows(workflow_id_prefix=f"{job_id}/", name="video", load_input=False):
            _, number, _, index = w.workflow_id.split("/")
            if int(index) not in found or found[int(index)][0] < int(number):
                found[int(index)] = (int(number), w)
        return {i: w for i, (number, w) in found.items() if number == last or i not in again}

    def _video(self, index: int, video: Input, at: WorkflowStatus | None, expanded: str) -> VideoState:
        about: dict[str, Any] = {"index": index, "video_id": video.video_id, "uri": video.uri}
        if at is None:
            return VideoState(**about, state="cancelled" if expanded == "CANCELLED" else "queued")
        state, out = _STATES[at.status], at.output if isinstance(at.output, dict) else {}
        error = out.get("error")
        if state == "failed":
            error = f"the worker failed: {at.error or at.status}"
        trouble = self._db.get_event(at.workflow_id, "trouble", timeout_seconds=0) if state == "running" else None
        return VideoState(
            **about,
            state="failed" if error else state,
            error=error,
            result=out.get("result"),
            events=out.get("events"),
            trouble=Trouble(**trouble) if trouble else None,
        )

    @staticmethod
    def _eta(found: Sequence[WorkflowStatus], n_left: int) -> float | None:
        """Seconds at the pace since the first video was taken up."""
        starts = [w.dequeued_at for w in found if w.dequeued_at]
        n_done = sum(w.status == "SUCCESS" for w in found)
        if not n_left:
            return 0.0
        return n_left * (time.time() - min(starts) / 1000) / n_done if n_done and starts else None

    def cancel(self, job_id: str) -> None:
        """Stop a job: what waits is not begun, what runs ends within one batch; what is done stays."""
        rounds = [w.workflow_id for w in self._rounds(job_id)]
        if not rounds:
            raise NoSuchJobError(f"there is no job {job_id}: see `headhunt jobs list`")
        self._db.cancel_workflows(rounds)
        if at_work := self._at_work(job_id):
            self._db.cancel_workflows([w.workflow_id for w in at_work])

    def _at_work(self, job_id: str, limit: int | None = None) -> list[WorkflowStatus]:
        """Videos that are not done."""
        return self._db.list_workflows(
            workflow_id_prefix=f"{job_id}/",
            name="video",
            status=ACTIVE,
            load_input=False,
            load_output=False,
            limit=limit,
        )

    def retry(self, job_id: str) -> int:
        """Put failed and cancelled videos into the queue again; returns how many."""
        job = self.show(job_id)
        wanted = [v.index for v in job.videos if v.state in ("failed", "cancelled")]
        if wanted:
            rounds = self._rounds(job_id)
            about = rounds[0].input["args"][2]  # type: ignore[index]
            self._enqueue(job_id, len(rounds), job.detector_id, job.request, about["videos"], wanted)
        return len(wanted)

    def rows(self, job_id: str, *, only_done: bool = False) -> Iterator[Row]:
        """One row for each video in order, those that are not done without scores. Raises ArtifactError."""
        for v in self.show(job_id).videos:
            if v.result is not None and v.state == "succeeded":
                yield row(v.uri, v.video_id, v.state, None, self.store.result(v.result, v.video_id))
            elif not only_done or v.state in DONE:
                yield row(v.uri, v.video_id, v.state, v.error)

    def json_lines(self, job_id: str, *, only_done: bool = False) -> Iterator[str]:
        """`rows` as JSON."""
        return (json.dumps(r, allow_nan=False) for r in self.rows(job_id, only_done=only_done))

    def stopped(self, workflow_id: str) -> bool:
        """Was this video cancelled, or its job purged?"""
        found = self._db.list_workflows(workflow_ids=[workflow_id], load_input=False, load_output=False)
        return not found or found[0].status == "CANCELLED"

    def adopt(self, worker: str) -> int:
        """Put back into their queues what workers had begun that live no more; returns how many."""
        taken = 0
        orphans: dict[str, list[WorkflowStatus]] = {}
        for w in self._db.list_workflows(status="PENDING", load_input=False, load_output=False):
            if w.executor_id and w.executor_id != worker:
                orphans.setdefault(w.executor_id, []).append(w)
        for name, begun in orphans.items():
            with locked(self.store.workers / name) as dead:
                for w in begun if dead else ():
                    self._db.resume_workflow(w.workflow_id, queue_name=w.queue_name)
                    taken += 1
        return taken

    def announce(self, known: set[str]) -> None:
        """Send the webhook of every round of a job that has ended; `known` are those looked at before."""
        ended = self._db.list_workflows(name="job", status=["SUCCESS", "CANCELLED"], load_input=False)
        for w in ended:
            job_id = w.workflow_id.split("/")[0]
            if w.workflow_id in known or self._at_work(job_id, limit=1):
                continue
            job = self.show(job_id)
            if job.state not in DONE:
                continue
            known.add(w.workflow_id)
            if job.request.webhook is not None:
                body = {"event": "finished", "job_id": job_id, "state": job.state, "counts": job.counts}
                self._db.enqueue(
                    {
                        "queue_name": WEBHOOKS,
                        "workflow_name": "deliver",
                        "workflow_id": f"{w.workflow_id}/hook/finished",
                        "app_version": VERSION,
                    },
                    job_id,
                    job.request.webhook,
                    body,
                )

    def by_state(self) -> tuple[Counter[State], Counter[State], float]:
        """Jobs and videos by state, and the age in seconds of the video that has waited longest."""
        videos: Counter[State] = Counter()
        of_jobs: dict[str, Counter[State]] = {}
        oldest = now = time.time()
        for w in self._db.list_workflows(name="video", load_input=False):
            failed = isinstance(w.output, dict) and w.output.get("error")
            state: State = "failed" if failed else _STATES[w.status]
            videos[state] += 1
            of_jobs.setdefault(w.workflow_id.split("/")[0], Counter())[state] += 1
            if state == "queued":
                oldest = min(oldest, (w.created_at or 0) / 1000)
        return Counter(state_of(states) for states in of_jobs.values()), videos, now - oldest

    def deliveries(self, job_id: str) -> list[Delivery]:
        """The job's webhooks."""
        found = []
        for w in self._db.list_workflows(workflow_id_prefix=f"{job_id}/", name="deliver"):
            out = w.output if isinstance(w.output, dict) else {}
            tried = self._db.get_event(w.workflow_id, "tried", timeout_seconds=0) or {}
            error = out.get("error", tried.get("error"))
            state: State = "failed" if out.get("error") else _STATES[w.status]
            event = str(w.input["args"][2]["event"])  # type: ignore[index]
            attempts = out.get("attempts", tried.get("attempts", 0))
            found.append(Delivery(delivery_id=w.workflow_id, event=event, state=state, attempts=attempts, error=error))
        return found

    def purge(self, older_than_days: float | None = None) -> int:
        """Forget finished jobs that are older, and results and uploads that no job names any more; returns how many."""
        keep_days = self.settings.keep_days if older_than_days is None else older_than_days
        before = time.time() - 86400 * keep_days
        gone, kept_results, kept_uploads = 0, set(), set()
        first = self._db.list_workflows(name="job", load_input=False, load_output=False)
        for job_id in dict.fromkeys(w.workflow_id.split("/")[0] for w in first):
            job = self.show(job_id)
            if job.created < before and job.state in DONE:
                found = self._db.list_workflows(workflow_id_prefix=f"{job_id}/", load_input=False, load_output=False)
                self._db.delete_workflows([w.workflow_id for w in found])
                gone += 1
            else:
                kept_results |= {v.result for v in job.videos}
                kept_uploads |= {v.uri.partition(":")[2] for v in job.videos}
        for path in self.settings.folder.glob("results/*/*.json"):
            if path.stem not in kept_results and path.stat().st_mtime < before:
                path.unlink(missing_ok=True)
        for path in [*self.store.uploads.glob("*"), *self.settings.folder.glob("checkpoints/*/*")]:
            if path.name not in kept_uploads and path.stat().st_mtime < before:
                path.unlink(missing_ok=True)
        return gone
