"""A camera is set up from normal footage alone, with the shipped bundle and a distance to normal."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import ROOT, headhunt, write_video
from headhunt_svc.detector.bundle import load_bundle, load_golden, save_bundle
from headhunt_svc.detector.scorer_file import save_scorer
from headhunt_svc.storage.files import sha256
from headhunt_svc.types import Normality


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("footage")
    for i in range(9):
        write_video(folder / f"{i}.mp4", 20 + 5 * i)
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, shipped = tmp_path_factory.mktemp("bundle"), ROOT / "artifacts" / "detector"
    old, scorer = load_bundle(shipped)
    n = len(scorer.weight)
    with_normality = replace(scorer, normality=Normality(np.zeros(n), np.eye(n), 0.01))
    save_scorer(folder / "scorer.safetensors", with_normality)
    update = {"scorer_sha256": sha256(folder / "scorer.safetensors")}
    new = old.relocated(shipped, folder).model_copy(update=update)
    save_bundle(folder, new, with_normality, load_golden(shipped))
    return folder


def test_normal_footage_becomes_a_camera(footage: Path, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundles" / "yard"
    conform = ("bundle", "conform", footage, "--name", "yard")
    made = headhunt(*conform, "--rate", "0.1", "--bundle", bundle, "--out", out)
    assert made.returncode == 0, made.stderr
    assert "at most 0.1 of windows of 2 s of new normal videos alarm; with these 9 videos of 2 to 6 s" in made.stdout
    assert "videos of the camera yard have a normality of their own" in made.stderr
    old, new = load_bundle(bundle)[0], load_bundle(out)[0]
    assert set(new.operating_points) == {*old.operating_points, "yard"}
    assert new.operating_point("yard", "causal").smoothing == "causal"
    assert new.cameras is not None
    done = headhunt("detect", footage, "--bundle", out, "--operating-point", "yard", "--camera", "yard", "--json")
    assert done.returncode == 0, done.stderr
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert {r["normality"] for r in reports} == {"yard"}
    smoothed = [[s["smoothed"] for s in r["scores"]] for r in reports]
    assert sum(map(len, smoothed)) == new.cameras["yard"].segments
    # the threshold comes of scores with the normality of other videos, which is further away than their own
    assert min(map(max, smoothed)) <= new.operating_point("yard").threshold < 1
    again = headhunt(*conform, "--bundle", out, "--out", tmp_path / "b")
    assert again.returncode == 2
    assert "has an operating point 'yard'" in again.stderr


def test_too_little_footage_for_the_rate_is_refused(footage: Path, bundle: Path, tmp_path: Path) -> None:
    conform = ("bundle", "conform", footage, "--name", "yard", "--bundle", bundle)
    done = headhunt(*conform, "--rate", "0.01", "--out", tmp_path / "b")
    assert done.returncode == 2
    assert "9 normal videos cannot guarantee a false-alarm rate of 0.01, only 0.1 or more" in done.stderr
    assert not (tmp_path / "b").exists()
