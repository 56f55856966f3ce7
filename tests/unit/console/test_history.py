"""Verdicts as the charts need them."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from headhunt_svc.console.charts import ratios
from headhunt_svc.console.drift import grid
from headhunt_svc.console.history import History
from headhunt_svc.console.words import ALL_SIGNALS
from helpers.consoles import STOP, camera_verdict, write_verdict


def _runs(chart: str, name: str) -> int:
    """How many stretches of bars of this kind a chart has."""
    return sum(part.count("M") for part in chart.split("<path") if f'class="{name}"' in part)


def history_of(folder: Path) -> History:
    history = History(folder / "monitor" / "verdicts")
    history.refresh()
    return history


def test_only_the_last_30_days_are_kept(tmp_path: Path) -> None:
    for days in range(40):
        write_verdict(tmp_path, STOP - timedelta(days=days), [camera_verdict("yard")], latest=days == 0)
    history = history_of(tmp_path)
    assert len(history.windows) == 31
    assert [window.stop for window in history.windows] == sorted(window.stop for window in history.windows)


def test_what_is_written_again_is_read_again_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for days in range(3):
        write_verdict(tmp_path, STOP - timedelta(days=days), [camera_verdict("yard")], latest=days == 0)
    history = history_of(tmp_path)
    version, read = history.version, []
    original = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path) or original(path))
    history.refresh()
    assert (read, history.version) == ([], version)
    write_verdict(tmp_path, STOP - timedelta(days=1), [camera_verdict("yard", "view", view=2.0)])
    history.refresh()
    assert [path.parent.name for path in read] == [f"{STOP - timedelta(days=1):%Y%m%dT%H%M%S}"]
    assert history.windows[1].cameras["yard"].kind == "view"


def test_a_damaged_verdict_is_named_and_the_others_are_shown(tmp_path: Path) -> None:
    for days in range(2):
        write_verdict(tmp_path, STOP - timedelta(days=days), [camera_verdict("yard")], latest=days == 0)
    broken = tmp_path / "monitor" / "verdicts" / f"{STOP:%Y%m%dT%H%M%S}" / "verdict.json"
    broken.write_text("{}")
    history = history_of(tmp_path)
    assert len(history.windows) == 1
    assert [str(broken) in problem for problem in history.problems] == [True]
    write_verdict(tmp_path, STOP, [camera_verdict("yard")])
    os.utime(broken)
    history.refresh()
    assert (len(history.windows), history.problems) == (2, ())


def test_rows_are_sorted_worst_first_and_bars_keep_the_highest_value(tmp_path: Path) -> None:
    hours = 24 * 14
    for hour in range(hours):
        verdicts = [
            camera_verdict("a"),
            camera_verdict("b", "view", view=3.0) if hour == hours - 1 else camera_verdict("b"),
            camera_verdict("c", "lighting", brightness=1.5, view=1.2)
            if hour in (100, hours - 1)
            else camera_verdict("c"),
        ]
        write_verdict(tmp_path, STOP - timedelta(hours=hours - 1 - hour), verdicts, latest=hour == hours - 1)
    charts = grid(history_of(tmp_path), timedelta(days=14), "UTC")
    assert charts is not None
    assert [(row.name, row.kind, row.ratio) for row in charts.rows] == [
        ("b", "view", pytest.approx(3.0)), ("c", "lighting", pytest.approx(1.5)), ("a", None, pytest.approx(0.3))
    ]  # fmt: skip
    light = charts.rows[1].cells[ALL_SIGNALS.index("brightness")].chart
    assert (_runs(light, "over"), _runs(light, "under")) == (
        2,
        2,
    )  # beyond its limit twice: within the fourteen days, and now
    assert charts.n_drifting == 2


def test_nothing_is_drawn_where_nothing_was_measured() -> None:
    columns = [(0.0, 0.1), (0.1, 0.2), (0.5, 0.6)]
    nan = float("nan")
    empty = ratios(columns, [nan, nan, nan], "x")
    assert "under" not in empty
    assert "over" not in empty
    drawn = ratios(columns, [0.5, 0.5, 0.5], "x")
    (path,) = [part for part in drawn.split("<path") if "under" in part]
    assert path.count("M") == 2  # one run of two bars, and a gap before the third
    assert 'd="M0 15h92"' in drawn  # the line at 1


def test_labels_of_charts_are_text() -> None:
    assert "<script>" not in ratios([], [], "<script>\"'")
