"""Jobs as the command line and the service use them: submit, show, cancel, retry, results, purge.

A job is a workflow JOB/0 that enqueues one workflow JOB/0/video/INDEX for each video. A retry is a further workflow
JOB/1, JOB/2, ... that enqueues some of the videos again.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dbos import WorkflowStatus

from headhunt_svc.detector.bundle import check_point, load_bundle
from headhunt_svc.errors import ArtifactError, ConfigError
from headhunt_svc.jobs.database import Database, Tally
from headhunt_svc.jobs.inputs import Allowed, expand
from headhunt_svc.jobs.models import JOB_ID, Delivery, Job, JobRequest, JobVideo, Row, State, VideoState
from headhunt_svc.jobs.queue import ACTIVE, DONE, JOBS, STATES, WEBHOOKS, enqueue_options, migrate, state_of
from headhunt_svc.jobs.rows import row
from headhunt_svc.jobs.store import ResultStore
from headhunt_svc.notify.webhooks import check_url
from headhunt_svc.settings import JobSettings
from headhunt_svc.storage.files import text_id
from headhunt_svc.storage.locks import locked

PAGE = 1000  # videos that are loaded at once


class NoSuchJobError(ConfigError):
    """No job has this id."""


class Jobs:
    """Client of the queue; use it in a `with`, or close it.

    Raises:
        ConfigError, OutputError, UnreachableError: on construction, see queue.migrate.
        UnreachableError: the database does not answer.
    """

    def __init__(self, settings: JobSettings | None = None) -> None:
        self.settings = settings or JobSettings()
        self.store = ResultStore(self.settings.folder)
        url = migrate(self.settings)
        self._db = Database(url)

    def __enter__(self) -> "Jobs":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect from the database."""
        self._db.close()

    def submit(self, request: JobRequest, bundle: Path, allowed: Allowed | None = None) -> str:
        """Put a job into the queue and return its id; the same request, detector and key give the same job.

        allowed: what its inputs may be, where they come over HTTP.

        Raises:
            ConfigError: inputs or options cannot be used. ArtifactError: no bundle.
        """
        detector, scorer = load_bundle(bundle)
        check_point(detector, scorer, request.options.operating_point, request.options.smoothing)
        if request.webhook is not None:
            check_url(request.webhook, self.settings)
        bounded = " over HTTP" if allowed is not None else ""  # the same request of a user may read more
        job_id = text_id(f"{detector.detector_id} {request.model_dump_json()}{bounded}")
        if not self._status(f"{job_id}/0"):
            job = {
                "detector_id": detector.detector_id,
                "request": request.model_dump(mode="json"),
                "videos": [v.model_dump() for v in expand(request.inputs, allowed)],
            }
            self._enqueue(job_id, 0, job, range(len(job["videos"])))
        return job_id

    def _enqueue(self, job_id: str, number: int, job: dict[str, Any], indices: Sequence[int]) -> None:
        self._db.enqueue(enqueue_options(JOBS, "job", f"{job_id}/{number}"), job_id, number, job, list(indices))

    def queue_of(self, workflow_id: str) -> str:
        """The queue that a workflow came from. Raises UnreachableError."""
        (workflow,) = self._db.workflows(workflow_ids=[workflow_id], load_input=False, load_output=False)
        return str(workflow.queue_name)

    def widen(self, queue: str, n: int) -> None:
        """Let every worker take at least n workflows of a queue at once. Raises UnreachableError."""
        self._db.widen(queue, n)

    def _submissions(self, job_id: str) -> list[WorkflowStatus]:
        """The workflows JOB/0, JOB/1, ...: the job as submitted, and its retries. Raises NoSuchJobError."""
        workflows = self._db.workflows(workflow_id_prefix=f"{job_id}/", name="job", load_output=False)
        if not re.fullmatch(JOB_ID, job_id) or not workflows:
            raise NoSuchJobError(f"there is no job {job_id}: see `headhunt jobs list`")
        return sorted(workflows, key=lambda w: int(w.workflow_id.split("/")[1]))

    def _job_ids(self) -> list[str]:
        """All jobs, the newest first."""
        return list(dict.fromkeys(i.split("/")[0] for i in self._ids(name="job", sort_desc=True)))

    def _ids(self, **filters: Any) -> list[str]:
        """Ids of workflows; filters: see DBOSClient.list_workflows."""
        return [w.workflow_id for w in self._db.workflows(**filters, load_input=False, load_output=False)]

    def all(self) -> list[Job]:
        """All jobs, the newest first, without their videos."""
        return [job for job_id in self._job_ids() if (job := self._unless_purged(job_id, limit=0)) is not None]

    def _unless_purged(self, job_id: str, limit: int | None = None) -> Job | None:
        """`show` of a job that was listed; None if another process has purged it since."""
        try:
            return self.show(job_id, limit=limit)
        except NoSuchJobError:
            return None

    def show(self, job_id: str, offset: int = 0, limit: int | None = None, *, notable: bool = False) -> Job:
        """A job with its videos: all, or `limit` of them from number `offset` on; the counts are of all.

        notable: only videos that have events or an error, or are at work.

        Raises:
            NoSuchJobError: no job has this id.
        """
        submissions = self._submissions(job_id)
        job = _arguments(submissions[0])[2]
        n = len(job["videos"])
        tallies = self._tallies(job_id, submissions)
        counts = _by_state(tallies)
        not_enqueued: State = "cancelled" if submissions[-1].status == "CANCELLED" else "queued"
        counts[not_enqueued] += n - counts.total()
        n_done = sum(counts[s] for s in DONE)
        indices = self._notable(job_id, submissions) if notable else range(n)
        page = indices[offset : None if limit is None else offset + limit]
        return Job(
            job_id=job_id,
            state=state_of(counts),
            created=(submissions[0].created_at or 0) / 1000,
            detector_id=job["detector_id"],
            request=JobRequest.model_validate(job["request"]),
            counts={s: counts[s] for s in ("queued", "running", *DONE)},
            percent=100 * n_done / n,
            eta_s=_eta_s(tallies, n - n_done),
            videos=tuple(self._videos(submissions, page)),
        )

    def _tallies(self, job_id: str, submissions: Sequence[WorkflowStatus]) -> list[Tally]:
        """The states of the newest workflow of each video."""
        if len(submissions) == 1:
            return self._db.tallies(job_id)
        newest = _newest(submissions)
        return [t for t in self._db.tallies(job_id, each=True) if _is_newest(t.workflow_id, newest)]

    def _notable(self, job_id: str, submissions: Sequence[WorkflowStatus]) -> list[int]:
        newest = _newest(submissions)
        return sorted(int(w.split("/")[3]) for w in self._db.notable(job_id) if _is_newest(w, newest))

    def _videos(self, submissions: Sequence[WorkflowStatus], indices: Sequence[int]) -> Iterator[VideoState]:
        """Videos of a job, loaded page by page."""
        job_id, _, job, _ = _arguments(submissions[0])
        newest = _newest(submissions)
        for start in range(0, len(indices), PAGE):
            ids = {i: f"{job_id}/{newest[i]}/video/{i}" for i in indices[start : start + PAGE]}
            page = self._db.workflows(workflow_ids=[*ids.values()], load_input=False)
            workflows = {w.workflow_id: w for w in page}
            for i, workflow_id in ids.items():
                video = JobVideo(**job["videos"][i])
                yield self._video(i, video, workflows.get(workflow_id), submissions[newest[i]].status)

    def _video(self, index: int, video: JobVideo, workflow: WorkflowStatus | None, submitted: str) -> VideoState:
        """submitted: status of the workflow that enqueues the video."""
        named: dict[str, Any] = {"index": index, "video_id": video.video_id, "uri": video.uri}
        if workflow is None:
            return VideoState(**named, state="cancelled" if submitted == "CANCELLED" else "queued")
        state, outcome = STATES[workflow.status], _output(workflow)
        is_failed = state == "failed"
        error = f"the worker failed: {workflow.error or workflow.status}" if is_failed else outcome.get("error")
        return VideoState(
            **named,
            state="failed" if error else state,
            error=error,
            result=outcome.get("result"),
            events=outcome.get("events"),
            trouble=self._db.event(workflow.workflow_id, "trouble") if state == "running" else None,
        )

    def cancel(self, job_id: str) -> None:
        """Stop a job: waiting videos are not begun, a running one ends within one batch, results stay."""
        self._db.cancel([w.workflow_id for w in self._submissions(job_id)])
        if active := self._active(job_id):
            self._db.cancel(active)

    def _active(self, job_id: str, limit: int | None = None) -> list[str]:
        """Ids of the workflows of videos that are not done."""
        return self._ids(workflow_id_prefix=f"{job_id}/", name="video", status=ACTIVE, limit=limit)

    def retry(self, job_id: str) -> int:
        """Queue failed and cancelled videos, and those whose result is damaged, once more; returns how many."""
        submissions = self._submissions(job_id)
        videos = self._videos(submissions, _indices(submissions))
        indices = [v.index for v in videos if v.state in DONE and not self._has_result(v)]
        if indices:
            self._enqueue(job_id, len(submissions), _arguments(submissions[0])[2], indices)
        return len(indices)

    def _has_result(self, video: VideoState) -> bool:
        return video.result is not None and self.store.has(video.result)

    def rows(self, job_id: str) -> Iterator[Row]:
        """One row for each video that is done, in order; a video whose result is damaged has failed."""
        submissions = self._submissions(job_id)
        for v in self._videos(submissions, _indices(submissions)):
            if v.state in DONE:
                yield self._row(v)

    def _row(self, video: VideoState) -> Row:
        state, error, report = video.state, video.error, None
        if video.result is not None:
            try:
                report = self.store.result(video.result, video.video_id)
            except ArtifactError as exc:
                state, error = "failed", str(exc)
        return row(video.uri, video.video_id, state, error, report)

    def json_lines(self, job_id: str) -> Iterator[str]:
        """`rows` as JSON."""
        return (json.dumps(r, allow_nan=False) for r in self.rows(job_id))

    def is_cancelled(self, workflow_id: str) -> bool:
        """Whether a video was cancelled, or its job purged."""
        return self._status(workflow_id) in (None, "CANCELLED")

    def _status(self, workflow_id: str) -> str | None:
        workflows = self._db.workflows(workflow_ids=[workflow_id], load_input=False, load_output=False)
        return workflows[0].status if workflows else None

    def adopt(self, worker: str) -> None:
        """Put the videos of dead workers back into their queues; worker: the name of the caller, which is alive."""
        by_worker: dict[str, list[WorkflowStatus]] = {}
        for w in self._db.workflows(status="PENDING", load_input=False, load_output=False):
            if w.executor_id and w.executor_id != worker:
                by_worker.setdefault(w.executor_id, []).append(w)
        for name, workflows in by_worker.items():
            with locked(self.store.workers / name) as is_dead:
                for w in workflows if is_dead else ():
                    self._db.resume(w.workflow_id, w.queue_name)

    def announce(self, announced: set[str]) -> None:
        """Enqueue the webhook of each submission that has ended; adds those dealt with to `announced`."""
        ended = self._db.workflows(name="job", status=["SUCCESS", "CANCELLED"], load_input=False)
        for w in ended:
            job_id = w.workflow_id.split("/")[0]
            if w.workflow_id in announced or self._active(job_id, limit=1):
                continue
            job = self._unless_purged(job_id, limit=0)
            if job is None or job.state not in DONE:
                continue
            announced.add(w.workflow_id)
            if job.request.webhook is not None:
                body = {"event": "finished", "job_id": job_id, "state": job.state, "counts": job.counts}
                options = enqueue_options(WEBHOOKS, "deliver", f"{w.workflow_id}/hook/finished")
                self._db.enqueue(options, job.request.webhook, body)

    def by_state(self) -> tuple[Counter[State], Counter[State], float]:
        """Number of jobs and of videos by state, and the age in seconds of the video that has waited longest."""
        tallies = self._db.tallies()
        by_job: dict[str, list[Tally]] = {}
        for t in tallies:
            by_job.setdefault(t.job_id, []).append(t)
        now = time.time()
        oldest = min((t.created_ms / 1000 for t in tallies if _state(t) == "queued"), default=now)
        return Counter(state_of(_by_state(own)) for own in by_job.values()), _by_state(tallies), now - oldest

    def deliveries(self, job_id: str) -> list[Delivery]:
        """The job's webhooks."""
        deliveries = []
        for w in self._db.workflows(workflow_id_prefix=f"{job_id}/", name="deliver"):
            output = _output(w)
            tried = self._db.event(w.workflow_id, "tried") or {}
            state: State = "failed" if output.get("error") else STATES[w.status]
            event = str(_arguments(w)[-1]["event"])
            latest = {"attempts": 0, **tried, **output}
            deliveries.append(Delivery(delivery_id=w.workflow_id, event=event, state=state, **latest))
        return deliveries

    def purge(self, older_than_days: float | None = None) -> int:
        """Forget older finished jobs, and the results and uploads that no other job names; returns how many jobs."""
        keep_days = self.settings.keep_days if older_than_days is None else older_than_days
        before = time.time() - 86400 * keep_days
        n, results, uploads = 0, set(), set()  # the sets: of jobs that stay
        for job_id in self._job_ids():
            job = self._unless_purged(job_id)
            if job is None:
                continue
            if job.created < before and job.state in DONE:
                self._db.delete(self._ids(workflow_id_prefix=f"{job_id}/"))
                n += 1
            else:
                results |= {v.result for v in job.videos}
                uploads |= {v.uri.partition(":")[2] for v in job.videos}
        self.store.purge(before, results, uploads)
        return n


