"""Events that are explained: places while they are scored, words and places afterwards from the clip."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from conftest import ROOT
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.events.records import EventRecord
from headhunt_svc.events.store import AUDIT, EventStore
from headhunt_svc.settings import EventSettings
from helpers.commands import command, refusal
from helpers.events import new

BUNDLE = ("--bundle", ROOT / "artifacts" / "detector")


@pytest.fixture(scope="module")
def whole() -> Iterator[Detector]:
    """The detector with all layers, loaded once for all commands: they run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        loaded = Detector.load(BUNDLE[1], whole=True)
        patch.setattr(Detector, "load", lambda *_, **__: loaded)
        yield loaded


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EventSettings:
    monkeypatch.setenv("HEADHUNT_EVENTS_FOLDER", str(tmp_path / "events"))
    return EventSettings()


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Path:
    return Path(shutil.copy(clip, tmp_path_factory.mktemp("yard") / "yard.mp4"))


def run(*args: str | Path) -> str:
    done = command(*args, cwd=ROOT)
    assert done.code == 0, done.err
    return done.out


def only() -> EventRecord:
    (line,) = run("events", "list", "--json").splitlines()
    return EventRecord.model_validate_json(line)


def test_places_are_stored_while_an_explained_event_is_scored(
    whole: Detector, settings: EventSettings, yard: Path
) -> None:
    run("detect", yard, "--events", "--explain", *BUNDLE)
    event = only()
    assert event.places
    with EventStore.open(settings) as store:
        places, features, picture = store.places(event.id), store.features(event.id), store.picture(event.id)
    assert places is not None
    assert features is not None
    assert picture is not None
    assert places.detector_id == event.detector_id
    assert places.picture == picture.read_bytes()
    assert places.raw in features.raw
    # what the heads add is spread over places and words, so no place can add more than all of them
    assert np.abs(places.total).sum() > 0
    assert places.shares.ndim == 3
    again = only()
    run("detect", yard, "--events", *BUNDLE)  # stored already: it stays as it is
    assert only() == again


def test_the_model_describes_an_event_from_its_clip(
    whole: Detector, settings: EventSettings, yard: Path, tmp_path: Path
) -> None:
    run("detect", yard, "--events", *BUNDLE)
    event = only()
    assert not event.places
    said = run("events", "describe", event.id, "--by", "anna", *BUNDLE).strip()
    described = only()
    assert (described.description, described.described_by, described.places) == (said, "anna", True)
    assert said
    assert said in run("events", "show", event.id)
    with EventStore.open(settings) as store:
        places = store.places(event.id)
    assert places is not None
    assert places.detector_id == event.detector_id
    assert places.raw > event.threshold
    (line,) = (settings.folder / AUDIT).read_text().splitlines()
    assert json.loads(line) == json.loads(line) | {"what": "description", "event": event.id, "text": said, "by": "anna"}
    run("events", "export", tmp_path / "out")
    assert (tmp_path / "out" / f"{event.id}.places.safetensors").is_file()


def test_places_of_another_detector_are_not_stored(whole: Detector, settings: EventSettings, yard: Path) -> None:
    with EventStore.open(settings) as store:
        event = store.add(new(detector_id="0" * 12), merge_s=None)
        store.attach_clip(event.id, Path(shutil.copy(yard, settings.folder / "clip.mp4")))
    done = command("events", "describe", event.id, *BUNDLE, cwd=ROOT)
    assert (done.code, "by another detector (000000000000)" in done.err) == (0, True), done.err
    record = only()
    assert (bool(record.description), record.places) == (True, False)


def test_without_footage_there_is_nothing_to_describe(whole: Detector, settings: EventSettings) -> None:
    with EventStore.open(settings) as store:
        event = store.add(new(), merge_s=None)
    assert f"the event {event.id} has no clip" in refusal("events", "describe", event.id, *BUNDLE, cwd=ROOT)
    assert "there is no event 'x'" in refusal("events", "describe", "x", *BUNDLE, cwd=ROOT)
    assert only().description is None
