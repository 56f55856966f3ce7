from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from headhunt_svc.storage.sql import WRITES, open_engine

CONNECTIONS = 8


def _journal_mode(engine: Engine, start: Barrier) -> str:
    start.wait(timeout=60)
    with engine.execution_options(**WRITES).connect() as connection, connection.begin():
        return str(connection.execute(sa.text("PRAGMA journal_mode")).scalar())


def test_many_connections_make_one_new_database_at_once(tmp_path: Path) -> None:
    """Each finds a file without a write-ahead log and begins one; SQLite says "locked" at once to some of them."""
    for n in range(20):
        engines = [open_engine(f"sqlite:///{tmp_path}/{n}.sqlite", "test") for _ in range(CONNECTIONS)]
        start = Barrier(CONNECTIONS)
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            modes = list(pool.map(_journal_mode, engines, [start] * CONNECTIONS))
        for engine in engines:
            engine.dispose()
        assert modes == ["wal"] * CONNECTIONS
