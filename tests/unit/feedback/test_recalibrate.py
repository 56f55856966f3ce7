"""Marks make a new bundle, camera by camera."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from headhunt_svc.core.camera_normality import NormalFootage
from headhunt_svc.core.scoring import apply_scorer
from headhunt_svc.detector.bundle import load_bundle, load_golden, save_bundle
from headhunt_svc.detector.cameras import CameraParts, CameraScorers, camera_file, save_camera
from headhunt_svc.detector.scorer_file import save_scorer
from headhunt_svc.errors import ArtifactError, ConfigError
from headhunt_svc.events.records import EventState
from headhunt_svc.events.store import EventStore
from headhunt_svc.feedback.marks import AllMarks, MarkQuery, load_marks, read_marks
from headhunt_svc.feedback.recalibrate import AS_BEFORE_MARKS
from headhunt_svc.settings import EventSettings
from headhunt_svc.storage.files import sha256
from headhunt_svc.types import Scorer
from helpers.feedback import DAYS, bundle, learn, mark


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    with EventStore.open(EventSettings(folder=tmp_path / "events", database=None)) as opened:
        yield opened


def scorers(folder: Path) -> CameraScorers:
    found, scorer = load_bundle(folder)
    return CameraScorers.load(folder, scorer, found.cameras)


def shares(site: ModuleType, of: Scorer, move: np.ndarray) -> float:
    """The share of new segments, moved along a direction, that are above the threshold."""
    z = site.draw(200, len(move), np.random.default_rng(99)) + move
    return float((apply_scorer(of, z) > site.SITE.bundle.operating_point("f1").threshold).mean())


def test_a_marked_camera_is_corrected_and_all_others_stay_to_the_bit(
    marked_site: ModuleType, store: EventStore, tmp_path: Path
) -> None:
    events, site = mark(marked_site, store), marked_site.SITE
    result = learn(marked_site, store, tmp_path / "new")
    old, new = bundle(marked_site), tmp_path / "new"
    assert (new / "scorer.safetensors").read_bytes() == (old / "scorer.safetensors").read_bytes()
    found = load_bundle(new)[0]
    assert (set(found.cameras or {}), result.changed) == ({"yard"}, ("yard",))
    assert found.detector_id != site.bundle.detector_id
    assert found.operating_points == site.bundle.operating_points
    yard, door = scorers(new).scorer("yard"), scorers(new).scorer("door")
    z = marked_site.draw(50, len(site.harmless), np.random.default_rng(3))
    np.testing.assert_array_equal(apply_scorer(door, z), apply_scorer(site.scorer, z))
    assert shares(marked_site, site.scorer, site.harmless) > 0.9
    assert shares(marked_site, yard, site.harmless) < 0.1
    assert shares(marked_site, yard, site.anomaly) > 0.9
    marks = load_marks(new)
    assert marks is not None
    assert [m.event_id for m in marks.marks] == [event.id for event in events]
    assert found.data["recalibrated"] == [
        {"from": site.bundle.detector_id, "marks_sha256": marks.digest, "marks": 8, "cameras": ["yard"]}
    ]


def test_an_event_can_be_taken_out_and_nothing_of_it_stays(
    marked_site: ModuleType, store: EventStore, tmp_path: Path
) -> None:
    events = mark(marked_site, store)
    learn(marked_site, store, tmp_path / "all")
    learn(marked_site, store, tmp_path / "without", MarkQuery(without=(events[0].id,)), of=tmp_path / "all")
    store.mark(events[0].id, EventState.NEW, "anna")
    learn(marked_site, store, tmp_path / "withdrawn", of=tmp_path / "all")
    cameras = {name: load_bundle(tmp_path / name)[0].cameras for name in ("all", "without", "withdrawn")}
    assert cameras["without"] == cameras["withdrawn"] != cameras["all"]
    for event in events[1:]:
        store.mark(event.id, EventState.NEW, "anna")
    result = learn(marked_site, store, tmp_path / "none", of=tmp_path / "all")
    assert (load_bundle(tmp_path / "none")[0].cameras, result.changed) == (None, ("yard",))
    with pytest.raises(ConfigError, match="none is marked as a false alarm or confirmed"):
        learn(marked_site, store, tmp_path / "again", of=tmp_path / "none")


def test_learning_again_gives_the_same_camera_whatever_was_learnt_before(
    marked_site: ModuleType, store: EventStore, tmp_path: Path
) -> None:
    mark(marked_site, store)
    learn(marked_site, store, tmp_path / "first")
    learn(marked_site, store, tmp_path / "second", of=tmp_path / "first")
    first, second = (load_bundle(tmp_path / name)[0] for name in ("first", "second"))
    assert first.cameras == second.cameras
    assert [step["from"] for step in second.data["recalibrated"]] == [
        marked_site.SITE.bundle.detector_id,
        first.detector_id,
    ]


def conformed(site: ModuleType, folder: Path) -> Path:
    """The site's bundle with two conformed cameras, and an operating point of one."""
    old, scorer = load_bundle(bundle(site))
    footage = NormalFootage.measure(site.draw(40, len(scorer.weight), np.random.default_rng(5)))
    cameras = {name: save_camera(folder, name, CameraParts(footage)) for name in ("yard", "door")}
    points = old.operating_points | {"yard": old.operating_points["f1"], "door": old.operating_points["f1"]}
    update = {"cameras": cameras, "operating_points": points}
    save_bundle(folder, old.model_copy(update=update), scorer, load_golden(bundle(site)))
    return folder


