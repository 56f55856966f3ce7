"""What a state file says about a camera, and what its age says."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from headhunt_svc.cameras.config import Camera
from headhunt_svc.cameras.status import (
    CameraState,
    LastEvent,
    Word,
    load_state,
    save_state,
    state_file,
    status_of,
)
from headhunt_svc.cli.main import app
from headhunt_svc.errors import ArtifactError
from headhunt_svc.storage.files import write_json

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
YARD = Camera.model_validate({"name": "yard/1", "source": "rtsp://host/1", "expect_every_s": 20})


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def state(**changes: Any) -> CameraState:
    whole = {"camera": "yard/1", "written": ago(1), "phase": "receiving", "last_picture": ago(2)}
    return CameraState.model_validate(whole | changes)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "receiving"),
        ({"last_picture": ago(21)}, "silent"),
        ({"last_picture": ago(20)}, "receiving"),
        ({"phase": "retrying", "last_picture": ago(5)}, "retrying"),
        ({"phase": "retrying", "last_picture": ago(50)}, "silent"),
        ({"phase": "connecting", "last_picture": None}, "connecting"),
        ({"phase": "off", "last_picture": ago(5000)}, "off"),
        ({"written": ago(31)}, "not watched"),
        ({"written": ago(31), "phase": "off"}, "not watched"),
        ({"written": ago(-3600), "last_picture": ago(-3600)}, "receiving"),  # written before a clock was set back
    ],
)
def test_the_word_for_a_camera(changes: dict[str, Any], word: Word) -> None:
    status = status_of(YARD, state(**changes), NOW)
    assert status.word == word
    assert status.is_good == (word in ("receiving", "off"))


def test_figures() -> None:
    status = status_of(YARD, state(last_scored=ago(3.5), offered_s=200.0, scored_s=150.0), NOW)
    assert (status.silent_s, status.lag_s, status.coverage) == (2.0, 1.5, 0.75)
    fresh = status_of(YARD, state(last_picture=None), NOW)
    assert (fresh.silent_s, fresh.lag_s, fresh.coverage) == (None, None, None)


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    event = LastEvent(id="0192", start=ago(60), score=0.8, is_open=True)
    save_state(tmp_path, state(last_event=event, problem="no answer within 5 s", reconnects=3))
    assert load_state(tmp_path, "yard/1") == state(last_event=event, problem="no answer within 5 s", reconnects=3)
    assert state_file(tmp_path, "yard/1").parent == tmp_path  # whatever the name is


def test_a_camera_that_was_never_watched(tmp_path: Path) -> None:
    assert load_state(tmp_path, "gate") is None
    status = status_of(YARD, None, NOW)
    assert (status.word, status.is_good) == ("never watched", False)


@pytest.mark.parametrize("text", ["{", "[]", '{"camera": "yard/1"}', '{"camera": "yard/1", "written": "x"}'])
def test_a_broken_state_is_named(tmp_path: Path, text: str) -> None:
    state_file(tmp_path, "yard/1").write_text(text, encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"yard%2F1\.json"):
        load_state(tmp_path, "yard/1")


def test_the_command_shows_state_drift_and_baseline(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    (tmp_path / "cameras.yaml").write_text("cameras: {yard/1: {source: /dev/video0}, gate: {source: /dev/video1}}")
    event = LastEvent(id="0192", start=now, score=0.8, is_open=True)
    figures = {"last_picture": now, "last_scored": now, "offered_s": 4.0, "scored_s": 3.0, "last_event": event}
    save_state(tmp_path / "states", state(written=now, **figures))
    write_json(tmp_path / "verdicts" / "verdict.json", {
        "start": NOW.isoformat(), "stop": NOW.isoformat(), "detector_id": None, "excluded": {}, "missing": {},
        "cameras": {"yard/1": {"camera": "yard/1", "status": "drift", "kind": "view"}},
    })  # fmt: skip
    write_json(tmp_path / "baselines" / "active.json", {"yard/1": "20261101-abc"})
    places = ["--states", str(tmp_path / "states"), "--monitor", str(tmp_path)]
    command = ["cameras", "status", "--cameras", str(tmp_path / "cameras.yaml"), *places]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 3  # gate was never watched
    row = next(line for line in done.output.splitlines() if "yard/1" in line)
    assert all(text in row for text in ("receiving", "75.0%", "0.80", "view", "20261101-abc"))
    yard, gate = map(json.loads, CliRunner().invoke(app, [*command, "--json"]).output.splitlines())
    assert (yard["status"], yard["coverage"], yard["baseline"]) == ("receiving", 0.75, "20261101-abc")
    assert (yard["drift"], yard["state"]["last_event"]["id"]) == ({"status": "drift", "kind": "view"}, "0192")
    assert (gate["status"], gate["state"], gate["drift"], gate["baseline"]) == ("never watched", None, None, None)
    state_file(tmp_path / "states", "gate").write_text("{")
    damaged = CliRunner().invoke(app, [*command, "--json"])
    assert [json.loads(line)["status"] for line in damaged.stdout.splitlines()] == ["receiving", "not known"]
    assert "gate.json" in damaged.stderr
    assert damaged.exit_code == 3
    write_json(tmp_path / "verdicts" / "verdict.json", {"stop": "soon"})
    (tmp_path / "cameras.yaml").write_text("cameras: {yard/1: {source: /dev/video0}}")
    without = CliRunner().invoke(app, [*command, "--json"])
    assert [(row["status"], row["drift"]) for row in map(json.loads, without.stdout.splitlines())] == [
        ("receiving", None)
    ]
    assert "verdict.json is not a verdict (start: Field required): run `headhunt monitor run`" in without.stderr
    assert without.exit_code == 3
