"""Metrics of several processes of one service."""

import os
from pathlib import Path

import psutil
import pytest

from headhunt_svc.serve.metrics import forget_dead_processes

DEAD = 999_999_999  # more than a process id can be


def test_workers_that_start_together_forget_the_same_dead_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another removes one of their files first; what a process says about now goes, what it has counted stays."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    dead = [f"gauge_{mode}_{pid}.db" for pid in (DEAD, DEAD + 1) for mode in ("liveall", "livemin", "livesum")]
    stay = [f"counter_{DEAD}.db", f"gauge_max_{DEAD}.db", f"histogram_{DEAD}.db", f"gauge_livesum_{os.getpid()}.db"]
    for name in (*dead, *stay):
        (tmp_path / name).touch()
    remove, unlink = os.remove, Path.unlink
    others: list[Path] = [tmp_path / dead[1], tmp_path / dead[3]]

    def remove_late(path: str) -> None:
        unlink_late(Path(path), missing_ok=False)

    def unlink_late(path: Path, missing_ok: bool = False) -> None:
        if path in others:
            remove(path)
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(os, "remove", remove_late)
    monkeypatch.setattr(Path, "unlink", unlink_late)
    assert not any(map(psutil.pid_exists, (DEAD, DEAD + 1)))
    forget_dead_processes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(stay)
