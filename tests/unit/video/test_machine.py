"""What a container may use of the machine, as its control groups say."""

import os
from pathlib import Path

import pytest

from headhunt_svc.video.machine import available_mib, usable_cores


@pytest.mark.parametrize(
    ("own", "limits", "mib"),
    [
        ("0::/pod/worker", {"pod/memory.max": 300, "pod/worker/memory.max": "max"}, 300),
        ("0::/", {"memory.max": 200}, 200),
        ("4:cpu:/x\n3:memory:/job", {"memory/job/memory.limit_in_bytes": 100}, 100),
    ],
)
def test_the_memory_of_a_container_counts(tmp_path, own, limits, mib) -> None:
    (tmp_path / "own").write_text(own + "\n")
    for name, size in limits.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{size * 2**20 if isinstance(size, int) else size}\n")
    assert available_mib(tmp_path, tmp_path / "own") == mib


def put(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text + "\n")


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/pod/worker", {"pod/cpu.max": "250000 100000", "pod/worker/cpu.max": "max 100000"}, 2),
        ("0::/pod", {"pod/cpu.max": "50000 100000"}, 1),
        ("0::/", {"cpu.max": "max 100000"}, 8),
        (
            "4:cpu,cpuacct:/job",
            {"cpu,cpuacct/job/cpu.cfs_quota_us": "300000", "cpu,cpuacct/job/cpu.cfs_period_us": "100000"},
            3,
        ),
        ("4:cpu:/job", {"cpu/job/cpu.cfs_quota_us": "-1", "cpu/job/cpu.cfs_period_us": "100000"}, 8),
        ("1:name=systemd:/job", {}, 8),
    ],
)
def test_the_cores_of_a_container_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, files: dict[str, str], cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    put(tmp_path, {"own": own, **files})
    assert usable_cores(tmp_path, tmp_path / "own") == cores
