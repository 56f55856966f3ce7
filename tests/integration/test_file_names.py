"""File names of every kind through the real commands: each video is scored or named, and nothing raw is printed."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest

from conftest import ROOT, headhunt, write_video
from headhunt_svc.data.datasets import load_records, save_index, save_labels
from headhunt_svc.data.footage import scan_footage
from headhunt_svc.names import file_name, unescape
from headhunt_svc.params import DatasetParams
from headhunt_svc.storage.store import Store
from headhunt_svc.storage.tables import read_table

BUNDLE = ROOT / "artifacts" / "detector"
NAMES = {  # file name: id
    b"k\xfcche.mp4": "k%FCche.mp4",
    b"[red]q[bold].mp4": "[red]q[bold].mp4",
    b"[/red].mp4": "[/red].mp4",
    b"\x1b[31mq.mp4": "%1B[31mq.mp4",
    "\x9b2J\u202egpj.mp4".encode(): "%C2%9B2J%E2%80%AEgpj.mp4",
    b"new\nline.mp4": "new%0Aline.mp4",
    b"...mp4": "...mp4",
    b"-x.mp4": "-x.mp4",
    b"a%20b.mp4": "a%2520b.mp4",
    b"$\\frac$ $x_$.mp4": "$\\frac$ $x_$.mp4",
    b"<script>'\"&.MP4": "<script>'\"&.MP4",
    b"v" * 251 + b".mp4": "v" * 251 + ".mp4",
    b"\xff" * 251 + b".mp4": "%FF" * 251 + ".mp4",
    b"a/x.mp4": "a/x.mp4",
    b"b/x.mp4": "b/x.mp4",
    b"\xfc/[bold]/x.mp4": "%FC/[bold]/x.mp4",
}
BAD = {b"bad\xff\x1b[2J[red].mp4": "bad%FF%1B[2J[red].mp4", b"bad\n$(true).mp4": "bad%0A$(true).mp4"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("names")
    video = write_video(root / "one.mp4", 20)
    for name in NAMES:
        path = root / "odd" / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(video, path)
    for name in BAD:
        (root / "odd" / os.fsdecode(name)).write_bytes(b"no video")
    return root / "odd"


def check_printed(done: subprocess.CompletedProcess[str]) -> None:
    """Text of lines, without anything that steers a terminal."""
    for text in (done.stdout, done.stderr):
        assert not [c for c in text if (c < " " and c != "\n") or "\x7f" <= c <= "\x9f" or c == "\u202e"]


def logged(log: Path) -> list[pa.Table]:
    return [read_table(log / name) for name in Store(str(log)).glob("day=*/*/*.parquet")]


def errors_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if ": not a video" in line]


def test_detect_scores_and_names_every_video(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADHUNT_PREDICTION_LOG", str(tmp_path / "log"))
    out = tmp_path / "out"
    done = headhunt("detect", folder, "--out", out, "--plot")
    check_printed(done)
    assert done.returncode == 3, done.stderr
    titles = [line.rpartition("  20 frames")[0] for line in done.stdout.splitlines() if "  20 frames" in line]
    assert sorted(titles) == sorted(NAMES.values())
    assert sorted(errors_of(done)) == sorted(
        line for line in errors_of(done) if any(f"/odd/{name}: not a video" in line for name in BAD.values())
    )
    assert len(errors_of(done)) == len(BAD)
    assert f"{len(BAD)} of {len(NAMES) + len(BAD)} videos failed" in done.stderr
    reports = {json.loads(path.read_text())["video_id"]: path for path in out.rglob("*.json")}
    assert reports.keys() == set(NAMES.values())
    for video_id, path in reports.items():
        assert path == out / f"{file_name(video_id)}.json"
        assert path.with_suffix(".png").stat().st_size > 1000
    rows = [
        r
        for n in Store(str(tmp_path / "log")).glob("day=*/*/*.parquet")
        for r in read_table(tmp_path / "log" / n).to_pylist()
    ]
    cameras = {row["video"]: row["camera"] for row in rows}
    assert cameras == {i: i.rpartition("/")[0] or "odd" for i in NAMES.values()}
    assert {os.fsencode(unescape(video_id)) for video_id in cameras} == NAMES.keys()


def test_detect_takes_names_one_by_one(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADHUNT_PREDICTION_LOG", str(tmp_path / "log"))
    names = [b"k\xfcche.mp4", b"-x.mp4", b"a/x.mp4", b"b/x.mp4", b"\xfc/[bold]/x.mp4", b"gone\x1b[2J.mp4", b"w" * 300]
    done = headhunt("detect", "--json", "--bundle", BUNDLE, "--", *map(os.fsdecode, names), cwd=folder)
    check_printed(done)
    assert done.returncode == 3
    ids = [json.loads(line)["video_id"] for line in done.stdout.splitlines()]
    assert ids == ["k%FCche.mp4", "-x.mp4", "a/x.mp4", "b/x.mp4", "[bold]/x.mp4"]
    assert "error: gone%1B[2J.mp4: no such file\n" in done.stderr
    assert f"error: {'w' * 300}: cannot be opened (File name too long)\n" in done.stderr
    cameras = {name for table in logged(tmp_path / "log") for name in table["camera"].to_pylist()}
    assert cameras == {"odd", "a", "b", "[bold]"}


def test_the_folder_is_the_camera_unless_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADHUNT_PREDICTION_LOG", str(tmp_path / "log"))
    write_video(tmp_path / "yardonly" / "x.mp4", 20)
    for more in ([], ["--camera", "gate [red]\x1b[31m"]):
        done = headhunt("detect", f"{tmp_path}/yardonly/", *more)
        assert done.returncode == 0, done.stderr
    assert sorted(table["camera"][0].as_py() for table in logged(tmp_path / "log")) == ["gate [red]%1B[31m", "yardonly"]
    monitored = headhunt("monitor", "run", "--out", tmp_path / "v", "--workspace", tmp_path / "w")
    check_printed(monitored)
    assert "gate [red]%1B[31m" in monitored.stdout


def test_batch_writes_a_row_for_every_video(folder: Path, tmp_path: Path) -> None:
    for n_kept in (0, len(NAMES)):
        done = headhunt("batch", folder, "--out", tmp_path / "out")
        check_printed(done)
        assert done.returncode == 3, done.stderr
        assert f"{len(NAMES) + 2} videos, {len(BAD)} failed, {n_kept} were there before" in done.stderr
    rows = [row for path in (tmp_path / "out" / "rows").iterdir() for row in read_table(path).to_pylist()]
    assert {row["video_id"]: row["state"] for row in rows} == (
        dict.fromkeys(NAMES.values(), "succeeded") | dict.fromkeys(BAD.values(), "failed")
    )
    assert all("not a video" in row["error"] for row in rows if row["state"] == "failed")


def test_folders_of_labelled_videos_are_indexed_under_the_same_ids(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "normal").symlink_to(folder)
    footage = scan_footage(DatasetParams.model_validate({"root": tmp_path, "layout": "folders"}))
    assert {r.video_id for r in footage.records} == {f"normal/{i}" for i in NAMES.values()}
    assert {f.video for f in footage.findings} == {f"normal/{i}" for i in BAD.values()}
    save_index(tmp_path / "index.parquet", footage.records)
    save_labels(tmp_path / "labels.parquet", footage.records)
    assert load_records(tmp_path / "index.parquet", tmp_path / "labels.parquet") == list(footage.records)


def test_a_recording_without_its_index_is_told_to_be_interrupted(tmp_path: Path) -> None:
    data = write_video(tmp_path / "whole.mp4", 20).read_bytes()
    assert data.index(b"moov") > data.index(b"mdat")
    (tmp_path / "cut.mp4").write_bytes(data[: data.index(b"moov") - 4])
    done = headhunt("detect", tmp_path / "cut.mp4")
    assert done.returncode == 3
    assert "cut.mp4: the recording was probably interrupted before its index (moov) was written" in done.stderr