def test_a_conformed_camera_keeps_its_footage_and_the_other_its_file(
    marked_site: ModuleType, store: EventStore, tmp_path: Path
) -> None:
    events, old = mark(marked_site, store), conformed(marked_site, tmp_path / "old")
    learn(marked_site, store, tmp_path / "new", of=old)
    before, after = load_bundle(old)[0], load_bundle(tmp_path / "new")[0]
    assert before.cameras is not None
    assert after.cameras is not None
    assert after.cameras["door"] == before.cameras["door"]
    files = [camera_file(folder, "door", after.cameras["door"].sha256) for folder in (old, tmp_path / "new")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert after.operating_points["door"] == before.operating_points["door"]
    assert (after.operating_points["yard"].rule or "").endswith(AS_BEFORE_MARKS)
    assert after.operating_points["yard"].threshold == before.operating_points["yard"].threshold
    learn(marked_site, store, tmp_path / "again", of=tmp_path / "new")
    assert (load_bundle(tmp_path / "again")[0].operating_points["yard"].rule or "").count(AS_BEFORE_MARKS) == 1
    for event in events:
        store.mark(event.id, EventState.NEW, "anna")
    learn(marked_site, store, tmp_path / "none", of=tmp_path / "new")
    none = load_bundle(tmp_path / "none")[0]
    assert (none.cameras, none.operating_points) == (before.cameras, before.operating_points)


def test_only_the_cameras_that_are_asked_for_are_looked_at(
    marked_site: ModuleType, store: EventStore, tmp_path: Path
) -> None:
    mark(marked_site, store, camera="yard")
    mark(marked_site, store, camera="door", seed=1)
    learn(marked_site, store, tmp_path / "door", MarkQuery(cameras=("door",)))
    assert set(load_bundle(tmp_path / "door")[0].cameras or {}) == {"door"}
    learn(marked_site, store, tmp_path / "both", MarkQuery(cameras=("yard",)), of=tmp_path / "door")
    both = load_bundle(tmp_path / "both")[0].cameras or {}
    assert both["door"] == (load_bundle(tmp_path / "door")[0].cameras or {})["door"]
    assert set(both) == {"door", "yard"}
    with pytest.raises(ConfigError, match="no marked event of gate can be learnt from"):
        learn(marked_site, store, tmp_path / "gate", MarkQuery(cameras=("gate", "yard")))


def test_marks_against_all_others_are_outvoted_and_named(
    marked_site: ModuleType, store: EventStore, tmp_path: Path
) -> None:
    mark(marked_site, store)
    wrong = mark(marked_site, store, DAYS[:1], 1, EventState.CONFIRMED, hour=15)
    result = learn(marked_site, store, tmp_path / "new")
    assert result.outvoted == (wrong[0].id,)
    marks = load_marks(tmp_path / "new")
    assert marks is not None
    assert [m.event_id for m in marks.marks if m.outvoted] == [wrong[0].id]


def test_what_cannot_work_is_refused(marked_site: ModuleType, store: EventStore, tmp_path: Path) -> None:
    mark(marked_site, store, DAYS[:1])
    with pytest.raises(ConfigError, match="choose another folder"):
        learn(marked_site, store, bundle(marked_site))
    old, scorer = load_bundle(bundle(marked_site))
    relative = replace(scorer, background="ema", weight=np.ones(2 * len(scorer.weight)), normality=None)
    save_scorer(tmp_path / "ema" / "scorer.safetensors", relative)
    digest = sha256(tmp_path / "ema" / "scorer.safetensors")
    made = old.model_copy(update={"scorer_sha256": digest})
    save_bundle(tmp_path / "ema", made, relative, load_golden(bundle(marked_site)))
    with pytest.raises(ConfigError, match=r"fit\.background: ema: scores of this detector are relative"):
        learn(marked_site, store, tmp_path / "new", of=tmp_path / "ema")


def test_a_camera_that_another_process_adds_to_the_bundle_meanwhile_is_not_lost(
    marked_site: ModuleType, store: EventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark(marked_site, store, DAYS[:1], 1)
    old = conformed(marked_site, tmp_path / "old")
    made, scorer = load_bundle(old)
    points = made.operating_points | {"gate": made.operating_points["f1"]}

    def read_while_a_camera_is_added(*arguments: Any) -> AllMarks:
        save_bundle(old, made.model_copy(update={"operating_points": points}), scorer, load_golden(old))
        return read_marks(*arguments)

    monkeypatch.setattr("headhunt_svc.feedback.recalibrate.read_marks", read_while_a_camera_is_added)
    with pytest.raises(ArtifactError, match=r"another process has changed .*old since .*: nothing is written, run the"):
        learn(marked_site, store, tmp_path / "new", of=old)
    assert not (tmp_path / "new").exists()
