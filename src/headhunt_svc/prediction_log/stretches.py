"""Reads a few columns of one camera between two times: for charts, where `windows` reads whole rows of all cameras."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headhunt_svc.errors import ArtifactError, UnreachableError
from headhunt_svc.names import CameraName
from headhunt_svc.prediction_log.reading import read_partition
from headhunt_svc.prediction_log.schema import COLUMNS, LogMetadata, as_columns
from headhunt_svc.prediction_log.writer import Partition
from headhunt_svc.storage.store import Store
from headhunt_svc.storage.tables import open_parquet, read_parts, read_table

_ROWS = 4096  # at a time


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows of one camera and one detector, in the order of time. unreadable: files that were left out."""

    metadata: LogMetadata | None
    table: pa.Table
    unreadable: int = 0

    def __len__(self) -> int:
        return len(self.table)


def read_stretch(
    store: Store,
    camera: str,
    days: Sequence[date],
    columns: Sequence[str],
    span: tuple[datetime, datetime] | None = None,
) -> Stretch:
    """The rows of these days. Where several detectors have scored them, those of the one that was logged last.

    span: only rows from the first time to the second; no more than a part of a file is in memory beside them.

    Raises:
        UnreachableError: the store does not answer.
    """
    schema = pa.schema([COLUMNS.field(name) for name in dict.fromkeys(["time", *columns])])
    tables: list[tuple[LogMetadata, pa.Table]] = []
    unreadable = 0
    for day in sorted(set(days)):
        contents = read_partition(store, Partition(day, CameraName(camera)), partial(_read, store, schema, span))
        unreadable += contents.count(None)
        tables += [content for content in contents if content is not None and len(content[1])]
    if not tables:
        return Stretch(None, schema.empty_table(), unreadable)
    latest, _ = max(tables, key=lambda pair: pc.max(pair[1]["time"]).as_py())
    rows = pa.concat_tables([table for metadata, table in tables if metadata.detector_id == latest.detector_id])
    return Stretch(latest, rows.unify_dictionaries().sort_by("time"), unreadable)


def _read(
    store: Store, schema: pa.Schema, span: tuple[datetime, datetime] | None, name: str
) -> tuple[LogMetadata, pa.Table] | None:
    """The columns of one file; None if it cannot be read. Raises FileNotFoundError."""
    try:
        with store.open(name) as file:
            parquet = open_parquet(file)
            metadata = LogMetadata.from_parquet(parquet.schema_arrow.metadata, name)
            if span is None:
                table = read_table(parquet, schema.names)
            else:
                parts = [between(part, *span) for part in read_parts(parquet, schema.names, _ROWS)]
                table = pa.concat_tables(parts).unify_dictionaries() if parts else schema.empty_table()
            return metadata, as_columns(table, schema)
    except FileNotFoundError:
        raise
    except (ArtifactError, OSError, UnreachableError, ValueError, KeyError, pa.ArrowException):
        return None


def days_between(start: datetime, stop: datetime) -> list[date]:
    """Every day that a time between these two may lie on."""
    return [start.date() + timedelta(days=i) for i in range((stop.date() - start.date()).days + 1)]


def between(table: pa.Table, start: datetime, stop: datetime) -> pa.Table:
    """The rows from start (included) to stop."""
    times = np.asarray(pc.cast(table["time"], pa.int64()).to_numpy())
    inside = (times >= start.timestamp() * 1e6) & (times < stop.timestamp() * 1e6)
    return table.filter(pa.array(inside))
