"""The first page's rows: what is the case, the worst first, and what to do."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headhunt_svc.cameras.status import CameraState, save_state
from headhunt_svc.console import words
from headhunt_svc.console.desk import Desk
from headhunt_svc.monitoring.config import ALL_KINDS, Kind
from headhunt_svc.monitoring.verdicts import FLEET
from helpers.consoles import STOP, Client, camera_verdict, write_baselines, write_verdict
from helpers.events import new

NOW = STOP + timedelta(minutes=30)


def cameras_file(folder: Path, *names: str) -> None:
    lines = [f"  {name}: {{source: 'rtsp://10.0.0.1/{name}', time_zone: Asia/Tokyo}}" for name in names]
    (folder / "cameras.yaml").write_text("cameras:\n" + "\n".join(lines) + "\n")


def state(folder: Path, camera: str, **fields: object) -> None:
    save_state(folder / "states", CameraState.model_validate({"camera": camera, "written": NOW, **fields}))


def words_of(desk: Desk) -> dict[str, list[str]]:
    desk.history.refresh()
    return {row.name: [c.word for c in row.conditions] for row in desk.fleet.overview(NOW).rows}


def test_the_worst_comes_first(desk: Desk, tmp_path: Path) -> None:
    names = ["fine", "night", "silent", "never", "dark", "open"]
    cameras_file(tmp_path, *names)
    for name in ("fine", "dark", "open"):
        state(tmp_path, name, phase="receiving", last_picture=NOW, offered_s=100, scored_s=80)
    state(tmp_path, "night", phase="off")
    state(tmp_path, "silent", phase="receiving", last_picture=NOW - timedelta(minutes=5))
    write_baselines(tmp_path, names)
    verdicts = [camera_verdict(name) for name in names if name != "dark"]
    write_verdict(tmp_path, STOP, [*verdicts, camera_verdict("dark", "lighting", brightness=2.0)], latest=True)
    desk.events.add(new(camera="open", stop=None), merge_s=None)
    desk.events.add(new(camera="dark", key="closed"), merge_s=None)
    shown = words_of(desk)
    assert list(shown) == ["open", "never", "silent", "dark", "night", "fine"]
    assert shown == {
        "open": ["event"], "never": ["never watched"], "silent": ["silent"], "dark": ["lighting"], "night": ["off"],
        "fine": ["fine"],
    }  # fmt: skip
    (row,) = [row for row in desk.fleet.overview(NOW).rows if row.name == "fine"]
    assert row.coverage == 0.8
    assert row.last_picture is not None
    assert row.last_picture.local == "2026-03-15 09:30 JST"
    assert row.last_picture.utc == "00:30 UTC"


def test_cameras_without_a_baseline_say_so_and_how_to_make_one(desk: Desk, tmp_path: Path) -> None:
    write_verdict(tmp_path, STOP, [camera_verdict("yard two") | {"baseline": "reference"}], latest=True)
    assert words_of(desk) == {"yard two": ["no baseline"]}
    (step,) = desk.fleet.overview(NOW).rows[0].worst.steps
    assert step.command == "headhunt monitor rebaseline --camera 'yard two'"


@pytest.mark.parametrize("status", ["silent", "no data"])  # the second of an older monitor
def test_a_camera_that_the_monitor_has_no_rows_of_is_silent(desk: Desk, tmp_path: Path, status: str) -> None:
    write_baselines(tmp_path, ["yard"])
    verdict = camera_verdict("yard", "pipeline") | {"status": status, "signals": {}, "why": "no segment"}
    write_verdict(tmp_path, STOP, [verdict], latest=True)
    assert words_of(desk) == {"yard": ["silent"]}


def test_all_cameras_together_have_a_row_only_if_they_drift(desk: Desk, tmp_path: Path) -> None:
    write_baselines(tmp_path, ["a", "b"])
    write_verdict(tmp_path, STOP, [camera_verdict(n) for n in ("a", "b", FLEET)], latest=True)
    assert list(words_of(desk)) == ["a", "b"]
    moved = [camera_verdict("a"), camera_verdict("b"), camera_verdict(FLEET, "model", heads=1.4)]
    write_verdict(tmp_path, STOP + timedelta(hours=1), moved, latest=True)
    assert words_of(desk)[FLEET] == ["model"]


def test_a_file_of_cameras_that_is_wrong_is_named_and_the_one_before_counts(
    desk: Desk, tmp_path: Path, desk_client: Client
) -> None:
    cameras_file(tmp_path, "yard")
    assert words_of(desk)["yard"] == ["never watched", "no baseline"]
    (tmp_path / "cameras.yaml").write_text("cameras: {yard: {source: 7}}")
    overview = desk.fleet.overview(NOW)
    assert [row.name for row in overview.rows] == ["yard"]
    assert len(overview.problems) == 1
    assert "yard.source" in desk_client().get("/").text


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_every_kind_has_something_to_do_with_the_cameras_own_name(kind: Kind) -> None:
    steps = words.remedy(kind, "yard's two", datetime(2026, 3, 6, tzinfo=UTC), "/events")
    commands = [step.command for step in steps if step.command]
    assert steps
    if kind in ("lighting", "view", "activity"):
        assert """headhunt monitor rebaseline --camera 'yard'"'"'s two' --from 2026-03-06T00:00:00""" in commands[-1]
    assert words.KINDS[kind]
