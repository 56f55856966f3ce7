"""Atomic writes with several writers, killed writers, full disks, and what is promised about a power failure."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from headhunt_svc.errors import ArtifactError, OutputError
from headhunt_svc.storage.files import check_writable, read_json, write_file, write_json, write_text
from helpers.threads import in_threads


def test_two_writers_of_one_file_leave_one_whole_file(tmp_path: Path) -> None:
    path, half_written = tmp_path / "a.txt", threading.Barrier(2)

    def write(i: int) -> None:
        def halves(partial: Path) -> None:
            with partial.open("w") as f:
                for _ in range(2):
                    f.write(f"{i}" * 1000)
                    f.flush()
                    half_written.wait(10)  # both have written as much before either goes on

        write_file(path, halves)

    assert in_threads(2, write) == []
    assert path.read_text() in ("0" * 2000, "1" * 2000)
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_reader_beside_many_writers_sees_whole_files_only(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, [0] * 1000)

    def act(i: int) -> None:
        for _ in range(40):
            if i:
                write_json(path, [i] * 1000)
            else:
                values = read_json(path, "nobody")
                assert len(values) == 1000
                assert len(set(values)) == 1

    assert in_threads(5, act) == []


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), ValueError()])
def test_whatever_stops_a_writer_the_old_file_stays_alone(tmp_path: Path, error: BaseException) -> None:
    write_text(tmp_path / "a.txt", "old")

    def stopped(partial: Path) -> None:
        partial.write_text("ne")
        raise error

    with pytest.raises(OutputError if isinstance(error, OSError) else type(error)):
        write_file(tmp_path / "a.txt", stopped)
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_the_longest_name_of_a_file_can_be_written(tmp_path: Path) -> None:
    write_text(tmp_path / ("n" * 255), "whole")
    assert (tmp_path / ("n" * 255)).read_text() == "whole"


def test_what_a_killed_writer_leaves_is_removed_and_nothing_of_others(tmp_path: Path) -> None:
    code = f"""
import time
from pathlib import Path
from headhunt_svc.storage.files import write_file
def write(partial):
    partial.write_text("half")
    print("half", flush=True)
    time.sleep(60)
write_file(Path({str(tmp_path / "a.txt")!r}), write)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "half\n"
        writer.send_signal(signal.SIGKILL)
    (leftover,) = tmp_path.iterdir()
    (young := tmp_path / ".headhunt-0123456789abcdef.part").touch()  # of a writer that may be alive
    (other := tmp_path / ".film.part").touch()
    for path in (leftover, other):
        os.utime(path, (time.time() - 7200,) * 2)
    subprocess.run(  # another process: a folder is looked through once by each
        [
            sys.executable,
            "-c",
            f"from pathlib import Path; from headhunt_svc.storage.files import write_text; "
            f"write_text(Path({str(tmp_path / 'a.txt')!r}), 'whole')",
        ],
        check=True,
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["a.txt", young.name, other.name])


def test_two_checks_at_once_whether_a_folder_can_be_written(tmp_path: Path) -> None:
    assert in_threads(4, lambda _: [check_writable(tmp_path / "out") for _ in range(50)]) == []
    assert [*(tmp_path / "out").iterdir()] == []


def test_a_durable_file_is_on_the_disk_before_it_has_its_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def spied_fsync(fd: int) -> None:
        steps.append(f"sync {Path(f'/proc/self/fd/{fd}').readlink().relative_to(tmp_path)}")
        fsync(fd)

    def spied_replace(self: Path, target: Path) -> Path:
        steps.append(f"rename {self.name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", spied_fsync)
    monkeypatch.setattr(Path, "replace", spied_replace)
    write_text(tmp_path / "a" / "b" / "x.txt", "1", durable=True)
    renamed = next(step for step in steps if step.startswith("rename")).removeprefix("rename ")
    assert sorted(steps[:2]) == ["sync .", "sync a"]  # the new folders' own names
    assert steps[2:] == [f"sync a/b/{renamed}", f"rename {renamed}", "sync a/b"]
    steps.clear()
    write_text(tmp_path / "a" / "b" / "x.txt", "2")
    assert len(steps) == 1  # the renaming


def test_a_disk_that_loses_what_is_synced_is_an_error_and_the_old_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "a.txt", "old")

    def failing(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OutputError, match=r"cannot write .*a\.txt \(Input/output error\)"):
        write_text(tmp_path / "a.txt", "new", durable=True)
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_line_with_a_checksum_is_read_only_as_it_was_written(tmp_path: Path) -> None:
    from headhunt_svc.storage.files import read_checked, write_checked

    path, text = tmp_path / "a.json", json.dumps({"x": 0.125, "name": "ä\n"})
    write_checked(path, text)
    content = path.read_bytes()
    assert read_checked(path, "again") == text
    end = content.index(b"\n")
    for n in range(len(content)):
        path.write_bytes(content[:n])
        if n == end + 1:  # the whole line, as before there were checksums
            assert read_checked(path, "again") == text
        else:
            with pytest.raises(ArtifactError, match="again"):
                read_checked(path, "again")
        path.write_bytes(content[:n] + bytes([content[n] ^ 1]) + content[n + 1 :])
        with pytest.raises(ArtifactError, match="again"):
            read_checked(path, "again")


def test_no_changed_byte_of_tensors_and_facts_goes_unnoticed(tmp_path: Path) -> None:
    from headhunt_svc.storage.tensors import load_tensors, save_tensors

    path, facts = tmp_path / "a.safetensors", {"key": "k", "times": [[0.1, 1 / 3]], "heads": [[0, 1]]}
    tensors = {"values": np.arange(6, dtype=np.float32).reshape(2, 3)[:, ::-1], "none": np.empty((0, 4))}
    save_tensors(path, tensors, facts)
    content = path.read_bytes()
    stored = load_tensors(path)
    assert stored[0] == facts
    assert all(np.array_equal(stored[1][name], tensors[name]) for name in tensors)
    start = content.index(b"{")
    for n in range(len(content)):
        path.write_bytes(content[:n])
        with pytest.raises(ArtifactError):
            load_tensors(path)
        path.write_bytes(content[:n] + bytes([content[n] ^ 1]) + content[n + 1 :])
        try:
            changed = load_tensors(path)
        except ArtifactError:
            continue
        assert start <= n, "a changed length"
        assert changed[0] == facts, content[n - 5 : n + 5]
        assert all(np.array_equal(changed[1][name], tensors[name]) for name in tensors), content[n - 5 : n + 5]
