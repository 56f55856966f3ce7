"""Results of many videos as records: one row for each, errors included; JSON lines and parquet are the same rows."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from headhunt_svc.detector.report import Report
from headhunt_svc.jobs.models import Row
from headhunt_svc.storage.files import write_file

ROWS_IN_GROUP = 64
_SCORE = {"start_s": pa.float64(), "stop_s": pa.float64(), "raw": pa.float64(), "smoothed": pa.float64()}
_EVENT = {"start_s": pa.float64(), "stop_s": pa.float64(), "peak": pa.float64(), "peak_s": pa.float64()}
_SHARES = {"contributions": pa.list_(pa.float64())}
_REPORT = {
    "detector_id": pa.string(),
    "code": pa.string(),
    "operating_point": pa.string(),
    "smoothing": pa.string(),
    "sigma_segments": pa.float64(),
    "threshold": pa.float64(),
    "fps": pa.float64(),
    "n_frames": pa.int64(),
    "duration_s": pa.float64(),
    "repaired_times": pa.int64(),
}
SCHEMA = pa.schema(
    {
        "video_id": pa.string(),
        "uri": pa.string(),
        "state": pa.string(),
        "error": pa.string(),
        **_REPORT,
        "scores": pa.list_(pa.struct({**_SCORE, **_SHARES})),
        "events": pa.list_(pa.struct({**_EVENT, **_SHARES})),
        "gaps": pa.list_(pa.struct({"time_s": pa.float64(), "packets": pa.int64(), "reason": pa.string()})),
    }
)


def row(uri: str, video_id: str, state: str, error: str | None = None, report: Report | None = None) -> Row:
    """A video's row; without a report its columns are null, never a default."""
    empty: Row = dict.fromkeys(SCHEMA.names)
    found = report.model_dump() if report is not None else {}
    made: Row = {name: found.get(name) for name in _REPORT}
    for name, fields in (("scores", _SCORE), ("events", _EVENT)):
        if report is not None:
            made[name] = [{f: of[f] for f in (*fields, *_SHARES)} for of in found[name]]
    if report is not None:
        made["gaps"] = found["gaps"]
    return {**empty, **made, "uri": uri, "video_id": video_id, "state": state, "error": error}


def save_parquet(path: Path, rows: Iterable[Row]) -> None:
    """Write rows, a few at a time. Raises OutputError."""

    def write(partial: Path) -> None:
        with pq.ParquetWriter(partial, SCHEMA) as f:
            for table in tables(rows):
                f.write_table(table)

    write_file(path, write)


def tables(rows: Iterable[Row], size: int = ROWS_IN_GROUP) -> Iterator[pa.Table]:
    """Rows as tables of up to `size` rows."""
    at = iter(rows)
    while group := list(islice(at, size)):
        yield pa.Table.from_pylist(group, schema=SCHEMA)
