"""What this process may use of the machine: memory and cores, or those of its container if that is less."""

import os
from collections.abc import Iterator
from pathlib import Path

import psutil

_CGROUP, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def _groups(controller: str, cgroup: Path, own: Path) -> Iterator[Path]:
    """The folders of the control groups that limit this process, of versions 2 and 1, each with those above it."""
    names = [line.split(":", 2) for line in own.read_text().splitlines()] if own.is_file() else []
    for _, controllers, name in names:
        if controllers and controller not in controllers.split(","):
            continue
        top = cgroup / (controllers if controllers and (cgroup / controllers).is_dir() else controller)
        root = top if controllers else cgroup
        group = root / name.strip("/")
        for folder in (group, *group.parents):
            yield folder
            if folder == root:
                break


def _number(file: Path) -> int | None:
    """The number in a file of a control group; None where there is no limit."""
    text = file.read_text().strip() if file.is_file() else ""
    return int(text) if text.isdigit() else None


def available_mib(cgroup: Path = _CGROUP, own: Path = _OWN) -> int:
    """The memory of the machine, or of the container if that is less."""
    sizes = [int(psutil.virtual_memory().total)]
    for folder in _groups("memory", cgroup, own):
        limits = (_number(folder / name) for name in ("memory.max", "memory.limit_in_bytes"))
        sizes += [limit for limit in limits if limit is not None]
    return min(sizes) // 2**20


def usable_cores(cgroup: Path = _CGROUP, own: Path = _OWN) -> int:
    """The cores that this process may run on, or the processor time that its container gets, in whole cores."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux
    cores = float(len(affinity(0)) if affinity else os.cpu_count() or 1)
    for folder in _groups("cpu", cgroup, own):
        parts = (folder / "cpu.max").read_text().split() if (folder / "cpu.max").is_file() else []
        quota = int(parts[0]) if len(parts) == 2 and parts[0].isdigit() else _number(folder / "cpu.cfs_quota_us")
        period = int(parts[1]) if len(parts) == 2 else _number(folder / "cpu.cfs_period_us")
        if quota and period:
            cores = min(cores, quota / period)
    return max(int(cores), 1)
