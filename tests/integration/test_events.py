"""Stored events as users meet them: `detect --events`, `headhunt events`, jobs, archives; the bundle that ships."""

import json
import re
import shutil
from pathlib import Path

import av
import pyarrow.parquet as pq
import pytest
from PIL import Image

from conftest import ROOT, headhunt
from headhunt_svc.detector.report import load_report
from headhunt_svc.events.records import EventRecord
from headhunt_svc.events.store import EventStore
from headhunt_svc.settings import EventSettings

BUNDLE = ("--bundle", ROOT / "artifacts" / "detector")


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Path:
    folder = tmp_path_factory.mktemp("footage") / "north yard"
    folder.mkdir()
    return Path(shutil.copy(clip, folder / "north_20260301_120000.mp4"))


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EventSettings:
    monkeypatch.setenv("HEADHUNT_EVENTS_FOLDER", str(tmp_path / "events"))
    monkeypatch.setenv("HEADHUNT_EVENTS_NAME_PATTERN", "%Y%m%d_%H%M%S")
    monkeypatch.setenv("HEADHUNT_EVENTS_TIME_ZONE", "Europe/Berlin")
    return EventSettings()


def run(*args: str | Path) -> str:
    done = headhunt(*args)
    assert done.returncode == 0, done.stderr
    return done.stdout


def listed() -> list[EventRecord]:
    return [EventRecord.model_validate_json(line) for line in run("events", "list", "--json").splitlines()]


def test_an_event_from_the_video_to_the_mark(yard: Path, settings: EventSettings, tmp_path: Path) -> None:
    run("detect", yard, "--events", "--out", tmp_path / "reports", *BUNDLE)
    report = load_report(tmp_path / "reports" / f"{yard.name}.json")
    run("detect", yard, "--events", *BUNDLE)  # scored twice is stored once
    (event,) = listed()
    (found,) = report.events
    assert (event.camera, event.video_id, event.time_basis, event.origin) == (
        "north yard", yard.name, "file_name", "detect",
    )  # fmt: skip
    assert event.start.isoformat() == f"2026-03-01T11:00:{found.start_s:02.0f}+00:00"
    assert event.stop is not None
    assert (event.stop - event.start).total_seconds() == pytest.approx(found.stop_s - found.start_s)
    assert (event.score, event.contributions) == (found.peak, found.contributions)
    assert (event.threshold, event.detector_id) == (report.threshold, report.detector_id)

    text = run("events", "show", event.id)
    assert re.search(r"start +2026-03-01 12:00:\d\d CET \(2026-03-01 11:00:\d\d UTC\)", text)
    run("events", "mark", event.id, "confirmed", "--note", "a blast", "--by", "anna")
    assert "confirmed, by anna" in run("events", "show", event.id)
    assert "a blast" in run("events", "list", "--state", "confirmed", "--camera", "north yard")
    assert headhunt("events", "list", "--state", "new").stdout == ""

    run("events", "clip", event.id, tmp_path / "clip.mp4")
    with av.open(str(tmp_path / "clip.mp4")) as container:
        seconds = sum(1 for _ in container.decode(video=0)) / float(report.fps)
    assert found.stop_s - found.start_s + settings.clip_margin_s <= seconds <= report.duration_s
    run("events", "clip", event.id, tmp_path / "peak.jpg", "--picture")
    with Image.open(tmp_path / "peak.jpg") as picture:
        assert picture.size == (128, 128)
    with EventStore.open(settings) as store:
        features = store.features(event.id)
        assert features is not None
        n = sum(found.start_s <= s.start_s < found.stop_s for s in report.scores)
        assert features.values.shape[:2] == (n, len(report.lineage.heads))
        assert features.raw.tolist() == [s.raw for s in report.scores if found.start_s <= s.start_s < found.stop_s]
        assert len(features.normal) == len(report.scores) - n
        assert features.heads == report.lineage.heads


def test_a_missed_event_is_added_with_its_real_scores(yard: Path, settings: EventSettings, tmp_path: Path) -> None:
    event_id = run("events", "add", yard, "--start", "2", "--stop", "5", "--note", "a thief", *BUNDLE).strip()
    (event,) = listed()
    assert (event.id, event.state, event.note, event.origin) == (event_id, "confirmed", "a thief", "manual")
    assert event.picture
    assert event.clip
    assert event.features
    assert event.score < event.threshold
    refused = headhunt("events", "add", yard, "--start", "900", "--stop", "901", *BUNDLE)
    assert refused.returncode == 2
    assert "no pictures between 900 and 901 s" in refused.stderr
    run("events", "export", tmp_path / "e.csv")
    run("events", "export", tmp_path / "e.jsonl")
    run("events", "export", tmp_path / "e.parquet")
    run("events", "export", tmp_path / "out")
    assert pq.read_table(tmp_path / "e.parquet").to_pylist()[0]["contributions"] == list(event.contributions)
    assert EventRecord.model_validate_json((tmp_path / "e.jsonl").read_text()) == event
    assert len((tmp_path / "e.csv").read_text().splitlines()) == 2
    suffixes = {".jpg", ".mp4", ".safetensors"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"events.jsonl", *(f"{event.id}{s}" for s in suffixes)}


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("events show x", "there is no event 'x'"),
        ("events list --since yesterday", "--since yesterday: not a time"),
        ("events list --after x", "no place in a list"),
        ("events export e.xml", "written as .csv, .jsonl or .parquet"),
        ("detect a.mp4 --events --resume --out o", "--events goes with neither"),
    ],
)
def test_what_is_refused(settings: EventSettings, command: str, message: str) -> None:
    done = headhunt(*command.split())
    assert done.returncode == 2
    assert message in re.sub(r"[\s│]+", " ", done.stderr)


def test_archives_store_events_where_they_are_asked_to(
    yard: Path, settings: EventSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("batch", yard, "--out", tmp_path / "quiet", *BUNDLE)
    assert listed() == []
    monkeypatch.setenv("HEADHUNT_EVENTS_RECORD", "archives")
    run("batch", yard, "--out", tmp_path / "stored", *BUNDLE)
    (event,) = listed()
    assert (event.origin, event.camera, event.picture, event.clip) == ("archive", "north yard", True, True)
    run("detect", yard, "--events", *BUNDLE)
    assert listed() == [event]  # the same footage and detector
    assert json.loads(event.model_dump_json())["source"] == str(yard)
