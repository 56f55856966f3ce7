"""A camera is set up from normal footage alone, with the bundle that ships."""

import json
from pathlib import Path

import pytest

from conftest import ROOT, headhunt, write_video
from headhunt_svc.detector.bundle import load_bundle


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("footage")
    for i in range(9):
        write_video(folder / f"{i}.mp4", 20 + 5 * i)
    return folder


def test_normal_footage_becomes_an_operating_point(footage: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundles" / "yard"
    made = headhunt("bundle", "conform", footage, "--name", "yard", "--rate", "0.1", "--out", out)
    assert made.returncode == 0, made.stderr
    assert "at most 0.1 of windows of 2 s of new normal videos alarm; with these 9 videos of 2 to 6 s" in made.stdout
    old, new = load_bundle(ROOT / "artifacts" / "detector")[0], load_bundle(out)[0]
    assert set(new.operating_points) == {*old.operating_points, "yard"}
    assert new.operating_point("yard", "causal").smoothing == "causal"
    done = headhunt("detect", footage, "--bundle", out, "--operating-point", "yard", "--json")
    assert done.returncode == 0, done.stderr
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    # of nine windows for a rate of one in ten, none may pass the threshold, and the highest reaches it
    smoothed = [[s["smoothed"] for s in r["scores"]] for r in reports]
    assert min(map(max, smoothed)) <= new.operating_point("yard").threshold <= max(map(max, smoothed))
    threshold = new.operating_point("yard").threshold
    assert any(s == pytest.approx(threshold) for scores in smoothed for s in scores)
    again = headhunt("bundle", "conform", footage, "--name", "yard", "--bundle", out, "--out", tmp_path / "b")
    assert again.returncode == 2
    assert "has an operating point 'yard'" in again.stderr


def test_too_little_footage_for_the_rate_is_refused(footage: Path, tmp_path: Path) -> None:
    done = headhunt("bundle", "conform", footage, "--name", "yard", "--rate", "0.01", "--out", tmp_path / "b")
    assert done.returncode == 2
    assert "9 normal videos cannot guarantee a false-alarm rate of 0.01, only 0.1 or more" in done.stderr
    assert not (tmp_path / "b").exists()
