import json
from pathlib import Path

import pyarrow.parquet as pq

from headhunt_svc.detector.report import Lineage, Report, ReportEvent, ReportGap, SegmentScore
from headhunt_svc.jobs.rows import SCHEMA, row, save_parquet

REPORT = Report(
    detector_id="d",
    code="c",
    lineage=Lineage(mllm="m", mllm_revision="r", prompt="p", heads=((1, 2),), bias=0.5, data_sha256="s"),
    video_id="v",
    fps=10,
    n_frames=20,
    duration_s=2,
    operating_point="f1",
    sigma_segments=1,
    threshold=0.5,
    smoothing="offline",
    scores=(SegmentScore(index=0, start_frame=0, stop_frame=20, start_s=0, stop_s=2, raw=0.9, smoothed=0.8),),
    events=(ReportEvent(start_frame=0, stop_frame=20, start_s=0, stop_s=2, peak=0.8, peak_s=1, contributions=(1.5,)),),
    gaps=(ReportGap(time_s=None, packets=2, reason="broken"),),
    repaired_times=0,
)


def test_parquet_and_json_lines_are_the_same_rows(tmp_path: Path) -> None:
    rows = [row("a.mp4", "a", "succeeded", None, REPORT), row("b.mp4", "b", "failed", "VideoOpenError: empty")] * 50
    save_parquet(tmp_path / "r.parquet", rows)
    assert pq.read_table(tmp_path / "r.parquet").to_pylist() == [json.loads(json.dumps(r)) for r in rows]


def test_a_video_that_failed_has_no_scores_rather_than_invented_ones() -> None:
    failed = row("b.mp4", "b", "failed", "VideoOpenError: empty")
    assert list(failed) == SCHEMA.names
    assert {k for k, v in failed.items() if v is not None} == {"uri", "video_id", "state", "error"}
