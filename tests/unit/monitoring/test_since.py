"""Since when an alarm goes on: from the first bad block, kept while the same alarm goes on, also through silence."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from conftest import ROOT
from headhunt_svc.monitoring.alarms import alarms_of
from headhunt_svc.monitoring.baselines import Baselines
from headhunt_svc.monitoring.config import load_drift
from headhunt_svc.monitoring.heading import with_heading
from headhunt_svc.monitoring.run import Monitor, Paths, rebaseline
from headhunt_svc.monitoring.silence import Expected
from headhunt_svc.monitoring.since import dated
from headhunt_svc.monitoring.verdicts import CameraVerdict
from headhunt_svc.prediction_log.last_rows import last_row
from headhunt_svc.storage.store import Store
from helpers.log_rows import START, rows, write

PARAMS = load_drift(ROOT / "monitoring" / "drift.yaml").model_copy(update={"draws": 10})
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
DARK = {"brightness": np.full(16, 0.2)}


def log_day(log: str, number: int, camera: str = "yard", bad_from: int = 24, hours: range = range(24)) -> None:
    """A block of rows at every hour of a day; those from an hour on are dark."""
    tables = []
    for hour in hours:
        columns = DARK if hour >= bad_from else {}
        start, seed = START + number * DAY + hour * HOUR, 100 * number + hour
        tables.append(rows(16, camera, f"{number}-{hour}.mp4", start, seed, **columns))
    write(log, *tables)


def places_in(folder: Path) -> Paths:
    return Paths(str(folder / "log"), folder / "b", folder / "none", folder / "out", folder / "workspace")


@pytest.fixture
def places(tmp_path: Path) -> Paths:
    """A log with a day that is the baseline of its camera."""
    places = places_in(tmp_path)
    log_day(places.log, 0)
    query = PARAMS.query(START, START + DAY)
    rebaseline(places.log, Baselines(places.baselines), "yard", query, PARAMS.min_segments, "")
    return places


@pytest.mark.parametrize("hour", [0, 7, 18])
def test_everything_says_the_hour_at_which_it_got_dark(places: Paths, hour: int) -> None:
    log_day(places.log, 1, bad_from=hour)
    verdict = Monitor(places, PARAMS, pages=False).run(START + 2 * DAY)
    since = START + DAY + hour * HOUR
    yard = verdict.cameras["yard"]
    assert (yard.kind, yard.since) == ("lighting", since)
    written = json.loads((places.out / "verdict.json").read_text())["cameras"]["yard"]
    assert datetime.fromisoformat(written["since"]) == since
    assert f"--camera yard --from {since:%Y-%m-%dT%H:%M:%S}" in written["remedy"]
    page = with_heading("<html><head></head><body></body></html>", verdict, 0)
    assert f"<td>{since:%Y-%m-%d %H:%M}</td>" in page
    assert f"since {since:%Y-%m-%d %H:%M} (brightness" in verdict.alarms[0]
    assert [alarm.began for alarm in alarms_of(verdict)] == [since]
    labels = {"camera": "yard", "kind": "lighting"}
    assert REGISTRY.get_sample_value("headhunt_monitor_alarm_since_seconds", labels) == since.timestamp()


def test_an_alarm_that_goes_on_keeps_its_beginning_and_a_new_one_has_its_own(places: Paths) -> None:
    log_day(places.log, 1, bad_from=12)
    log_day(places.log, 2, bad_from=0)
    log_day(places.log, 3)
    log_day(places.log, 4, bad_from=12)
    monitor = Monitor(places, PARAMS, pages=False)
    since = [monitor.run(START + day * DAY).cameras["yard"].since for day in (2, 3, 4, 5)]
    assert since == [START + DAY + 12 * HOUR, START + DAY + 12 * HOUR, None, START + 4 * DAY + 12 * HOUR]


def test_a_camera_that_falls_silent_says_since_its_last_row_and_its_drift_goes_on_behind_it(places: Paths) -> None:
    log_day(places.log, 1, bad_from=10)
    log_day(places.log, 3, bad_from=0)
    monitor = Monitor(places, PARAMS, pages=False)
    dark, silent, again = (monitor.run(START + day * DAY).cameras["yard"] for day in (2, 3, 4))
    assert (dark.kind, dark.since) == ("lighting", START + DAY + 10 * HOUR)
    last = START + DAY + 23 * HOUR + timedelta(seconds=1.6 * 15)
    assert (silent.status, silent.kind, silent.since) == ("silent", "pipeline", last)
    assert silent.waiting == {"lighting": dark.since}
    assert "no segment since 2026-03-02 23:00:24 UTC" in silent.why
    assert (again.kind, again.since, again.waiting) == ("lighting", dark.since, {})


def run_expecting(places: Paths, expected: Mapping[str, Expected], stop: datetime) -> dict[str, CameraVerdict]:
    return Monitor(places, PARAMS, pages=False, expected=lambda: expected).run(stop).cameras


def test_a_camera_is_silent_once_its_last_row_is_older_than_expected(places: Paths) -> None:
    log_day(places.log, 1, hours=range(20))
    last = START + DAY + 19 * HOUR + timedelta(seconds=1.6 * 15)
    for every, is_silent in ((timedelta(seconds=60), True), (5 * HOUR, False), (4 * HOUR, True)):
        yard = run_expecting(places, {"yard": Expected(every)}, START + 2 * DAY)["yard"]
        assert (yard.status, yard.kind) == (("silent", "pipeline") if is_silent else ("fine", None)), every
        if is_silent:
            assert yard.since == last
            assert f"one is expected every {every.total_seconds():g} s" in yard.why
            assert yard.segments == 320
            assert "headhunt cameras check --camera yard" in str(yard.remedy)


def test_a_camera_that_is_expected_to_be_quiet_is_no_alarm(places: Paths) -> None:
    minute = timedelta(minutes=1)
    off = run_expecting(places, {"yard": Expected(minute, lambda _: False)}, START + 5 * DAY)["yard"]
    assert (off.status, off.kind) == ("no data", None)
    assert off.why == "no segment of this detector in the window; none was expected"
    seldom = run_expecting(places, {"yard": Expected(7 * DAY)}, START + 5 * DAY)["yard"]
    assert (seldom.status, seldom.kind) == ("no data", None)
    last = START + 23 * HOUR + timedelta(seconds=1.6 * 15)
    # hours of a working day: what it was silent outside of them does not count
    by_day = Expected(12 * HOUR, lambda time: 8 <= time.hour < 18)
    assert not by_day.is_overdue(last, START + 2 * DAY)  # 10 hours of one day
    assert by_day.is_overdue(last, START + 3 * DAY)


def test_a_configured_camera_without_rows_and_baseline_stays_in_the_table(places: Paths) -> None:
    log_day(places.log, 1)
    minute = timedelta(minutes=1)
    expected = {"never": Expected(minute), "night": Expected(minute, lambda _: False), "yard": Expected(DAY)}
    cameras = run_expecting(places, expected, START + 2 * DAY)
    assert list(cameras) == ["never", "night", "yard"]
    assert (cameras["never"].status, cameras["never"].since) == ("silent", START + DAY)
    assert cameras["never"].why == (
        "no segment of this detector in the log, one is expected every 60 s; it has no baseline"
    )
    assert (cameras["night"].status, cameras["night"].kind) == ("no data", None)
    assert cameras["night"].why == "no segment of this detector in the window, and no baseline; none was expected"


def test_the_last_row_is_that_of_the_camera_and_detector_before_a_time(places: Paths) -> None:
    log_day(places.log, 2, camera="yard [2]*", hours=range(3))
    store = Store(places.log)
    assert last_row(store, "yard [2]*", START + 9 * DAY) == START + 2 * DAY + 2 * HOUR + timedelta(seconds=24)
    assert last_row(store, "yard [2]*", START + 2 * DAY + HOUR) == START + 2 * DAY + timedelta(seconds=24)
    assert last_row(store, "yard [2]*", START + 9 * DAY, "f" * 12) is None
    assert last_row(store, "yard [2]*", START) is None
    assert last_row(store, "yard", START + 9 * DAY, "a" * 12) == START + 23 * HOUR + timedelta(seconds=24)


STATES = st.sampled_from([("fine", None), ("drift", "view"), ("drift", "lighting"), ("silent", "pipeline"),
                          ("no data", None), ("not enough data", None)])  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(STATES, min_size=1, max_size=12))
def test_an_alarm_begins_where_it_was_seen_first_and_ends_where_the_camera_was_seen_well(
    states: list[tuple[str, str | None]],
) -> None:
    """The same as AlarmBook does with its open alarms, so that messages and verdicts name the same beginning."""
    open_alarms: dict[str, datetime] = {}
    earlier: CameraVerdict | None = None
    for day, (status, kind) in enumerate(states):
        since = datetime(2026, 3, 1, tzinfo=UTC) + day * DAY
        segments = 0 if status in ("silent", "no data") else 50
        verdict = CameraVerdict("yard", status, segments=segments, kind=kind, since=since if kind else None)  # type: ignore[arg-type]
        result = dated(verdict, earlier)
        open_alarms = {a: s for a, s in open_alarms.items() if a == verdict.alarm or not verdict.can_tell(a)}
        if verdict.alarm is not None:
            open_alarms.setdefault(verdict.alarm, since)
            assert result.since == open_alarms[verdict.alarm]
        else:
            assert result.since is None
        shown = {**result.waiting, **({result.alarm: result.since} if result.alarm else {})}
        assert shown == open_alarms
        earlier = result
