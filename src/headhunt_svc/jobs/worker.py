"""The worker: scores the videos of the queue, and does the housekeeping of the queue.

A workflow may be interrupted anywhere; this or another worker then repeats it from its last finished step.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from dbos import DBOS, DBOSConfig

from headhunt_svc.detector.links import BundleLinks, BundleParts, Role
from headhunt_svc.detector.metrics import DETECTOR
from headhunt_svc.errors import ConfigError, OutputError, UnreachableError, reason_of
from headhunt_svc.jobs import metrics
from headhunt_svc.jobs.client import Jobs
from headhunt_svc.jobs.logs import shorten
from headhunt_svc.jobs.models import AttemptOutcome, JobOptions, JobVideo
from headhunt_svc.jobs.process import ScoringProcess
from headhunt_svc.jobs.queue import (
    FAILURES,
    JOBS,
    SERIALIZER,
    VERSION,
    WEBHOOKS,
    database_errors,
    detector_of_queue,
    enqueue_options,
    videos_queue,
)
from headhunt_svc.jobs.retry import backoff_s, retry
from headhunt_svc.jobs.store import ResultStore
from headhunt_svc.notify.webhooks import post
from headhunt_svc.settings import JobSettings
from headhunt_svc.storage.exposition import LOOPBACK, metrics_served
from headhunt_svc.storage.locks import locked
from headhunt_svc.storage.retention import Retention
from headhunt_svc.storage.scratch import remove_leftovers
from headhunt_svc.storage.stopping import StopRequest

logger = logging.getLogger(__name__)
PREFETCH = 1  # videos taken from the queue beside those that are being scored
QUEUE_POLL_S = 0.05
HOUSEKEEPING_S, METRICS_S, PURGE_S = 1.0, 10.0, 3600.0
NAME_WAIT_S = 3.0  # for a worker of the same name that is ending, or another that takes over what it had begun
T = TypeVar("T")
_worker: "Worker"  # of this process; DBOS finds workflows and steps by name, so they are functions of the module


@DBOS.workflow(name="job")
def job(job_id: str, number: int, job: dict[str, Any], indices: list[int]) -> None:
    """Enqueue videos of a job. number: 0, or which retry this is; see jobs.client."""
    request = job["request"]
    for i in indices:
        workflow_id = f"{job_id}/{number}/video/{i}"
        options = enqueue_options(videos_queue(job["detector_id"]), "video", workflow_id, request["priority"])
        DBOS.enqueue_workflow_with_options(options, job_id, job["videos"][i], request["options"], request["webhook"])


@DBOS.workflow(name="video", max_recovery_attempts=1000)  # crashes of the scoring process are counted in `retry`
def video(job_id: str, item: dict[str, str], options: dict[str, Any], webhook: str | None) -> AttemptOutcome:
    """Score a video, with repetitions, and enqueue the webhook of its events."""
    workflow_id = DBOS.workflow_id
    assert workflow_id is not None

    def wait(cause: str, reason: str, attempt: int) -> None:
        metrics.RETRIES.labels(cause).inc()
        DBOS.set_event("trouble", {"reason": reason, "attempt": attempt})
        DBOS.sleep(backoff_s(attempt, _worker.settings))

    outcome = retry(lambda alone: score_step(workflow_id, item, options, alone), _worker.settings, wait)
    if webhook is not None and outcome.get("events"):
        name = item["video_id"]
        events = events_step(outcome["result"], name)
        body = {"event": "events", "job_id": job_id, "video_id": name, "events": events}
        DBOS.enqueue_workflow_with_options(enqueue_options(WEBHOOKS, "deliver", f"{workflow_id}/hook"), webhook, body)
    return outcome


@DBOS.step(name="score")
def score_step(workflow_id: str, item: dict[str, str], options: dict[str, Any], alone: bool) -> AttemptOutcome:
    """One attempt at a video."""
    return _worker.score(workflow_id, JobVideo.model_validate(item), JobOptions.model_validate(options), alone)


@DBOS.step(name="events")
def events_step(key: str, video_id: str) -> list[dict[str, Any]]:
    """The events of a result, as a webhook has them."""
    events = _worker.store.result(key, video_id).events
    names = {"start_s", "stop_s", "peak", "peak_s", "description"}
    return [e.model_dump(include=names, exclude_none=True) for e in events]


@DBOS.workflow(name="deliver", max_recovery_attempts=1000)
def deliver(url: str, body: dict[str, Any]) -> dict[str, Any]:
    """Send a webhook; repeat settings.webhook_attempts times in all until it is answered with 2xx."""
    delivery_id = DBOS.workflow_id
    assert delivery_id is not None
    error: str | None = None
    for attempt in range(1, _worker.settings.webhook_attempts + 1):
        error = post_step(url, body, delivery_id)
        if error is None:
            return {"attempts": attempt}
        DBOS.set_event("tried", {"attempts": attempt, "error": error})
        metrics.RETRIES.labels("webhook").inc()
        if attempt < _worker.settings.webhook_attempts:
            DBOS.sleep(backoff_s(attempt, _worker.settings))
    return {"attempts": _worker.settings.webhook_attempts, "error": error}


@DBOS.step(name="post")
def post_step(url: str, body: dict[str, Any], delivery_id: str) -> str | None:
    """One attempt at a webhook; returns the error, if any."""
    try:
        post(url, body, delivery_id, _worker.settings)
    except (ConfigError, OSError) as exc:
        return str(exc) or type(exc).__name__
    return None


@contextmanager
def _locked_name(folder: Path, name: str | None) -> Iterator[str]:
    """A name that no living worker has, kept locked. What an earlier worker of this name had begun is continued."""
    if name is not None:
        deadline = time.monotonic() + NAME_WAIT_S

        def busy() -> None:
            if time.monotonic() > deadline:
                raise ConfigError(
                    f"a worker {name} is at work, or what it had begun is being handed on: choose another --name, or "
                    "try again"
                )

        with locked(folder / name, busy):
            yield name
        return
    for i in count():
        candidate = f"{socket.gethostname()}-{i}"
        with locked(folder / candidate) as held:
            if held:
                yield candidate
                return


class Worker:
    """One process with one model. SIGTERM and SIGINT stop it; a crash loses the work since the last checkpoint."""

    def __init__(self, bundle: Path, settings: JobSettings | None = None) -> None:
        self.settings = settings or JobSettings()
        self.store = ResultStore(self.settings.folder)
        self.process = ScoringProcess(bundle, self.store, self.settings.checkpoint_s)
        self.stopping = StopRequest()
        self.jobs: Jobs  # set when the database answers
        self._bundle = bundle
        self._links: BundleLinks | None = None  # set when it runs
        self._folders: dict[str, Path] = {}  # of the bundles whose videos it takes, by detector_id
        self._unregistered: set[str] = set()  # detectors whose queues are not listened to yet
        self._shown: dict[Role, str] = {}
        self._dbos: DBOS | None = None
        self._retention = Retention(self.settings.keep_days)

    def score(self, workflow_id: str, item: JobVideo, options: JobOptions, alone: bool) -> AttemptOutcome:
        """One attempt at a video; ends early if it is cancelled or the worker stops. alone: no other beside it."""

        def stop() -> str | None:
            if self.stopping.is_set():
                return "the worker stops"
            try:
                return "cancelled" if self.jobs.is_cancelled(workflow_id) else None
            except UnreachableError:
                return None  # scoring goes on while the database is away

        try:
            detector_id = self._detector_of(workflow_id)
        except UnreachableError as exc:
            return {"trouble": str(exc)}
        outcome = self.process.score(item, options, stop, (detector_id, self._folders[detector_id]), alone=alone)
        metrics.RESTARTS.set(self.process.restarts)
        if self.stopping.is_set() and "result" not in outcome and "error" not in outcome:
            threading.Event().wait()  # until the process ends: the step must not finish, another worker repeats it
        return outcome

    def _detector_of(self, workflow_id: str) -> str:
        """The detector that a video was given to: its queue says so. Raises UnreachableError."""
        if len(self._folders) > 1:
            detector_id = detector_of_queue(self.jobs.queue_of(workflow_id))
            if detector_id in self._folders:
                return detector_id
        return self._shown["active"]  # also for what another worker has left

    def run(self, name: str | None = None, metrics_port: int | None = None, metrics_address: str = LOOPBACK) -> None:
        """Work until stopped.

        Raises:
            ConfigError: a worker of this name is at work, HEADHUNT_JOBS_DATABASE is no database URL, or the port for
                metrics is taken.
            HeadHuntError: the detector cannot be loaded.
        """
        self.stopping.set_by_signals()
        shorten(logging.getLogger("dbos"))
        for place in (None, self.store.incoming):
            remove_leftovers(place)
        with _locked_name(self.store.workers, name) as locked_name:
            self.jobs = self._with_database(locked_name, lambda: Jobs(self.settings))
            self._links = BundleLinks(self._bundle)
            self._take("active", self._links.active)
            self.process.start()
            self._with_database(locked_name, lambda: self._launch(locked_name))
            self._with_database(locked_name, self._register_queues)
            with metrics_served(metrics_port, metrics_address):
                logger.info("worker %s: ready", locked_name)
                self._housekeeping(locked_name)
            self._exit()

    def _with_database(self, name: str, action: Callable[[], T]) -> T:
        """Repeat an action until the database answers: a worker may be started before it."""
        attempt = 0
        while True:
            try:
                return action()
            except (UnreachableError, *FAILURES) as exc:
                attempt += 1
                wait_s = backoff_s(attempt, self.settings)
                metrics.DATABASE_ERRORS.inc()
                logger.warning("worker %s: %s (again in %g s)", name, reason_of(exc), wait_s)
                if self.stopping.wait(wait_s):
                    self._exit()

    def _launch(self, name: str) -> None:
        global _worker
        _worker = self
        config: DBOSConfig = {
            "name": "headhunt",
            "system_database_url": self.settings.database_url,
            "executor_id": name,
            "application_version": VERSION,
            "serializer": SERIALIZER,
            "console_log_level": "WARNING",
        }
        DBOS.destroy()  # an earlier launch that failed
        self._dbos = DBOS(config=config)
        DBOS.listen_queues([*map(videos_queue, self._folders), JOBS, WEBHOOKS])
        DBOS.launch()

    def _register_queues(self) -> None:
        for detector_id in self._folders:
            self._register(detector_id)
        DBOS.register_queue(JOBS, worker_concurrency=4, polling_interval_sec=0.2)
        DBOS.register_queue(WEBHOOKS, worker_concurrency=16, polling_interval_sec=0.2)

    def _register(self, detector_id: str) -> None:
        videos = videos_queue(detector_id)
        DBOS.register_queue(videos, worker_concurrency=1 + PREFETCH, polling_interval_sec=QUEUE_POLL_S)

    def _take(self, role: Role, parts: BundleParts | None) -> None:
        """Take the videos of a detector that was activated; those of earlier ones are still scored by theirs."""
        if role in self._shown:
            DETECTOR.labels(role, self._shown.pop(role)).set(0)
        if parts is None:
            return
        detector_id = parts.bundle.detector_id
        DETECTOR.labels(role, detector_id).set(1)
        self._shown[role] = detector_id
        if role == "active" and detector_id not in self._folders:
            self._folders[detector_id] = parts.folder
            self._unregistered.add(detector_id)

    def _take_over(self) -> None:
        """Take over what the links of deployed/ point to now. Raises UnreachableError."""
        if self._links is None or self._dbos is None:
            return
        self._links.look(self._take)
        for detector_id in sorted(self._unregistered):
            with database_errors():
                self._register(detector_id)
            listening = self._dbos._listening_queues  # DBOS has no public way to add one after its launch
            if listening is not None and videos_queue(detector_id) not in listening:
                listening.append(videos_queue(detector_id))
            self._unregistered.discard(detector_id)

    def _widen(self) -> None:
        """Let every worker take as many videos as this one can score at once, where that is more than they may.

        DBOS has one such number of a queue, for all workers. A worker that starts sets it back, and each that needs
        more sets it again, so it is the largest that a worker at work needs. Others hold more videos than they score
        at once, in their order. Raises UnreachableError.
        """
        if self.process.n > 1:
            for detector_id in self._folders:
                self.jobs.widen(videos_queue(detector_id), self.process.n + PREFETCH)

    def _housekeeping(self, name: str) -> None:
        """Until stopped: heartbeat, videos of dead workers, webhooks of ended jobs, metrics, purge."""
        announced: set[str] = set()
        metrics_time = purge_time = -PURGE_S
        while not self.stopping.wait(HOUSEKEEPING_S):
            metrics.HEARTBEAT.labels(name).set(time.time())
            try:
                (self.store.workers / name).touch()
                self._take_over()
                self._widen()
                self.jobs.adopt(name)
                self.jobs.announce(announced)
                now = time.monotonic()
                if now - metrics_time >= METRICS_S:
                    metrics_time = now
                    self._update_metrics()
                if now - purge_time >= PURGE_S:
                    purge_time = now
                    self._purge()
            except (UnreachableError, OutputError, OSError) as exc:
                metrics.DATABASE_ERRORS.inc()
                logger.warning("worker %s: %s", name, reason_of(exc))

    def _purge(self) -> None:
        """Forget old jobs and results; not at once where a clock that jumped ahead makes all of them old."""
        if self._retention.may_remove(time.time() / 86_400, self.store.last_scoring_day()):
            self.jobs.purge()

    def _update_metrics(self) -> None:
        jobs, videos, age_s = self.jobs.by_state()
        for gauge, counts in ((metrics.JOBS, jobs), (metrics.VIDEOS, videos)):
            for state in ("queued", "running", "succeeded", "failed", "cancelled"):
                gauge.labels(state).set(counts[state])
        metrics.QUEUE_AGE_SECONDS.set(age_s)

    def _exit(self) -> None:
        """End this process once the current videos have a checkpoint; the queue keeps the rest."""
        self.process.close(timeout_s=30)
        os._exit(0)
