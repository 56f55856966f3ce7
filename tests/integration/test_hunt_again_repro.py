"""Marks join the calibration videos of a project of one's own: `dvc repro` hunts anew, and withdrawn marks go."""

import json
import re
from pathlib import Path

import pytest

from conftest import headhunt
from headhunt_svc.data.datasets import load_index
from headhunt_svc.detector.bundle import load_bundle
from headhunt_svc.events.records import EventRecord, EventState
from headhunt_svc.events.store import EventStore
from headhunt_svc.settings import EventSettings
from helpers.bright_project import FPS, LEARN, LENGTH, Project, bright_project, write_noise
from helpers.events import NOON, new

MARKS = Path("data") / "marks"


def marked(store: EventStore, folder: Path, number: int, state: EventState) -> EventRecord:
    """An event of a camera of its own in the second half of its clip, and what somebody says about it."""
    clip = write_noise(folder / "clip.mp4", [number, 99], bright=state == EventState.CONFIRMED)
    start, stop = 2 * LENGTH / FPS, 4 * LENGTH / FPS
    event = store.add(new(start, stop, camera=f"camera {number}", key=str(number)), merge_s=None)
    store.attach_clip(event.id, clip, NOON)
    return store.mark(event.id, state, "anna")


def hunt_again(project: Project) -> str:
    done = headhunt("hunt-again", cwd=project.folder)
    assert done.returncode == 0, done.stderr
    return str(done.stderr)


def changed(project: Project) -> set[str]:
    """The stages that DVC would run again; the stage `code` is named always."""
    return set(json.loads(project.dvc("status", "--json"))) - {"code"}


def test_hunted_anew_with_the_marks_by_version_and_without_those_that_were_withdrawn(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADHUNT_EVENTS_FOLDER", str(tmp_path / "events"))
    folder = tmp_path_factory.mktemp("project")
    with (
        bright_project(folder, tmp_path_factory.mktemp("dvc")) as project,
        EventStore.open(EventSettings()) as store,
    ):
        assert headhunt("init", ".", "--update", cwd=folder).returncode == 0
        assert "marks" not in (folder / "dvc.yaml").read_text()
        project.dvc.repro("bundle")
        before, _ = load_bundle(folder / "artifacts" / "detector")
        assert "marks" not in before.data

        events = [marked(store, tmp_path, n, state) for n, state in enumerate([EventState.CONFIRMED] * 2)]
        events.append(marked(store, tmp_path, 2, EventState.FALSE_ALARM))
        said = hunt_again(project)
        assert "3 events in 3 clips, 2 anomalous, kept by DVC" in said
        assert "once: write `marks: data/marks` into the section dataset of params.yaml" in said
        (version,) = re.findall("version ([0-9a-f]{16})", said)
        project.set_dataset(marks=str(MARKS))
        assert headhunt("init", ".", "--update", cwd=folder).returncode == 0
        done = project.dvc.repro("bundle")
        assert done.ran == ["code", "index", "extract", *LEARN]
        assert "10 videos from stored features, 3 decoded" in done.said("extract")
        after, _ = load_bundle(folder / "artifacts" / "detector")
        assert after.data["marks"] == {"version": version, "clips": 3}
        assert after.data["videos"] == {"calibration": 9, "validation": 4}
        assert after.detector_id != before.detector_id
        assert f"version {version}: 3 clips of marked events" in headhunt("bundle", "show", cwd=folder).stdout
        project.dvc.repro("evaluate")
        assert changed(project) & {"index", "extract", *LEARN, "detect", "evaluate", f"{MARKS}.dvc"} == set()
        assert "once" not in hunt_again(project)
        assert changed(project) & {"index", "extract"} == set()  # the same marks are the same version

        store.mark(events[0].id, EventState.NEW, "anna", "it was the sun")
        assert version not in hunt_again(project)
        assert {"index", "extract"} <= changed(project)
        assert "12 videos from stored features, 0 decoded" in project.dvc.repro("extract").said("extract")
        marks = [v.marks for v in load_index(folder / "artifacts" / "index.parquet") if v.marks is not None]
        assert len(marks) == 2
        assert version not in marks
        for event in events[1:]:
            store.mark(event.id, EventState.NEW, "anna")
        hunt_again(project)
        project.dvc.repro("bundle")
        assert load_bundle(folder / "artifacts" / "detector")[0].detector_id == before.detector_id
