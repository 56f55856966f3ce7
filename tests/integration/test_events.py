"""Stored events as users meet them: `detect --events`, `headhunt events`, jobs, archives; the bundle that ships."""

import asyncio
import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal
from unittest.mock import Mock

import av
import pyarrow.parquet as pq
import pytest
from PIL import Image

from conftest import ROOT
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.report import load_report
from headhunt_svc.events.clips import ClipError
from headhunt_svc.events.records import EventRecord, NewEvent
from headhunt_svc.events.store import EventStore
from headhunt_svc.jobs.isolated import serve
from headhunt_svc.jobs.models import JobOptions, JobVideo
from headhunt_svc.jobs.store import ResultStore
from headhunt_svc.serve.engine import Engine, Video
from headhunt_svc.serve.models import DetectOptions
from headhunt_svc.settings import EventSettings, Settings
from helpers.commands import command, refusal

BUNDLE = ("--bundle", ROOT / "artifacts" / "detector")


@pytest.fixture(scope="module", autouse=True)
def _loaded_once() -> Iterator[None]:
    """The detector is loaded once for all commands: they run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        loaded = Detector.load(BUNDLE[1])
        patch.setattr(Detector, "load", lambda *_, **__: loaded)
        yield


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
    done = command(*args, cwd=ROOT)
    assert done.code == 0, done.err
    return done.out


def listed() -> list[EventRecord]:
    return [EventRecord.model_validate_json(line) for line in run("events", "list", "--json").splitlines()]


def test_an_event_from_the_video_to_the_mark(yard: Path, settings: EventSettings, tmp_path: Path) -> None:
    run("detect", yard, "--events", "--out", tmp_path / "reports", *BUNDLE)
    report = load_report(tmp_path / "reports" / f"{yard.name}.json")
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
    assert re.search(r"start +2026-03-01 12:00:\d\d CET \(11:00:\d\d UTC\)", text)
    run("events", "mark", event.id, "confirmed", "--note", "a blast", "--by", "anna")
    assert "confirmed, by anna" in run("events", "show", event.id)
    assert "a blast" in run("events", "list", "--state", "confirmed", "--camera", "north yard")
    assert run("events", "list", "--state", "new") == ""

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


def test_a_missed_event_is_added_with_its_real_scores(
    yard: Path, settings: EventSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_id = run("events", "add", yard, "--start", "2", "--stop", "5", "--note", "a thief", *BUNDLE).strip()
    (event,) = listed()
    assert (event.id, event.state, event.note, event.origin) == (event_id, "confirmed", "a thief", "manual")
    assert event.picture
    assert event.clip
    assert event.features
    assert event.score < event.threshold
    refused = refusal("events", "add", yard, "--start", "900", "--stop", "901", *BUNDLE, cwd=ROOT)
    assert "no pictures between 900 and 901 s" in refused
    run("events", "export", tmp_path / "e.csv")
    run("events", "export", tmp_path / "e.jsonl")
    run("events", "export", tmp_path / "e.parquet")
    run("events", "export", tmp_path / "out")
    assert pq.read_table(tmp_path / "e.parquet").to_pylist()[0]["contributions"] == list(event.contributions)
    assert EventRecord.model_validate_json((tmp_path / "e.jsonl").read_text()) == event
    assert len((tmp_path / "e.csv").read_text().splitlines()) == 2
    suffixes = {".jpg", ".mp4", ".safetensors", ".places.safetensors"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"events.jsonl", *(f"{event.id}{s}" for s in suffixes)}
    with monkeypatch.context() as patched:  # a file that can be scored, and of which no clip can be cut
        patched.setattr("headhunt_svc.events.missed.cut", Mock(side_effect=ClipError("no key frame there")))
        unclipped = run("events", "add", yard, "--start", "5", "--stop", "6", *BUNDLE).strip()
    assert {e.id: (e.state, e.clip) for e in listed()}[unclipped] == ("confirmed", False)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("events show x", "there is no event 'x'"),
        ("events list --since yesterday", "--since yesterday: not a time"),
        ("events list --after x", "no place in a list"),
        ("events export e.xml", "written as .csv, .jsonl or .parquet"),
        ("detect a.mp4 --events --resume --out o", "--events goes with neither"),
    ],
)
def test_what_is_refused(settings: EventSettings, args: str, message: str) -> None:
    done = command(*args.split(), cwd=ROOT)
    assert done.code == 2
    assert message in re.sub(r"[\s│]+", " ", done.err)


def test_an_event_is_stored_as_its_camera_says(yard: Path, settings: EventSettings, tmp_path: Path) -> None:
    cameras = tmp_path / "cameras.yaml"
    cameras.write_text(
        "cameras: {north yard: {source: {kind: folder, path: /recordings}, time_zone: Asia/Tokyo, merge_s: 600, "
        "keep_clips: false, name_pattern: 'north_%Y%m%d_%H%M%S'}}"
    )
    later = tmp_path / "north_20260301_120500.mp4"  # five minutes later: the same pictures in another file
    later.write_bytes(yard.read_bytes() + b"\0\0\0\x08free")
    files = (yard, later, "--camera", "north yard", "--cameras", cameras)
    run("detect", *files, "--events", *BUNDLE)
    (event,) = listed()
    assert event.stop is not None
    assert (event.time_zone, event.clip, event.time_basis) == ("Asia/Tokyo", False, "file_name")
    assert event.start.isoformat().startswith("2026-03-01T03:00:")
    assert event.stop.isoformat().startswith("2026-03-01T03:05:")
    cameras.write_text(cameras.read_text().replace("north_%Y", "north_%A%Y"))
    assert "%A" in refusal("detect", *files, "--events", *BUNDLE, cwd=ROOT)


def in_service(bundle: Path, video: Path) -> None:
    """Sent to the service as a client does."""

    async def detect() -> None:
        failed: list[Exception] = []
        engine = Engine(Settings(), bundle)
        engine.load(failed.append)
        while not engine.ready:
            assert not failed
            await asyncio.sleep(0.02)
        async with engine.admitted() as work:
            async for _ in engine.detect(work, Video(video, video.name, DetectOptions(camera="north yard"))):
                pass

    asyncio.run(detect())


def in_process_of(origin: Literal["job", "archive"], bundle: Path, video: Path, folder: Path) -> None:
    """As the process that scores for a worker or for `headhunt batch` does."""
    options = JobOptions.model_validate({})
    request = {
        "id": 1,
        "video": JobVideo(uri=str(video), video_id="north.mp4").model_dump(),
        "options": options.model_dump(),
    }
    (its_requests, requests), (answers, its_answers) = os.pipe(), os.pipe()
    os.write(requests, f"{json.dumps(request)}\n".encode())

    def child() -> None:
        with io.FileIO(its_requests) as reads, os.fdopen(its_answers, "w", buffering=1) as writes:
            serve(bundle, ResultStore(folder), 60.0, origin, reads, writes)

    with ThreadPoolExecutor(1) as pool, os.fdopen(answers) as lines:
        ended = pool.submit(child)
        outcome = next(message["outcome"] for message in map(json.loads, lines) if "outcome" in message)
        os.close(requests)
        ended.result(60)
    assert outcome["events"] == 1


def test_all_parts_store_through_one_function_where_they_are_asked_to(
    yard: Path, settings: EventSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origins: list[str] = []
    add = EventStore.add

    def added(store: EventStore, event: NewEvent, **more: Any) -> EventRecord:
        origins.append(event.origin)
        return add(store, event, **more)

    monkeypatch.setattr(EventStore, "add", added)
    bundle = BUNDLE[1]
    in_process_of("archive", bundle, yard, tmp_path / "quiet")
    in_service(bundle, yard)
    assert (listed(), origins) == ([], [])
    monkeypatch.setenv("HEADHUNT_EVENTS_RECORD", "archives,jobs,service")
    in_process_of("archive", bundle, yard, tmp_path / "archive")
    (event,) = listed()
    assert (event.origin, event.camera, event.picture, event.clip) == ("archive", "north yard", True, True)
    assert event.source == str(yard)
    in_process_of("job", bundle, yard, tmp_path / "job")
    in_service(bundle, yard)
    run("detect", yard, "--events", *BUNDLE)
    assert origins == ["archive", "job", "service", "detect"]
    assert listed() == [event]  # the same footage and detector: scored four times, stored once
