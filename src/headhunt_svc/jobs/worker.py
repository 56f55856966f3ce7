"""The worker: takes videos from the queue, one after the other, and does the rounds that keep the queue well.

Every workflow may be cut off anywhere and is then run again from its last finished step, by this worker or another.
"""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy.exc
from dbos import DBOS, DBOSConfig

from headhunt_svc.errors import ConfigError, UnreachableError
from headhunt_svc.jobs import metrics
from headhunt_svc.jobs.client import JOBS, SERIALIZER, VERSION, WEBHOOKS, Jobs, videos_queue
from headhunt_svc.jobs.isolated import ScoringProcess
from headhunt_svc.jobs.models import Input, JobOptions, Outcome
from headhunt_svc.jobs.retry import backoff_s, retry
from headhunt_svc.jobs.store import ResultStore, locked
from headhunt_svc.notify.webhooks import post
from headhunt_svc.settings import JobSettings

logger = logging.getLogger(__name__)
AHEAD = 2  # videos taken from the queue: the one being scored, and the next
QUEUE_POLL_S = 0.05
ROUND_S = 1.0
FIGURES_S, PURGE_S = 10.0, 3600.0
T = TypeVar("T")
_worker: "Worker"  # workflows are functions of the module: they are found by name


@DBOS.workflow(name="job")
def job(job_id: str, number: int, about: dict[str, Any], wanted: list[int]) -> None:
    """Put the videos of a job into the queue."""
    request = about["request"]
    for i in wanted:
        DBOS.enqueue_workflow_with_options(
            {
                "queue_name": videos_queue(about["detector_id"]),
                "workflow_name": "video",
                "workflow_id": f"{job_id}/{number}/video/{i}",
                "priority": request["priority"],
                "app_version": VERSION,
            },
            job_id,
            about["videos"][i],
            request["options"],
            request["webhook"],
        )


@DBOS.workflow(name="video", max_recovery_attempts=1000)  # the scorer counts what kills it
def video(job_id: str, item: dict[str, str], options: dict[str, Any], webhook: str | None) -> Outcome:
    """Score a video: troubles that may pass are waited out, what kills the scorer is tried a stated number of times."""
    workflow_id = DBOS.workflow_id
    assert workflow_id is not None

    def waiting(cause: str, why: str, attempt: int) -> None:
        metrics.RETRIES.labels(cause).inc()
        DBOS.set_event("trouble", {"reason": why, "attempt": attempt})
        DBOS.sleep(backoff_s(attempt, _worker.settings))

    out = retry(lambda: score_step(workflow_id, item, options), _worker.settings, waiting)
    if webhook is not None and out.get("events"):
        name = item["video_id"]
        body = {"event": "events", "job_id": job_id, "video_id": name, "events": events_step(out["result"], name)}
        DBOS.enqueue_workflow_with_options(
            {
                "queue_name": WEBHOOKS,
                "workflow_name": "deliver",
                "workflow_id": f"{workflow_id}/hook",
                "app_version": VERSION,
            },
            job_id,
            webhook,
            body,
        )
    return out


@DBOS.step(name="score")
def score_step(workflow_id: str, item: dict[str, str], options: dict[str, Any]) -> Outcome:
    """One attempt."""
    return _worker.score(workflow_id, Input.model_validate(item), JobOptions.model_validate(options))


@DBOS.step(name="events")
def events_step(key: str, video_id: str) -> list[dict[str, Any]]:
    """The events of a result."""
    found = _worker.store.result(key, video_id).events
    return [{"start_s": e.start_s, "stop_s": e.stop_s, "peak": e.peak, "peak_s": e.peak_s} for e in found]


@DBOS.workflow(name="deliver", max_recovery_attempts=1000)
def deliver(job_id: str, url: str, body: dict[str, Any]) -> dict[str, Any]:
    """Send a webhook until it is taken, a stated number of times."""
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
    """One attempt; what went wrong, if anything."""
    try:
        post(url, body, delivery_id, _worker.settings)
    except (ConfigError, OSError) as exc:
        return str(exc) or type(exc).__name__
    return None


@contextmanager
def _name(folder: Path, wanted: str | None) -> Iterator[str]:
    """A name that no living worker has, held: what a worker of this name had begun before is taken up again."""
    for i in count():
        name = wanted or f"{socket.gethostname()}-{i}"
        with locked(folder / name) as held:
            if held:
                yield name
                return
        if wanted is not None:
            raise ConfigError(f"a worker {wanted} is at work: choose another --name")


