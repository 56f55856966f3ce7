"""Connects to the database of events and of messages about them, and brings its tables up to date."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Engine

from headhunt_svc.errors import ConfigError, unwritable
from headhunt_svc.settings import EventSettings
from headhunt_svc.storage.locks import exclusive
from headhunt_svc.storage.sql import WRITES, database_errors, open_engine

_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 7_411_902_511  # PostgreSQL's advisory lock: any number that nothing else in the database uses


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
    engine = open_engine(settings.database_url, "HEADHUNT_EVENTS_DATABASE")
    try:
        with database_errors():
            _migrate(engine, settings.folder)
    except BaseException:
        engine.dispose()
        raise
    return engine


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
