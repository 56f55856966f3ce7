"""`headhunt bundles shadow` and `compare`: what they print, and what they refuse in one line."""

import json
from pathlib import Path

import pytest

from conftest import headhunt
from headhunt_svc.cli.shadow import MOST_FLIPS, print_comparison
from headhunt_svc.detector.bundle import load_bundle
from headhunt_svc.feedback.compare import CameraComparison, Comparison, Flip
from helpers.bundles import bundle, rebiased
from helpers.commands import refusal
from helpers.events import NOON


def test_a_candidate_is_named_compared_and_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADHUNT_EVENTS_FOLDER", str(tmp_path / "events"))
    place, candidate = ("--deployed", tmp_path / "deployed"), rebiased(tmp_path, "candidate", 1)
    refused = headhunt("bundles", "shadow", candidate, *place)
    assert (refused.returncode, "nothing is in use" in refused.stderr) == (2, True)
    assert headhunt("bundles", "activate", bundle(tmp_path, "first", 1), *place).returncode == 0
    assert headhunt("bundles", "shadow", *place).returncode == 2
    started = headhunt("bundles", "shadow", candidate, "--why", "fewer alarms", *place)
    assert started.stdout.strip() == load_bundle(candidate)[0].detector_id
    empty = headhunt("bundles", "compare", "--log", tmp_path / "log", *place)
    assert (empty.returncode, "no segments of either" in empty.stdout) == (0, True), empty.stderr
    assert headhunt("bundles", "compare", "--log", tmp_path / "log", "--json", *place).stdout == ""
    for verb in (("compare", "--log", tmp_path / "log"), ("check",)):
        mistyped = refusal("bundles", *verb, "--cameras", tmp_path / "typo.yaml", *place, cwd=tmp_path)
        assert "typo.yaml not found" in mistyped
    assert headhunt("bundles", "shadow", "--stop", *place).returncode == 0
    without = headhunt("bundles", "compare", "--log", tmp_path / "log", *place)
    assert (without.returncode, "there is no" in without.stderr) == (2, True)
    lines = [json.loads(line) for line in (tmp_path / "deployed" / "audit.jsonl").read_text().splitlines()]
    records = [(line["what"], line["why"]) for line in lines[1:]]
    assert records == [("candidate", "fewer alarms"), ("candidate stopped", "")]


def test_the_table_says_what_only_one_has_scored(capsys: pytest.CaptureFixture[str]) -> None:
    flip = Flip("yard", "yard/a.mp4", NOON, 3.2, 6.4, "active", 0.91, 0.2, "E1")
    yard = CameraComparison("yard", 450, 0.2, 10, 0, 0.98, 30, 1, (flip,) * 30)
    lane = CameraComparison("lane", 0, 0.0, 7, 0, None, 0, 0, ())
    print_comparison(Comparison("a" * 12, "c" * 12, NOON, NOON, 1, (lane, yard)))
    printed = capsys.readouterr()
    rows = {line.split()[1]: line for line in printed.out.splitlines() if "│" in line}
    assert "7 in use" in rows["lane"]
    assert "3600.0" in rows["yard"]
    assert "120.0" in rows["yard"]
    assert printed.out.count("would be gone: peak 0.910, candidate's 0.200  E1") == MOST_FLIPS
    assert "and 10 more: --json" in printed.err
