"""The audit log: whole lines, whatever happens to the writer, the disk and the machine."""

import json
import logging
import os
from pathlib import Path

import pytest

from headhunt_svc.errors import OutputError
from headhunt_svc.storage.audit import audit, audited
from helpers.disks import full_after
from helpers.threads import in_threads


def test_half_a_line_is_reported_and_left_out_and_the_next_line_is_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "audit.jsonl"
    audit(path, what="first")
    with path.open("a") as f:
        f.write('{"time": "2026-03-01T00:0')
    with caplog.at_level(logging.WARNING):
        assert [line["what"] for line in audited(path)] == ["first"]
    assert f"{path}:2: this line is damaged" in caplog.text
    audit(path, what="second")
    assert [line["what"] for line in audited(path)] == ["first", "second"]


@pytest.mark.parametrize(
    "damage", [b"\xff\xfe\n", b"[]\n", b"7\n", b"\0" * 4096, b"\n", b"[" * 100_000, b'{"time": 3}\n']
)
def test_no_line_stops_the_others_from_being_read(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "audit.jsonl"
    audit(path, what="first")
    with path.open("ab") as f:
        f.write(damage)
    audit(path, what="second")
    assert [line["what"] for line in audited(path)] == ["first", "second"]


def test_a_full_disk_leaves_no_half_line(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    audit(path, what="first")
    with (
        full_after(path.stat().st_size + 10),
        pytest.raises(OutputError, match=r"cannot write .*audit\.jsonl \(File too large\)"),
    ):
        audit(path, what="second")
    assert [json.loads(line)["what"] for line in path.read_text().splitlines()] == ["first"]
    audit(path, what="third")
    assert [line["what"] for line in audited(path)] == ["first", "third"]


def test_lines_of_many_writers_are_all_there(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    assert in_threads(4, lambda i: [audit(path, what=f"{i} {j}", why="w" * 3000) for j in range(10)]) == []
    assert sorted(line["what"] for line in audited(path)) == sorted(f"{i} {j}" for i in range(4) for j in range(10))


def test_a_line_is_on_the_disk_before_the_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(Path(f"/proc/self/fd/{fd}").readlink().name))
    audit(tmp_path / "audit.jsonl", what="x")
    assert "audit.jsonl" in synced
