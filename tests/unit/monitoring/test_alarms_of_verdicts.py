from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headhunt_svc.errors import ArtifactError
from headhunt_svc.events.database import connect
from headhunt_svc.monitoring.alarms import GONE, alarms_of, closing, source_of, unknown_in
from headhunt_svc.monitoring.verdicts import FLEET, CameraVerdict, SignalResult, Verdict
from headhunt_svc.notify.alarms import AlarmBook
from headhunt_svc.notify.messages import MessageKind
from headhunt_svc.notify.outbox import Outbox
from headhunt_svc.settings import EventSettings, NotifySettings

STOP = datetime(2026, 3, 2, tzinfo=UTC)
START = STOP - timedelta(days=1)


def camera(name: str, status: str, kind: str | None = None, segments: int = 0) -> CameraVerdict:
    return CameraVerdict(name, status, kind=kind, since=START if kind else None, segments=segments)


def verdict(*cameras: CameraVerdict, others: tuple[str, ...] = ()) -> Verdict:
    return Verdict(START, STOP, "d", {c.camera: c for c in cameras}, {}, {}, other_detectors=others)


def test_drift_of_all_cameras_covers_that_of_single_ones() -> None:
    alarms = alarms_of(
        verdict(camera("a", "drift", "model"), camera("b", "drift", "view"), camera(FLEET, "drift", "model"))
    )
    assert {(alarm.key, alarm.camera, alarm.is_covered) for alarm in alarms} == {
        ("model/a", "a", True), ("view/b", "b", False), (f"model/{FLEET}", None, False)
    }  # fmt: skip


def test_one_silent_camera_is_an_alarm_of_its_own_and_all_of_them_one_together() -> None:
    silent, fine = camera("a", "silent", "pipeline"), camera("b", "fine", segments=100)
    (one,) = alarms_of(verdict(silent, fine))
    assert (one.key, one.kind, one.is_covered) == ("silence/a", MessageKind.SILENCE, False)
    last = replace(camera("c", "silent", "pipeline"), since=START + timedelta(hours=2))
    together, *covered = alarms_of(verdict(silent, last, camera("unexpected", "no data")))
    assert (together.key, together.kind, [alarm.is_covered for alarm in covered]) == (
        "log",
        MessageKind.LOG,
        [True] * 2,
    )
    assert together.began == last.since  # until then there were rows
    assert "no rows of any of 2 cameras" in together.text
    other, covered = alarms_of(verdict(silent, others=("d2",)))
    assert (other.key, covered.is_covered) == ("detector", True)
    assert "detector d2, not d" in other.text


def test_an_alarm_ends_when_its_camera_is_known_to_be_well() -> None:
    cameras = (
        camera("fine", "fine", segments=9),
        camera("few", "not enough data", segments=2),
        camera("none", "no data"),
    )
    is_unknown = unknown_in(verdict(*cameras))
    assert [name for name in ("fine", "few", "none", "gone") if is_unknown(f"view/{name}")] == ["few", "none", "gone"]
    assert [name for name in ("fine", "few", "none", "gone") if is_unknown(f"silence/{name}")] == ["none", "gone"]
    assert unknown_in(verdict(camera("dumb", "silent", "pipeline")))("view/dumb")
    assert not is_unknown("log")
    assert unknown_in(verdict())("log")  # no camera at all: nothing is known


def test_an_alarm_ends_where_its_camera_is_no_longer_there() -> None:
    here = replace(verdict(camera("fine", "fine", segments=9)), known=("fine", "unused"), once_known=("gone", FLEET))
    keys = ["view/fine", "view/unused", "view/gone", f"view/{FLEET}", "log"]
    assert [unknown_in(here)(key) for key in keys] == [False, True, False, True, False]
    assert [closing(here)(key) for key in keys] == [None, None, GONE, None, None]
    alone = replace(here, known=("fine",))
    assert closing(alone)(f"view/{FLEET}") == GONE
    assert closing(replace(alone, expected=("gone",)))("view/gone") is None  # by a run without cameras.yaml
    nothing = replace(verdict(), known=(), once_known=("gone",))  # log and baselines may be out of reach
    assert [(unknown_in(nothing)(key), closing(nothing)(key)) for key in keys] == [(True, None)] * 5


def test_the_alarm_of_a_camera_that_this_monitor_never_knew_stays() -> None:
    """It may be of another monitor with the same database of events."""
    other = replace(verdict(camera("b1", "fine", segments=9)), known=("b1",))
    for key in ("view/a1", "silence/a1", f"model/{FLEET}"):
        assert unknown_in(other)(key)
        assert closing(other)(key) is None


def test_the_text_of_an_alarm_names_what_moved_and_commands_with_the_cameras_name() -> None:
    over = {"brightness": SignalResult(2.0, 1.0, 0.1), "view": SignalResult(0.01, 0.1, 0.0)}
    dark = replace(camera("yard's two", "drift", "lighting", segments=9), signals=over)
    (alarm,) = alarms_of(verdict(dark))
    assert alarm.text.startswith("lighting: brightness 2.00 > 1.00: Look at the camera")
    assert """`headhunt events list --camera 'yard'"'"'s two'`""" in alarm.text
    command = """`headhunt monitor rebaseline --camera 'yard'"'"'s two' --from 2026-03-01T00:00:00 --why 'new light'`"""
    assert command in alarm.text
    assert alarm.text.endswith(str(dark.remedy))


def test_monitors_that_share_a_database_do_not_end_each_others_alarms_of_all_cameras(
    event_settings: EventSettings, tmp_path: Path
) -> None:
    silent = verdict(camera("a1", "silent", "pipeline"))
    fine = verdict(camera("b1", "fine", segments=9))
    engine = connect(event_settings)

    def book(folder: str) -> AlarmBook:
        return AlarmBook(engine, Outbox(engine, {}, NotifySettings()), source_of(tmp_path / folder), [])

    for folder, judged in (("a", silent), ("b", fine), ("a", silent)):
        book(folder).update(alarms_of(judged), STOP, STOP, unknown_in(judged), closing(judged))
    assert [alarm.key for alarm in book("a").open_alarms()] == ["log"]
    assert book("b").open_alarms() == []
    engine.dispose()


def test_the_id_of_a_monitor_stays_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    assert source_of(tmp_path) == source_of(tmp_path)
    (tmp_path / "monitor.id").write_text("no id")
    with pytest.raises(ArtifactError, match=r"monitor\.id is damaged: restore it; or delete it"):
        source_of(tmp_path)
