"""False alarms per hour in long normal videos, with the bundle that ships."""

from pathlib import Path

import pytest

from conftest import ROOT
from headhunt_svc.cli.demo import print_rates
from headhunt_svc.demo.params import CorpusParams
from headhunt_svc.demo.rates import RATES, rates
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.storage.files import read_json
from headhunt_svc.video.opening import open_video

BUNDLE = ROOT / "artifacts" / "detector"


def test_alarms_are_the_events_of_the_detectors_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of two videos of 18 s; a second run renders and scores none of them again."""
    result = rates(BUNDLE, tmp_path, CorpusParams(), hours=36 / 3600, minutes=0.3)
    assert result == read_json(tmp_path / RATES, "headhunt demo rates")
    assert (result["videos"], result["hours"]) == (2, pytest.approx(36 / 3600))
    detector = Detector.load(BUNDLE)
    assert result["operating_points"].keys() == detector.bundle.operating_points.keys()
    for camera in ("camera-17", "camera-18"):
        with open_video(tmp_path / camera / "18s.mp4", camera) as video:
            batches = list(detector.score(video))
        for name, by_smoothing in result["operating_points"].items():
            for smoothing, row in by_smoothing.items():
                report = detector.report(video, batches, Options(name, smoothing=smoothing))
                assert row["per_camera"][camera]["events"] == len(report.events)
                assert (row["threshold"], row["sigma_segments"]) == (report.threshold, report.sigma_segments)
    files = [*tmp_path.glob("*/18s.mp4"), *(tmp_path / "reports").glob("*.json")]
    assert len(files) == 4
    times = [f.stat().st_mtime_ns for f in files]
    capsys.readouterr()
    print_rates(rates(BUNDLE, tmp_path, CorpusParams(), hours=36 / 3600, minutes=0.3))
    assert [f.stat().st_mtime_ns for f in files] == times
    printed = capsys.readouterr().out
    for name, by_smoothing in result["operating_points"].items():
        assert f"{name}: {by_smoothing['offline']['rule']}" in " ".join(printed.split())
