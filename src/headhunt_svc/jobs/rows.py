"""Results as rows, one for each video, failed ones included; JSON lines and parquet hold the same rows."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic.main import IncEx

from headhunt_svc.detector.report import Report
from headhunt_svc.jobs.models import Row
from headhunt_svc.storage.files import write_file

ROWS_IN_GROUP = 64
_SCORE = dict.fromkeys(("start_s", "stop_s", "raw", "smoothed"), pa.float64())
_EVENT = dict.fromkeys(("start_s", "stop_s", "peak", "peak_s"), pa.float64())
_CONTRIBUTIONS = {"contributions": pa.list_(pa.float64())}
_DESCRIPTION = {"description": pa.string()}
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
    "stated_fps": pa.float64(),
    "unfinished": pa.string(),
    "description_prompt": pa.string(),
    "normality": pa.string(),
    "correction": pa.string(),
}
_GAP = {"time_s": pa.float64(), "stop_s": pa.float64(), "packets": pa.int64(), "reason": pa.string()}
_FILE = {
    "gaps": pa.list_(pa.struct(_GAP)),
    "holes": pa.list_(pa.struct(dict.fromkeys(("start_s", "stop_s"), pa.float64()))),
    "discontinuities": pa.list_(pa.struct(dict.fromkeys(("time_s", "jump_s"), pa.float64()))),
    "stream": pa.struct({"number": pa.int64(), "of": pa.list_(pa.int64())}),
    "cautions": pa.list_(pa.string()),
}
SCHEMA = pa.schema(
    {
        "video_id": pa.string(),
        "uri": pa.string(),
        "state": pa.string(),
        "error": pa.string(),
        **_REPORT,
        "scores": pa.list_(pa.struct({**_SCORE, **_CONTRIBUTIONS})),
        "events": pa.list_(pa.struct({**_EVENT, **_CONTRIBUTIONS, **_DESCRIPTION})),
        **_FILE,
    }
)

_INCLUDED: IncEx = {name: True for name in (*_REPORT, *_FILE)} | {
    "scores": {"__all__": {*_SCORE, *_CONTRIBUTIONS}},
    "events": {"__all__": {*_EVENT, *_CONTRIBUTIONS, *_DESCRIPTION}},
}


def row(uri: str, video_id: str, state: str, error: str | None = None, report: Report | None = None) -> Row:
    """One video's row; without a report, the columns of the report are null."""
    result: Row = dict.fromkeys(SCHEMA.names)
    if report is not None:
        result |= report.model_dump(include=_INCLUDED)
    return {**result, "uri": uri, "video_id": video_id, "state": state, "error": error}


def save_parquet(path: Path, rows: Iterable[Row]) -> None:
    """Write rows to a parquet file, a few at a time. Raises OutputError."""

    def write(partial: Path) -> None:
        with pq.ParquetWriter(partial, SCHEMA) as f:
            for table in tables(rows):
                f.write_table(table)

    write_file(path, write)


def tables(rows: Iterable[Row], size: int = ROWS_IN_GROUP) -> Iterator[pa.Table]:
    """Rows as tables of up to `size` rows."""
    remaining = iter(rows)
    while group := list(islice(remaining, size)):
        yield pa.Table.from_pylist(group, schema=SCHEMA)
