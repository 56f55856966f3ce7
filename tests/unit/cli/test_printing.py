"""Names, labels and cameras on the terminal: never markup, never control characters."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headhunt_svc.cli.bundle import print_history
from headhunt_svc.cli.console import note, safe
from headhunt_svc.cli.detect import print_report
from headhunt_svc.cli.evaluate import print_metrics
from headhunt_svc.cli.jobs import print_deliveries, print_job
from headhunt_svc.cli.monitor import print_verdict
from headhunt_svc.cli.pipeline import grid_notes, print_footage, print_operating_points
from headhunt_svc.core.fitting import CalibrationCurve, FittedScorer
from headhunt_svc.core.normality import NormalityChoice
from headhunt_svc.data.footage import Finding, Footage
from headhunt_svc.detector.deployments import Version
from headhunt_svc.jobs.models import Delivery, Job, JobOptions, JobRequest, VideoState
from headhunt_svc.monitoring.verdicts import CameraVerdict, Verdict
from headhunt_svc.params import FitParams
from headhunt_svc.storage.files import write_json
from headhunt_svc.types import CalibratedPair, CalibratedPoint, HeadRef, OperatingPoint, Scorer, Unavailable
from helpers.reports import REPORT

ODD = "[red]q[/bold]\x1b[31m\x9b2J\n\r\x07\udcfc.mp4"
SHOWN = "[red]q[/bold]%1B[31m%C2%9B2J%0A%0D%07%FC.mp4"


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    text = captured.out + captured.err
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]", text)
    return text


def test_text_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    note(ODD)
    assert printed(capsys) == SHOWN + "\n"
    assert safe(Path("a[b]")) == "a\\[b]"


def test_a_report(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    print_report(REPORT.model_copy(update={"video_id": ODD}), tmp_path)
    text = printed(capsys)
    assert text.startswith(SHOWN)
    assert f"{tmp_path}/{SHOWN}.json" in text
    assert "peak 0.80 at 0:01.0\n        a [red] car\n" in text


def test_a_job(capsys: pytest.CaptureFixture[str]) -> None:
    states: Any = dict.fromkeys(("queued", "running", "succeeded", "failed", "cancelled"), 1)
    job = Job(
        job_id="a" * 12,
        state="failed",
        created=0.0,
        detector_id="d",
        request=JobRequest(inputs=("a",), options=JobOptions.model_validate({})),
        counts=states,
        percent=100.0,
        eta_s=None,
        videos=(VideoState(index=0, video_id=f"1{ODD[:-5]}", uri="u", state="failed", error=f"2{ODD[:-5]}"),),
    )
    print_job(job)
    text = printed(capsys)
    assert f"1{SHOWN[:-7]}" in text
    assert f"2{SHOWN[:-7]}" in text
    print_deliveries([Delivery(delivery_id="d", event="e", state="failed", attempts=1, error=ODD[:-5])])
    assert SHOWN[:-7] in printed(capsys)


def test_findings_and_labels(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headhunt_svc.cli.console.WIDTH", 400)
    print_footage(Footage((), (Finding(ODD, "missing", f"1{ODD}"),)))
    assert SHOWN in printed(capsys)
    row = {"roc_auc": 0.5, "average_precision": 0.5}
    label = ODD.replace("\udcfc", "")
    write_json(tmp_path / "m.json", {"n_videos": 1, "n_frames": 1, **row, "by_kind": {label: row}})
    print_metrics(tmp_path / "m.json")
    assert SHOWN.replace("%FC", "") in printed(capsys)


def test_groups_hard_videos_and_reasons_stand_beside_all(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    row = {"roc_auc": 0.5, "average_precision": 0.25}
    groups = {"unseen_kinds": {**row, "roc_auc_interval": [0.4, 0.6]}, "new_cameras": {"undefined": "no camera [x]"}}
    metrics = {"detector_id": "d", "n_videos": 1, "n_frames": 1, **row, "groups": groups, "by_kind": {"fire": row}}
    write_json(tmp_path / "m.json", metrics)
    for detector, shown in (("d", True), ("other", False)):
        write_json(
            tmp_path / "a.json", {"detector_id": detector, "arms": {"first": {"hard": {**row, "roc_auc": 0.125}}}}
        )
        print_metrics(tmp_path / "m.json", tmp_path / "a.json")
        text = printed(capsys)
        assert re.search(r"unseen kinds +. 0\.500 \[0\.400, 0\.600\] . 0\.250", text)
        assert ("0.125" in text) == shown
        assert text.endswith("new cameras: no row, no camera [x]\n")


def test_a_verdict_on_a_camera(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headhunt_svc.cli.console.WIDTH", 400)
    time = datetime(2026, 3, 1, tzinfo=UTC)
    verdict = Verdict(
        start=time,
        stop=time,
        detector_id="d",
        cameras={ODD: CameraVerdict(ODD, "no data", f"why {ODD}")},
        excluded={ODD: 1},
        missing={ODD: ["2026-03-01"]},
        problems=(ODD,),
    )
    print_verdict(verdict)
    assert printed(capsys).count(SHOWN) == 5


def test_the_history_of_bundles(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headhunt_svc.cli.console.WIDTH", 400)
    print_history([Version("d", Path(ODD), "now", ODD, ODD, True, ODD)])
    assert printed(capsys).count(SHOWN) == 4


def test_operating_points_say_the_bound_and_their_rules(capsys: pytest.CaptureFixture[str]) -> None:
    offline = CalibratedPoint(OperatingPoint(0.75, 0.9), "rule [a]", 0.5, 0.25, None, 2.0)
    causal = CalibratedPoint(OperatingPoint(0.75, 0.8, "causal"), "rule b", 0.5, 0.25, 21.5)
    print_operating_points({"budget": CalibratedPair(offline, causal), "f1": Unavailable("too few")})
    text = printed(capsys)
    assert "at most 2" in text
    assert "21.500" in text
    lines = ["budget, offline: rule [a]", "budget, causal: rule b", "f1: not available: too few"]
    assert text.splitlines()[-3:] == lines


def test_a_choice_at_the_edge_of_its_grid_is_noted() -> None:
    scorer = Scorer((HeadRef(0, 0),), np.ones(1), 0.0)
    curve = CalibrationCurve((0.5,), (0.5,), (1,), 0.2)
    params = FitParams(grid=(0.1, 1.0), normality_weights=(0.0, 1.0))

    def notes(c: float, gamma: float, basis: Any = "kinds") -> list[str]:
        choice = NormalityChoice(gamma, basis, {0.0: 0.5, 1.0: 0.6}, ("fall",))
        return grid_notes(FittedScorer(scorer, c, 0.9, curve, choice), params)

    assert notes(1.0, 0.0) == ["C, 1, is the largest of fit.grid: try larger ones"]
    assert notes(0.1, 1.0) == [
        "C, 0.1, is the smallest of fit.grid: try smaller ones",
        "the weight of the distance to normal, 1, is the largest of fit.normality_weights: try larger ones",
    ]
    assert notes(0.1, 1.0, "default") == notes(0.1, 0.0)
    one = FittedScorer(scorer, 1.0, 0.9, curve)
    assert grid_notes(one, FitParams(grid=(1.0,))) == []
