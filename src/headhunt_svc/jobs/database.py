"""The database of the queue: a client of DBOS, and what of its tables is counted without loading them.

Whatever fails in it is an UnreachableError, so every caller says the same and may try again.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import sqlalchemy as sa
from dbos import DBOSClient, EnqueueOptions, WorkflowStatus, error
from sqlalchemy.engine import make_url

from headhunt_svc.jobs.models import JOB_ID_LENGTH
from headhunt_svc.jobs.queue import SERIALIZER, STATES, database_errors

_COLUMNS = ("workflow_uuid", "name", "status", "created_at", "started_at_epoch_ms", "output")


class Tally(NamedTuple):
    """How many workflows of videos a job has in one state; workflow_id: where it is of one workflow only."""

    job_id: str
    workflow_id: str
    status: str
    has_error: bool
    n: int
    created_ms: int  # the earliest of them, like begun_ms; since 1970
    begun_ms: int | None


class Database:
    """What Jobs asks of the database. Raises UnreachableError from every method, also on construction."""

    def __init__(self, url: str) -> None:
        with database_errors():
            self._client = DBOSClient(system_database_url=url, serializer=SERIALIZER, retry_connection_errors=False)
            parsed = make_url(url)
            self._is_sqlite = parsed.get_backend_name() == "sqlite"
            driver = parsed if self._is_sqlite else parsed.set(drivername="postgresql+psycopg")
            self._engine = sa.create_engine(driver, pool_pre_ping=True)
        schema = None if self._is_sqlite else "dbos"
        self._workflows = sa.table("workflow_status", *map(sa.column, _COLUMNS), schema=schema)
        self._outputs = sa.table("workflow_output", *map(sa.column, ("workflow_uuid", "output")), schema=schema)

    def close(self) -> None:
        """Disconnect."""
        self._client.destroy()
        self._engine.dispose()

    def workflows(self, **filters: Any) -> list[WorkflowStatus]:
        """See DBOSClient.list_workflows."""
        with database_errors():
            return self._client.list_workflows(**filters)

    def enqueue(self, options: EnqueueOptions, *arguments: object) -> None:
        """Put a workflow into its queue."""
        with database_errors():
            self._client.enqueue(options, *arguments)

    def cancel(self, workflow_ids: Sequence[str]) -> None:
        """Cancel workflows."""
        with database_errors():
            self._client.cancel_workflows(list(workflow_ids))

    def resume(self, workflow_id: str, queue: str | None) -> None:
        """Put a workflow that was begun back into its queue, unless its job was purged since."""
        with database_errors(), suppress(error.DBOSNonExistentWorkflowError):
            self._client.resume_workflow(workflow_id, queue_name=queue)

    def widen(self, name: str, n: int) -> None:
        """Let every worker take at least n workflows of a queue at once."""
        with database_errors():
            queue = self._client.retrieve_queue(name)
            if queue is not None and (queue.worker_concurrency or n) < n:
                queue.set_worker_concurrency(n)

    def delete(self, workflow_ids: Sequence[str]) -> None:
        """Forget workflows."""
        with database_errors():
            self._client.delete_workflows(list(workflow_ids))

    def event(self, workflow_id: str, name: str) -> Any:
        """The value of an event that a workflow has set; None without one."""
        with database_errors():
            return self._client.get_event(workflow_id, name, timeout_seconds=0)

    def tallies(self, job_id: str | None = None, *, each: bool = False) -> list[Tally]:
        """Counts the workflows of the videos of one job or of all in the database, which is faster than loading them.

        each: one by one, to leave some out.
        """
        workflows = self._workflows.c
        job = sa.func.substr(workflows.workflow_uuid, 1, JOB_ID_LENGTH).label("job")
        groups = [job, workflows.status, self._outcome("error").is_not(None).label("has_error")]
        one: sa.ColumnElement[str] = sa.literal("")  # PostgreSQL groups by no constant
        if each:
            one = workflows.workflow_uuid
            groups.append(one)
        figures = [sa.func.count(), sa.func.min(workflows.created_at), sa.func.min(workflows.started_at_epoch_ms)]
        columns = [groups[0], one, *groups[1:3], *figures]
        return [Tally(*row) for row in self._rows(sa.select(*columns).group_by(*groups), job_id)]

    def notable(self, job_id: str) -> list[str]:
        """The workflows of a job's videos that have events or an error, or are at work."""
        states = [status for status, state in STATES.items() if state in ("failed", "running")]
        error, events = self._outcome("error"), sa.cast(self._outcome("events"), sa.Integer)
        is_notable = sa.or_(error.is_not(None), events > 0, self._workflows.c.status.in_(states))
        query = sa.select(self._workflows.c.workflow_uuid).where(is_notable)
        return [workflow_id for (workflow_id,) in self._rows(query, job_id)]

    def _outcome(self, name: str) -> sa.ColumnElement[Any]:
        """A field of what a workflow of a video returned."""
        output = sa.func.coalesce(self._outputs.c.output, self._workflows.c.output)
        if self._is_sqlite:
            return sa.func.json_extract(output, f"$.{name}", type_=sa.String)
        field: sa.ColumnElement[Any] = sa.cast(output, sa.JSON)[name].as_string()
        return field

    def _rows(self, query: sa.Select[Any], job_id: str | None) -> Sequence[Sequence[Any]]:
        """The answer to a query on workflows of videos, of one job or of all."""
        workflows = self._workflows.c
        joined = query.outerjoin_from(
            self._workflows, self._outputs, workflows.workflow_uuid == self._outputs.c.workflow_uuid
        ).where(workflows.name == "video")
        if job_id is not None:
            joined = joined.where(workflows.workflow_uuid.startswith(f"{job_id}/", autoescape=True))
        with database_errors(), self._engine.connect() as connection:
            return connection.execute(joined).all()
