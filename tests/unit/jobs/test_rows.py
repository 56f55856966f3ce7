import json
from pathlib import Path

import pyarrow.parquet as pq

from headhunt_svc.jobs.rows import SCHEMA, row, save_parquet
from helpers.reports import REPORT


def test_parquet_and_json_lines_are_the_same_rows(tmp_path: Path) -> None:
    rows = [row("a.mp4", "a", "succeeded", None, REPORT), row("b.mp4", "b", "failed", "VideoOpenError: empty")] * 50
    save_parquet(tmp_path / "r.parquet", rows)
    assert pq.read_table(tmp_path / "r.parquet").to_pylist() == [json.loads(json.dumps(r)) for r in rows]


def test_a_video_that_failed_has_no_scores_rather_than_invented_ones() -> None:
    failed = row("b.mp4", "b", "failed", "VideoOpenError: empty")
    assert list(failed) == SCHEMA.names
    assert {k for k, v in failed.items() if v is not None} == {"uri", "video_id", "state", "error"}
