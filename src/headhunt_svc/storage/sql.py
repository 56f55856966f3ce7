"""Databases through SQLAlchemy: tables, times in UTC, one error for whatever fails, SQLite with several writers."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Dialect, Engine, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.types import TypeDecorator

from headhunt_svc.errors import ConfigError, UnreachableError, reason_of

BUSY_S = 60  # how long one writer of SQLite waits for another
_BUSY_POLL_S = 0.01
WRITES = {"writes": True}  # execution options of a connection that will write


class DatabaseUnreachableError(UnreachableError):
    """The database does not answer."""


class UtcTime(TypeDecorator[datetime]):
    """A time with its zone; SQLite keeps none, so it is UTC there."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """What is stored."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """What was stored."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """All tables; the names of constraints are the same in every database, so that migrations can name them."""

    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


@contextmanager
def database_errors() -> Iterator[None]:
    """Turns what the libraries of databases raise into one error.

    Raises:
        DatabaseUnreachableError: it does not answer, or is damaged.
    """
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as exc:
        cause = getattr(exc, "orig", None) or exc
        raise DatabaseUnreachableError(
            f"the database of the events does not answer ({reason_of(cause)}): is it running, its disk full or its "
            "file damaged?"
        ) from exc


def parsed_url(url: str, setting: str) -> sa.URL:
    """The URL of a database in its parts. setting: where it comes from, for messages.

    Raises:
        ConfigError: not the URL of SQLite or PostgreSQL.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as exc:
        raise ConfigError(f"{setting} is no database URL: postgresql://user:password@host/name") from exc
    backend = parsed.get_backend_name()
    if backend not in ("sqlite", "postgresql"):
        raise ConfigError(f"{setting}: {backend} is neither sqlite nor postgresql")
    return parsed


def open_engine(url: str, setting: str) -> Engine:
    """An engine for SQLite or PostgreSQL; connects later. setting: where the URL comes from, for messages.

    Raises:
        ConfigError: not such a URL, or its driver is not installed.
    """
    parsed = parsed_url(url, setting)
    if parsed.get_backend_name() == "postgresql":
        try:
            return sa.create_engine(parsed.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
        except ImportError as exc:
            raise ConfigError(
                f"{setting}: PostgreSQL needs its driver: pip install 'headhunt-svc[jobs]', or leave {setting} out"
            ) from exc
    engine = sa.create_engine(parsed, connect_args={"timeout": BUSY_S, "check_same_thread": False})
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    event.listen(engine, "checkout", _check_file)
    return engine


def _file_of(connection: sqlite3.Connection) -> tuple[int, int] | None:
    """Which file has the name of a connection's database now; None: none, or it is in memory."""
    path = next((row[2] for row in connection.execute("PRAGMA database_list") if row[1] == "main"), "")
    try:
        facts = Path(path).stat() if path else None
    except OSError:
        return None
    return None if facts is None else (facts.st_dev, facts.st_ino)


def _check_file(connection: sqlite3.Connection, entry: ConnectionPoolEntry, _: object) -> None:
    """Connect anew where the file was deleted or replaced: what is written to the old one, nobody finds again."""
    if _file_of(connection) != entry.info["file"]:
        raise DisconnectionError("the file of the database was deleted or replaced")


def _set_up_sqlite(connection: sqlite3.Connection, entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # `_begin_sqlite` begins
    use_write_ahead_log(connection)
    connection.execute("PRAGMA synchronous=FULL")  # what is stored survives a power failure
    connection.execute("PRAGMA foreign_keys=ON")
    entry.info["file"] = _file_of(connection)


def use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Readers do not wait for writers. It stays with the file.

    A new file changes to it once. Of several processes that change it together, SQLite lets none wait for another:
    it says at once that the file is locked.
    """
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(_BUSY_POLL_S)


def _begin_sqlite(connection: Connection) -> None:
    """A writer locks at once: one that has read before could not wait for another."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
