"""Connects to the events' database, and brings its tables up to date."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from headhunt_svc.errors import ConfigError, UnreachableError, reason_of, unwritable
from headhunt_svc.settings import EventSettings
from headhunt_svc.storage.locks import exclusive

_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 7_411_902_511  # PostgreSQL's advisory lock: any number that nothing else in the database uses
_BUSY_S = 60  # how long one writer of SQLite waits for another
WRITES = {"writes": True}  # execution options of a connection that will write


class EventsUnreachableError(UnreachableError):
    """The database of the events does not answer."""


@contextmanager
def database_errors() -> Iterator[None]:
    """Turns what the libraries of databases raise into one error. Raises EventsUnreachableError."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as exc:
        cause = getattr(exc, "orig", None) or exc
        raise EventsUnreachableError(
            f"the database of the events does not answer ({reason_of(cause)}): is it running, its disk full or its "
            "file damaged?"
        ) from exc


def connect(settings: EventSettings) -> Engine:
    """The database with all its tables.

    Raises:
        ConfigError: not a database URL, or its tables are of a newer version. UnreachableError: it does not answer.
        OutputError: the folder cannot be made.
    """
    try:
        settings.folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise unwritable(settings.folder, exc) from exc
    engine = _engine(settings)
    try:
        with database_errors():
            _migrate(engine, settings.folder)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _engine(settings: EventSettings) -> Engine:
    try:
        url = make_url(settings.database_url)
    except ArgumentError as exc:
        raise ConfigError("HEADHUNT_EVENTS_DATABASE is no database URL: postgresql://user:password@host/name") from exc
    backend = url.get_backend_name()
    if backend == "postgresql":
        try:
            return sa.create_engine(url.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
        except ImportError as exc:
            raise ConfigError(
                "events in PostgreSQL need its driver: pip install 'headhunt-svc[jobs]', or leave out "
                "HEADHUNT_EVENTS_DATABASE"
            ) from exc
    if backend != "sqlite":
        raise ConfigError(f"HEADHUNT_EVENTS_DATABASE: {backend} is neither sqlite nor postgresql")
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY_S, "check_same_thread": False})
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # `_begin_sqlite` begins
    connection.execute("PRAGMA journal_mode=WAL")  # readers do not wait for writers
    connection.execute("PRAGMA synchronous=FULL")  # what is stored survives a power failure
    connection.execute("PRAGMA foreign_keys=ON")


def _begin_sqlite(connection: Connection) -> None:
    """A writer locks at once: one that has read before could not wait for another."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _migrate(engine: Engine, folder: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    if _is_current(engine, scripts):
        return
    with exclusive(folder / ".migrate.lock"), engine.execution_options(**WRITES).connect() as connection:
        with connection.begin():
            if engine.dialect.name == "postgresql":
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _is_current(engine: Engine, scripts: ScriptDirectory) -> bool:
    """Are the tables those of this version? Raises ConfigError: a newer version has made them."""
    with engine.connect() as connection:
        revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None or revision == scripts.get_current_head():
        return revision is not None
    if revision not in {script.revision for script in scripts.walk_revisions()}:
        raise ConfigError(
            f"the events' database is of a newer version of headhunt-svc (tables at {revision}): update this one"
        )
    return False
