"""Reads the segments that a detector and its candidate have both scored, camera by camera."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import pyarrow as pa

from headhunt_svc.errors import ArtifactError
from headhunt_svc.prediction_log.reading import partitions, read_partition
from headhunt_svc.prediction_log.schema import COLUMNS, LogMetadata
from headhunt_svc.prediction_log.shadowing import shadow_uri
from headhunt_svc.prediction_log.stretches import between
from headhunt_svc.prediction_log.writer import Partition
from headhunt_svc.storage.store import Store
from headhunt_svc.storage.tables import open_parquet, read_table

_NAMES = ("time", "video", "pass_id", "segment", "start_s", "stop_s", "smoothed", "in_event")
_TEXT = {"video": pa.string(), "pass_id": pa.string()}  # tables with dictionaries cannot be joined
_SCHEMA = pa.schema([pa.field(name, _TEXT.get(name, COLUMNS.field(name).type)) for name in _NAMES])


@dataclass(frozen=True, slots=True)
class Pairs:
    """One camera. table: a row for each segment that both have scored, in order; *_candidate: the candidate's columns.

    active_only, candidate_only: segments that only one of them has scored, or logged.
    """

    camera: str
    table: pa.Table
    active_only: int
    candidate_only: int


def read_pairs(log: str, active: str, candidate: str, start: datetime, stop: datetime) -> Iterator[Pairs]:
    """The segments of every camera from start (included) to stop, by the detector_ids of both.

    Raises:
        UnreachableError: the log does not answer. ArtifactError: a file in it cannot be read.
    """
    ours = partitions(Store(log), start.date(), stop.date())
    theirs = partitions(Store(shadow_uri(log)), start.date(), stop.date())
    for camera in sorted(ours.keys() | theirs.keys()):
        tables = [
            _rows(store, days.get(camera, []), detector_id, start, stop)
            for store, days, detector_id in (
                (Store(log), ours, active),
                (Store(shadow_uri(log)), theirs, candidate),
            )
        ]
        if not any(map(len, tables)):
            continue
        right = tables[1].select(["pass_id", "segment", "smoothed", "in_event"])
        both = tables[0].join(
            right, ["pass_id", "segment"], join_type="inner", right_suffix="_candidate", use_threads=False
        )
        both = both.sort_by([("pass_id", "ascending"), ("segment", "ascending")])
        yield Pairs(camera, both, len(tables[0]) - len(both), len(tables[1]) - len(both))


def _rows(store: Store, days: list[Partition], detector_id: str, start: datetime, stop: datetime) -> pa.Table:
    """The rows of one detector, each segment of a pass once. Raises ArtifactError."""
    tables: list[pa.Table] = []
    for day in days:
        for table in read_partition(store, day, partial(_read, store, detector_id)):
            if table is None:
                raise ArtifactError(f"{store.uri}/{day.folder()} lists a file that is missing: try again, or remove it")
            tables.append(table)
    rows = between(pa.concat_tables([_SCHEMA.empty_table(), *tables]), start, stop)
    keys = ["pass_id", "segment"]
    others = [name for name in _NAMES if name not in keys]
    single = rows.group_by(keys, use_threads=False).aggregate([(name, "first") for name in others])
    return single.rename_columns([*keys, *others])


def _read(store: Store, detector_id: str, name: str) -> pa.Table:
    """The rows of one detector in a file. Raises FileNotFoundError; ArtifactError: it cannot be read."""
    try:
        with store.open(name) as file:
            parquet = open_parquet(file)
            if LogMetadata.from_parquet(parquet.schema_arrow.metadata, name).detector_id != detector_id:
                return _SCHEMA.empty_table()
            return read_table(parquet, list(_NAMES)).cast(_SCHEMA)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, pa.ArrowException) as exc:
        raise ArtifactError(f"{store.uri}/{name} cannot be read ({exc})") from exc
