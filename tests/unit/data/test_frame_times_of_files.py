"""Labels in seconds where frames come at another rate than stated, and what `headhunt index` notes about files."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from conftest import write_video
from headhunt_svc.cli.pipeline import print_footage
from headhunt_svc.data.datasets import load_records, save_index, save_labels
from headhunt_svc.data.footage import Footage, scan_footage
from headhunt_svc.errors import DatasetError
from headhunt_svc.params import DatasetParams
from headhunt_svc.video.files import read_times

VARIABLE = [*range(0, 2000, 160), *range(2000, 4000, 50)]  # ms: 6.25 frames per second for 2 s, then 20


def annotate(root: Path, spans: dict[str, list[tuple[float, float]]], unit: str = "seconds") -> DatasetParams:
    """Annotations of videos below a root; without spans a video is normal."""
    rows = [
        {"video": v, "split": "test", "label": "fall" if s else "normal", "spans": s, "unit": unit}
        for v, s in spans.items()
    ]
    (root / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return DatasetParams(root=root, annotations=root / "a.jsonl")


def scan(root: Path, spans: dict[str, list[tuple[float, float]]], unit: str = "seconds") -> Footage:
    return scan_footage(annotate(root, spans, unit))


def write(path: Path, n: int, rate: int, step: int = 1, streams: int = 1) -> Path:
    """A video of n pictures, `step` ticks of the stated rate apart, a key frame every ten; no B-frames."""
    with av.open(str(path), "w") as container:
        outs = [container.add_stream("libx264", rate=rate) for _ in range(streams)]
        for out in outs:
            out.width, out.height, out.pix_fmt, out.gop_size = 64, 48, "yuv420p", 10
            out.codec_context.options = {"bf": "0"}
        for i in range(n):
            for out in outs:
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), i % 250, np.uint8), format="rgb24")
                frame.pts, frame.time_base = step * i, Fraction(1, rate)
                container.mux(out.encode(frame))
        for out in outs:
            container.mux(out.encode(None))
    return path


def copied_avi(folder: Path) -> Path:
    """An AVI file that states 60 pictures per second, every second of them an empty packet."""
    return write(folder / "copied.avi", 90, 60, step=2)


def variable(folder: Path) -> Path:
    return write_video(folder / "variable.mkv", len(VARIABLE), times=VARIABLE)


def two_streams(folder: Path) -> Path:
    return write(folder / "two.mp4", 20, 10, streams=2)


def with_hole(folder: Path) -> Path:
    times = [*range(0, 2000, 100), *range(92_000, 94_000, 100)]
    return write_video(folder / "hole.mkv", 40, times=times)


def cut_off(folder: Path) -> Path:
    """A file whose last third was not written."""
    whole = write(folder / "whole.mkv", 60, 10)
    content = whole.read_bytes()
    whole.unlink()
    (folder / "cut.mkv").write_bytes(content[: len(content) * 2 // 3])
    return folder / "cut.mkv"


def lossy(folder: Path) -> Path:
    """A transport stream without two packets in its middle."""
    whole = write(folder / "whole.ts", 60, 10)
    packets = whole.read_bytes()
    whole.unlink()
    middle = len(packets) // 188 // 2 * 188
    (folder / "lossy.ts").write_bytes(packets[:middle] + packets[middle + 2 * 188 :])
    return folder / "lossy.ts"


def set_back(folder: Path) -> Path:
    """Two recordings in one transport stream, the second with an earlier clock."""
    parts = []
    for start_s in (3000, 10):
        with av.open(str(folder / "part.ts"), "w") as container:
            out = container.add_stream("libx264", rate=10)
            out.width, out.height, out.pix_fmt = 64, 48, "yuv420p"
            out.codec_context.options = {"bf": "0"}
            for i in range(30):
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), i, np.uint8), format="rgb24")
                frame.pts, frame.time_base = 10 * start_s + i, Fraction(1, 10)
                container.mux(out.encode(frame))
            container.mux(out.encode(None))
        parts.append((folder / "part.ts").read_bytes())
    (folder / "part.ts").unlink()
    (folder / "set_back.ts").write_bytes(b"".join(parts))
    return folder / "set_back.ts"


def test_labels_in_seconds_are_of_the_frames_that_are_shown_then(tmp_path: Path) -> None:
    variable(tmp_path), copied_avi(tmp_path)
    footage = scan(tmp_path, {"variable.mkv": [(1.0, 1.25), (2.0, 3.0)], "copied.avi": [(1.0, 2.0)]})
    shown = [tuple(np.searchsorted(VARIABLE, [1000 * a, 1000 * b]).tolist()) for a, b in ((1.0, 1.25), (2.0, 3.0))]
    by_name = {r.video_id: r for r in footage.records}
    assert by_name["variable.mkv"].true_spans == tuple(shown)
    assert by_name["variable.mkv"].span_starts_s == (1.12, 2.0)
    assert (by_name["copied.avi"].n_frames, by_name["copied.avi"].true_spans) == (90, ((30, 60),))
    footage.check(allow_missing=False)


@pytest.mark.external_data
def test_labels_of_the_files_that_users_reported(external: Path) -> None:
    field = external / "field"
    footage = scan_footage(DatasetParams(root=field, annotations=field / "annotations.jsonl"))
    spans = {r.video_id: r.true_spans for r in footage.records}
    assert spans == {"vfr_seconds.mp4": ((17, 41),), "h264_copied_to.avi": ((50, 75),)}
    rates = {f.video: f.detail for f in footage.findings if f.status == "rate mismatch"}
    assert "25 frames per second, the file states 16.5" in rates["vfr_seconds.mp4"]
    assert "25 frames per second, the file states 50" in rates["h264_copied_to.avi"]


def test_the_index_keeps_times_only_where_frames_do_not_come_at_one_rate(tmp_path: Path) -> None:
    variable(tmp_path), write(tmp_path / "constant.mp4", 60, 10), write(tmp_path / "normal.mp4", 60, 10)
    spans: dict[str, list[tuple[float, float]]] = {"constant.mp4": [(1.0, 2.04)], "normal.mp4": []}
    constant = scan(tmp_path, spans).records
    index, labels = tmp_path / "index.parquet", tmp_path / "labels.parquet"
    save_index(index, constant)
    save_labels(labels, constant)
    assert list(pd.read_parquet(index).columns) == ["video_id", "path", "n_frames", "fps", "split"]
    assert list(pd.read_parquet(labels).columns) == ["video_id", "label", "true_spans"]
    assert load_records(index, labels) == list(constant)
    assert constant[0].true_spans == ((10, 20),)
    records = list(scan(tmp_path, spans | {"variable.mkv": [(2.0, 3.0)]}).records)
    save_index(index, records)
    save_labels(labels, records)
    assert load_records(index, labels) == records
    assert [r.span_starts_s for r in records] == [None, None, (2.0,)]


def test_a_stated_frame_rate_counts_instead_of_the_times(tmp_path: Path) -> None:
    variable(tmp_path)
    params = annotate(tmp_path, {"variable.mkv": [(1.0, 2.0)]}).model_copy(update={"fps": 10.0})
    (record,) = scan_footage(params).records
    assert (record.fps, record.true_spans, record.span_starts_s) == (10.0, ((10, 20),), None)


def test_a_span_past_the_end_is_told_by_time(tmp_path: Path) -> None:
    variable(tmp_path)  # 3 s are frame 33 of 53; at the 20 frames per second of its end there would be 2.65 s
    assert [f.status for f in scan(tmp_path, {"variable.mkv": [(3.0, 4.0)]}).findings] == ["rate mismatch"]
    (past,) = [f for f in scan(tmp_path, {"variable.mkv": [(3.0, 4.2)]}).findings if f.status != "rate mismatch"]
    assert past.status == "shorter"
    assert "a span from 3 s to 4.2 s, but the video ends at 4.000 s" in past.detail


@pytest.mark.parametrize(
    ("make", "status", "says"),
    [
        (copied_avi, "rate mismatch", "30 frames per second, the file states 60"),
        (variable, "rate mismatch", "19.7 frames per second, the file states 10"),
        (two_streams, "several streams", "video streams 0, 1; 0 is read"),
        (with_hole, "holes", "no picture for 90.00 s at 2.00 s"),
        (cut_off, "unfinished", "the file is shorter than its header states"),
        (lossy, "gaps", "lost pictures (data is missing in the recording) at 2."),
        (set_back, "clock jumps", "the clock jumps by -2993.00 s at 3.00 s"),
    ],
)
def test_index_notes_what_is_unusual_and_takes_the_video(
    tmp_path: Path, make: Callable[[Path], Path], status: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make(tmp_path)
    write(tmp_path / "plain.mp4", 20, 10)
    footage = scan(tmp_path, {path.name: [], "plain.mp4": []})
    notes = {f.status: f for f in footage.findings}
    assert says in notes[status].detail
    assert {f.video for f in footage.findings} == {path.name}
    footage.check(allow_missing=False)
    assert len(footage.records) == 2
    print_footage(footage)
    assert status in capsys.readouterr().err


def test_numbers_of_frames_behind_lost_pictures_are_refused(tmp_path: Path) -> None:
    path = lossy(tmp_path)
    (gap,) = read_times(path)[1].gaps
    assert gap.time_s is not None
    first = round(10 * gap.time_s)
    for spans, unit, fits in (
        ([(first - 5.0, float(first))], "frames", True),
        ([(first - 5.0, first + 5.0)], "frames", False),
        ([(0.0, 1.0), (first + 2.0, first + 5.0)], "frames", False),
        ([(gap.time_s - 0.5, gap.time_s + 2.0)], "seconds", True),
        ([], "frames", True),
    ):
        footage = scan(tmp_path, {path.name: spans}, unit)
        assert len(footage.records) == fits
        if not fits:
            with pytest.raises(DatasetError, match=r"lost at 2\.\d+ s, .*annotate it in seconds, or repair the file"):
                footage.check(allow_missing=False)


def test_seconds_behind_lost_pictures_and_holes_are_the_camera_s(tmp_path: Path) -> None:
    lossy(tmp_path), with_hole(tmp_path)
    footage = scan(tmp_path, {"lossy.ts": [(4.0, 5.0)], "hole.mkv": [(1.0, 92.5)]})
    for record in footage.records:
        times = read_times(record.path)[0].seconds
        start_s, stop_s = (4.0, 5.0) if record.video_id == "lossy.ts" else (1.0, 92.5)
        inside = np.flatnonzero((times >= start_s - 1e-6) & (times < stop_s - 1e-6))
        assert record.true_spans == ((inside[0], inside[-1] + 1),)
    (hole,) = [f for f in scan(tmp_path, {"hole.mkv": [(10.0, 20.0)]}).findings if f.status == "unfitting"]
    assert "no frame is shown from 10 s to 20 s" in hole.detail