def _arguments(workflow: WorkflowStatus) -> Sequence[Any]:
    """What a workflow was enqueued with."""
    arguments: Sequence[Any] = workflow.input["args"]  # type: ignore[index]  # it was loaded
    return arguments


def _output(workflow: WorkflowStatus) -> dict[str, Any]:
    """What a workflow returned; empty until it ended well."""
    return workflow.output if isinstance(workflow.output, dict) else {}


def _indices(submissions: Sequence[WorkflowStatus]) -> range:
    """The numbers of a job's videos."""
    return range(len(_arguments(submissions[0])[2]["videos"]))


def _newest(submissions: Sequence[WorkflowStatus]) -> dict[int, int]:
    """The number of the newest submission of each video, by index."""
    return {i: number for number, w in enumerate(submissions) for i in _arguments(w)[3]}


def _is_newest(workflow_id: str, newest: dict[int, int]) -> bool:
    """Whether no retry has taken the place of a video's workflow."""
    _, number, _, index = workflow_id.split("/")
    return newest[int(index)] == int(number)


def _state(tally: Tally) -> State:
    return "failed" if tally.has_error else STATES[tally.status]


def _by_state(tallies: Sequence[Tally]) -> Counter[State]:
    """Numbers of videos."""
    counts: Counter[State] = Counter()
    for t in tallies:
        counts[_state(t)] += t.n
    return counts


def _eta_s(tallies: Sequence[Tally], n_left: int) -> float | None:
    """Seconds until the end at the pace since the first video was begun; None while no video is done."""
    starts = [t.begun_ms for t in tallies if t.begun_ms]
    n_done = sum(t.n for t in tallies if t.status == "SUCCESS")
    if not n_left:
        return 0.0
    if not n_done or not starts:
        return None
    return n_left * max(time.time() - min(starts) / 1000, 0.0) / n_done  # a clock that was set back tells nothing