class Worker:
    """One process, one detector; stops at SIGTERM or SIGINT, and any other way costs no more than a checkpoint."""

    def __init__(self, bundle: Path, settings: JobSettings | None = None) -> None:
        self.settings = settings or JobSettings()
        self.store = ResultStore(self.settings.folder)
        self.scorer = ScoringProcess(bundle, self.settings.folder.absolute(), self.settings.checkpoint_s)
        self.stopping = threading.Event()
        self.jobs: Jobs  # once the database answers

    def score(self, workflow_id: str, item: Input, options: JobOptions) -> Outcome:
        """One attempt at a video, stopped when it is cancelled."""

        def stop() -> str | None:
            if self.stopping.is_set():
                return "the worker stops"
            try:
                return "cancelled" if self.jobs.stopped(workflow_id) else None
            except sqlalchemy.exc.SQLAlchemyError:
                return None  # a database that is away stops no work

        out = self.scorer.score(item, options, stop)
        metrics.RESTARTS.set(self.scorer.restarts)
        if self.stopping.is_set() and "result" not in out and "error" not in out:
            threading.Event().wait()  # ends with the process: the attempt is not over, another worker goes on
        return out

    def run(self, name: str | None = None, metrics_port: int | None = None) -> None:
        """Work until told to stop.

        Raises:
            ConfigError: a worker of this name is at work, or what should be a database's URL is none.
            HeadHuntError: the detector cannot be loaded.
        """
        for sign in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sign, lambda *_: self.stopping.set())
        with _name(self.store.workers, name) as held:
            self.jobs = self._answered(held, lambda: Jobs(self.settings))
            self.scorer.start()
            self._answered(held, lambda: self._launch(held))
            self._answered(held, self._register)
            if metrics_port is not None:
                from prometheus_client import start_http_server

                start_http_server(metrics_port)
            logger.info("worker %s: ready", held)
            self._rounds(held)
            self._leave()

    def _answered(self, name: str, ask: Callable[[], T]) -> T:
        """What the database answers: a worker may be started before it, or while it is away."""
        attempt = 0
        while True:
            try:
                return ask()
            except (UnreachableError, sqlalchemy.exc.SQLAlchemyError) as exc:
                attempt += 1
                wait = backoff_s(attempt, self.settings)
                metrics.DATABASE_ERRORS.inc()
                logger.warning("worker %s: %s (again in %g s)", name, str(exc).splitlines()[0], wait)
                if self.stopping.wait(wait):
                    self._leave()

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
        DBOS.destroy()  # what is left of a launch that failed
        DBOS(config=config)
        DBOS.listen_queues([videos_queue(self.scorer.detector_id), JOBS, WEBHOOKS])
        DBOS.launch()

    def _register(self) -> None:
        queue = videos_queue(self.scorer.detector_id)
        DBOS.register_queue(queue, worker_concurrency=AHEAD, polling_interval_sec=QUEUE_POLL_S)
        DBOS.register_queue(JOBS, worker_concurrency=4, polling_interval_sec=0.2)
        DBOS.register_queue(WEBHOOKS, worker_concurrency=16, polling_interval_sec=0.2)

    def _rounds(self, name: str) -> None:
        known: set[str] = set()
        figures = purged = -PURGE_S
        while not self.stopping.wait(ROUND_S):
            (self.store.workers / name).touch()
            metrics.HEARTBEAT.labels(name).set(time.time())
            try:
                self.jobs.adopt(name)
                self.jobs.announce(known)
                now = time.monotonic()
                if now - figures >= FIGURES_S:
                    figures = now
                    self._figures()
                if now - purged >= PURGE_S:
                    purged = now
                    self.jobs.purge()
            except (sqlalchemy.exc.SQLAlchemyError, OSError) as exc:
                metrics.DATABASE_ERRORS.inc()
                logger.warning("worker %s: %s", name, str(exc).splitlines()[0])

    def _figures(self) -> None:
        jobs, videos, age = self.jobs.by_state()
        for gauge, counts in ((metrics.JOBS, jobs), (metrics.VIDEOS, videos)):
            for state in ("queued", "running", "succeeded", "failed", "cancelled"):
                gauge.labels(state).set(counts[state])
        metrics.QUEUE_AGE_SECONDS.set(age)

    def _leave(self) -> None:
        """The video at work stops at its next batch, with a checkpoint; the rest is the queue's to keep."""
        with self.scorer.idle(timeout_s=30):
            self.scorer.close()
            os._exit(0)
