"""The durable queue: its database, the names of its queues and workflows, and what their states mean for a user."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager

from dbos import DBOS, DBOSPortableJSONSerializer, EnqueueOptions
from sqlalchemy.exc import SQLAlchemyError

from headhunt_svc.errors import OutputError, UnreachableError, reason_of
from headhunt_svc.jobs.models import State
from headhunt_svc.settings import JobSettings
from headhunt_svc.storage.sql import BUSY_S, parsed_url, use_write_ahead_log

VERSION = "jobs-3"  # of the workflows' arguments: a worker takes only what it understands
JOBS, WEBHOOKS = "jobs", "webhooks"
SERIALIZER = DBOSPortableJSONSerializer()
ACTIVE = ["ENQUEUED", "DELAYED", "PENDING"]
STATES: dict[str, State] = {
    "ENQUEUED": "queued",
    "DELAYED": "queued",
    "PENDING": "running",
    "SUCCESS": "succeeded",
    "ERROR": "failed",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "failed",
    "CANCELLED": "cancelled",
}
DONE: tuple[State, ...] = ("succeeded", "failed", "cancelled")
FAILURES = (SQLAlchemyError, sqlite3.Error)


def videos_queue(detector_id: str) -> str:
    """The queue for the videos of one detector; a worker takes only those of the detector that it has loaded."""
    return f"videos-{detector_id}"


def detector_of_queue(name: str) -> str:
    """The detector whose videos are in a queue: see videos_queue."""
    return name.removeprefix("videos-")


def enqueue_options(queue: str, workflow: str, workflow_id: str, priority: int | None = None) -> EnqueueOptions:
    """How DBOS puts a workflow into a queue; without effect if the id exists."""
    options: EnqueueOptions = {
        "queue_name": queue,
        "workflow_name": workflow,
        "workflow_id": workflow_id,
        "app_version": VERSION,
    }
    return options if priority is None else {**options, "priority": priority}


@contextmanager
def database_errors() -> Iterator[None]:
    """Turns what the libraries of databases raise into one error.

    Raises:
        UnreachableError: the database does not answer, is locked, full or damaged.
    """
    try:
        yield
    except FAILURES as exc:
        raise UnreachableError(
            f"the database of the jobs does not answer ({reason_of(exc)}): is it running, its disk full or its file "
            "damaged? see docs/jobs.md"
        ) from exc


def migrate(settings: JobSettings) -> str:
    """Create or update the tables of the database; returns its URL.

    Raises:
        ConfigError: not the URL of SQLite or PostgreSQL. UnreachableError: it does not answer.
        OutputError: the folder cannot be made.
    """
    url = settings.database_url
    parsed = parsed_url(url, "HEADHUNT_JOBS_DATABASE")
    try:
        with database_errors():
            if parsed.get_backend_name() == "sqlite":
                settings.folder.mkdir(parents=True, exist_ok=True)
                with closing(sqlite3.connect(str(parsed.database), timeout=BUSY_S)) as db:
                    use_write_ahead_log(db)
            DBOS.migrate(url)
    except OSError as exc:
        raise OutputError(f"cannot make {settings.folder} ({exc.strerror}): set HEADHUNT_JOBS_FOLDER") from exc
    return url


def state_of(states: "Counter[State]") -> State:
    """A job's state, from the states of its videos."""
    if states["queued"] or states["running"]:
        return "running" if len(+states) > 1 or states["running"] else "queued"
    return "cancelled" if states["cancelled"] else "failed" if states["failed"] else "succeeded"
