"""A monitor that goes on may be started before anything was scored."""

from pathlib import Path

import pytest

from headhunt_svc.cli import monitor
from helpers.log_rows import rows, write


def test_it_waits_for_the_first_rows_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            write(str(tmp_path / "log"), rows(4))

    monkeypatch.setattr("headhunt_svc.cli.monitor.time.sleep", sleep)
    monitor._wait_for_rows(str(tmp_path / "log"), 5)
    assert waits == [300, 300]
    assert "holds no rows" in capsys.readouterr().err
