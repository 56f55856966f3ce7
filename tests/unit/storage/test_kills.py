"""kill -9 at every step of a writer: what is there stays readable, and the same call again gives the same end."""

from collections.abc import Callable
from datetime import timedelta
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from headhunt_svc.data.feature_store import FeatureStore, Source, VideoFeatures
from headhunt_svc.detector.bundle import load_bundle
from headhunt_svc.detector.deployments import Deployed
from headhunt_svc.jobs.store import ResultStore
from headhunt_svc.monitoring import baselines
from headhunt_svc.monitoring.baselines import Baselines
from headhunt_svc.prediction_log.windows import Rows
from headhunt_svc.storage.audit import audit, audited
from headhunt_svc.types import FrameSpan, HeadRef, Segment
from headhunt_svc.video.source import VideoState
from helpers.bundles import bundle
from helpers.kills import runs_killed_at
from helpers.log_rows import METADATA, START, rows
from helpers.reports import REPORT

VALUES = np.ones((1, 1, 1, 3), np.float32)
SEGMENT = Segment("v", 0, FrameSpan(0, 4), (0, 2))
FEATURES = VideoFeatures((SEGMENT,), np.array([[0.0, 0.4]]), (HeadRef(0, 1),), VALUES, VALUES[:, :, 0], VideoState(), 1)


def at_every_step(tmp_path: Path, action: Callable[[Path], object], check: Callable[[Path], object]) -> int:
    """Kill an action at each of its steps, check what is there; then finish it. Returns the number of steps."""
    for step in count():
        folder = tmp_path / str(step)
        folder.mkdir()
        killed = runs_killed_at(step, lambda folder=folder: action(folder))
        check(folder)
        action(folder)
        check(folder)
        if not killed:
            return step
    raise AssertionError


def test_a_result(tmp_path: Path) -> None:
    def check(folder: Path) -> None:
        store = ResultStore(folder)
        assert not store.has("key") or store.result("key", "v") == REPORT

    assert at_every_step(tmp_path, lambda d: ResultStore(d).save("key", REPORT), check) > 5
    assert all(ResultStore(folder).has("key") for folder in tmp_path.iterdir())


def test_features_and_the_folder_of_their_stage(tmp_path: Path) -> None:
    def stage(folder: Path) -> None:
        store = FeatureStore(folder)
        for video in "ab":
            if store.key(video) != "k":
                store.save(video, FEATURES, "k", Source("m", ("p",), "{}"))
        store.finish("ab")

    def check(folder: Path) -> None:
        store = FeatureStore(folder)
        for video in "ab":
            assert store.key(video) is None or np.array_equal(store.load(video).values, VALUES)

    assert at_every_step(tmp_path, stage, check) >= 5
    contents = [{p.name: p.read_bytes() for p in folder.iterdir()} for folder in tmp_path.iterdir()]
    assert all(content == contents[0] for content in contents)  # nothing of a killed run is in what DVC hashes


def test_a_line_of_an_audit_log(tmp_path: Path) -> None:
    def add(folder: Path) -> None:
        audit(folder / "audit.jsonl", what="new")

    def check(folder: Path) -> None:
        assert {line["what"] for line in audited(folder / "audit.jsonl")} <= {"new"}

    assert at_every_step(tmp_path, add, check) >= 2
    assert all(audited(folder / "audit.jsonl")[-1]["what"] == "new" for folder in tmp_path.iterdir())


def test_a_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed try has written is what the next one uses: the same rows are one version."""
    times = count()
    monkeypatch.setattr(baselines, "datetime", SimpleNamespace(now=lambda _: START + timedelta(seconds=next(times))))

    def add(folder: Path) -> None:
        Baselines(folder).add("yard", Rows(METADATA, rows(20), 20, 0), "why")

    def check(folder: Path) -> None:
        store = Baselines(folder)
        assert all(store.load(camera, version).total == 20 for camera, version in store.active().items())
        assert {line["camera"] for line in audited(store.log, "camera", "to")} <= {"yard"}

    assert at_every_step(tmp_path, add, check) > 10
    assert all([*Baselines(folder).active()] == ["yard"] for folder in tmp_path.iterdir())
    assert {len(Baselines(folder).versions("yard")) for folder in tmp_path.iterdir()} == {1}


def test_the_bundle_in_use(tmp_path: Path) -> None:
    old, new = bundle(tmp_path / "bundles", "old", 1), bundle(tmp_path / "bundles", "new", 0.9)
    ids = {load_bundle(folder)[0].detector_id for folder in (old, new)}
    (runs := tmp_path / "runs").mkdir()

    def change(folder: Path) -> None:
        deployed = Deployed(folder)
        if not deployed.current.exists():
            deployed.activate(old, "first")
        deployed.activate(new, "better")

    def check(folder: Path) -> None:
        deployed = Deployed(folder)
        if deployed.current.is_symlink():
            assert load_bundle(deployed.current)[0].detector_id in ids
        assert {version.detector_id for version in deployed.history()} <= ids

    assert at_every_step(runs, change, check) > 5
    assert all(Deployed(folder).current.resolve() == new for folder in runs.iterdir())
