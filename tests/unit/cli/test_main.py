"""The command line without torch: usage errors and one-line messages."""

import json
import re
import shutil
from dataclasses import asdict, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import typer
import typer.core
import typer.main

from conftest import ROOT
from headhunt_svc.cli import main as cli
from headhunt_svc.cli.bundle import print_bundle
from headhunt_svc.cli.console import clock
from headhunt_svc.cli.detect import notices, print_report, sparkline
from headhunt_svc.cli.options import check_bundle
from headhunt_svc.detector.bundle import load_bundle
from headhunt_svc.detector.cameras import StoredCamera
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.report import Report, ReportGap
from headhunt_svc.detector.scorer_file import save_scorer
from headhunt_svc.errors import ArtifactError, ConfigError
from headhunt_svc.jobs.models import JobOptions
from headhunt_svc.names import CameraName
from headhunt_svc.pipeline.files import Passes
from headhunt_svc.serve.models import DetectOptions
from headhunt_svc.storage.files import sha256
from helpers.reports import REPORT


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *args: str) -> tuple[int, str]:
    monkeypatch.setattr("sys.argv", ["headhunt", *args])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as stop:
        cli.main()
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out + captured.err


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["detect"], 2, "give VIDEOS"),
        (["detect", "a.mp4", "--split", "test"], 2, "give VIDEOS"),
        (["detect", "a.mp4", "--plot"], 2, "--plot needs --out"),
        (["detect", "--split", "validation"], 2, "--split validation needs --out"),
        (["init", "p", "--update"], 2, "error: p holds no params.yaml, so no project: leave --update out"),
        (["init", "p", "--update", "--model", "org/model"], 2, "error: --update leaves model and footage as they are"),
        (
            ["init", "p", "--model", "./weights"],
            2,
            "error: --model ./weights: neither a folder that is there nor an id",
        ),
        (["init", "p", "--model", "https://hub/a/b"], 2, "error: --model https://hub/a/b: neither a folder"),
        (["init", "p", "--update", "--footage", "."], 2, "error: --update leaves model and footage as they are"),
        (["detect", "--nonsense"], 2, "No such option"),
        (["index", "--params", "none.yaml"], 2, "error: none.yaml not found"),
        (["bundle", "show", "--bundle", "none"], 2, "error: none/bundle.json not found: run `make demo`"),
        (["export", "x.onnx", "--bundle", "none"], 2, "error: none/bundle.json not found"),
        (["bundle", "conform", "a", "--name", "x", "--out", "o", "--rate", "1"], 2, "--rate must be between 0 and 1"),
        (["evaluate-scores", "--dataset", "ucf", "--annotations", "a"], 2, "ucf_crime"),
        (["evaluate-scores", "--dataset", "ucf_crime", "--annotations", "a"], 2, "cannot be read"),
        (["evaluate-scores", "--dataset", "own"], 2, "give annotations"),
        (["prompts"], 0, "safety@1: surveillance; violence, crime, accidents, fire\n  - Is there any danger, violence"),
        (["--help"], 0, "detect"),
        (["--version"], 0, f"headhunt-svc {version('headhunt-svc')}\n"),
        (["detect", "--split", "test", "--contributions"], 2, "are for VIDEOS, not for --split"),
        (["detect", "--split", "test", "--threshold", "0"], 2, "are for VIDEOS, not for --split"),
        (["detect", "--split", "test", "--stream", "1"], 2, "are for VIDEOS, not for --split"),
        (["detect", "--split", "test", "--describe"], 2, "are for VIDEOS, not for --split"),
        (["detect", "a.mp4", "--stream", "-1"], 2, "--stream"),
        (["detect", "a.mp4", "--server", "http://a", "--resume"], 2, "--server knows neither"),
    ],
)
def test_codes_and_messages(
    args: list[str],
    code: int,
    says: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    got, text = run(capsys, monkeypatch, *args)
    assert got == code
    assert says in text


OPTIONS = ("--operating-point", "--threshold", "--smoothing", "--contributions", "--stream", "--describe")


@pytest.mark.parametrize("command", ["detect", "batch", "jobs submit"])
def test_the_options_of_scoring_are_the_same(command: str) -> None:
    """By name, default and help."""

    def described(words: str) -> dict[str, tuple[object, str | None]]:
        group = typer.main.get_command(cli.app)
        for word in words.split():
            assert isinstance(group, typer.core.TyperGroup)
            group = group.commands[word]
        options = [p for p in group.params if isinstance(p, typer.core.TyperOption)]
        return {p.opts[0]: (p.default, p.help) for p in options if p.opts[0] in OPTIONS}

    assert set(described(command)) == set(OPTIONS)
    assert described(command) == described("detect")


def test_jobs_and_requests_take_the_options_of_the_detector() -> None:
    names = {field.name for field in fields(Options)}
    assert JobOptions.model_fields.keys() == names
    assert names < DetectOptions.model_fields.keys()
    options = Options("budget", 0.25, "causal", True, 3, True)
    assert DetectOptions.model_validate(asdict(options)).for_detector == options
    assert Options(**JobOptions.model_validate(asdict(options)).model_dump()) == options
    with pytest.raises(ConfigError, match="counted from 0"):
        Options(stream=-1)


def test_every_command_and_option_says_what_it_is_for() -> None:
    silent: list[str] = []

    def look(command: object, path: str) -> None:
        for name, below in getattr(command, "commands", {}).items():
            silent.extend([] if below.help else [f"{path} {name}"])
            look(below, f"{path} {name}")
        parameters = [
            p for p in getattr(command, "params", ()) if p.name not in ("install_completion", "show_completion")
        ]
        silent.extend(f"{path} {p.name}" for p in parameters if not p.help)

    look(typer.main.get_command(cli.app), "headhunt")
    assert silent == []


def test_missing_videos_are_each_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, text = run(capsys, monkeypatch, "detect", str(tmp_path / "one.mp4"), str(tmp_path / "two.mp4"))
    lines = [f"error: {tmp_path / name}: no such file" for name in ("one.mp4", "two.mp4")]
    assert (code, text.splitlines()) == (3, [*lines, "2 of 2 videos failed or have gaps"])


def test_a_folder_without_videos(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, text = run(capsys, monkeypatch, "detect", str(tmp_path))
    assert code == 3
    assert "no video in this folder" in text


def test_what_is_to_be_known_about_a_file_is_said_in_words() -> None:
    assert list(notices(REPORT)) == [
        ("gap", "somewhere: 2 pictures could not be decoded (broken)"),
        ("gap", "0:01.0 to 0:01.5: 3 pictures could not be decoded (x)"),
        ("hole", "0:02.0 to 10:02.0: the file has no pictures, nothing was scored"),
        ("clock", "at 0:01.0: the file's clock jumps 1:23:18.6 back; times here go on without the jump"),
        ("unfinished", "the last cluster is cut off"),
        ("rate", "10 pictures per second; the file states 25"),
        ("stream", "1 was scored; the file has the video streams 0, 1 (--stream)"),
    ]
    new = {"gaps", "stated_fps", "holes", "discontinuities", "unfinished", "stream", "cautions"}
    ordinary = Report.model_validate(REPORT.model_dump(exclude=new) | {"gaps": ()})
    assert list(notices(ordinary)) == []


@pytest.mark.parametrize(
    ("time_s", "stop_s", "where"),
    [(None, 0.0, "before the first picture"), (None, 9.0, "before 0:09.0"), (8.0, None, "0:08.0 to the end")],
)
def test_a_gap_says_where_it_is(time_s: float | None, stop_s: float | None, where: str) -> None:
    gap = ReportGap(time_s=time_s, packets=1, reason="r", stop_s=stop_s)
    (_, text), *_ = notices(REPORT.model_copy(update={"gaps": (gap,)}))
    assert text.startswith(f"{where}: 1 pictures")


def test_reasons_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    gap = ReportGap(time_s=0, packets=1, reason="[red]not markup[/red]", stop_s=1)
    print_report(REPORT.model_copy(update={"gaps": (gap,)}), None)
    assert "([red]not markup[/red])" in capsys.readouterr().out


def test_sparkline_keeps_peaks() -> None:
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    long = sparkline([1.0 if i == 777 else 0.0 for i in range(1000)])
    assert len(long) == 80
    assert long.count("█") == 1


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00.0"), (59.96, "1:00.0"), (83.24, "1:23.2"), (3723.5, "1:02:03.5")]
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.fixture
def without_f1(tmp_path: Path) -> Path:
    """The shipped bundle, as if its f1 had found nothing."""
    shutil.copytree(ROOT / "artifacts" / "detector", tmp_path / "detector")
    path = tmp_path / "detector" / "bundle.json"
    raw = json.loads(path.read_text())
    del raw["operating_points"]["f1"]
    path.write_text(json.dumps(raw | {"unavailable": {"f1": "no true span is found"}}))
    return tmp_path / "detector"


def test_a_split_is_scored_at_the_point_that_the_bundle_has(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, without_f1: Path
) -> None:
    points: list[str] = []

    def detect_stored(bundle: Path, index: Path, split: str, out: Path, features: Path, operating_point: str) -> Passes:
        points.append(operating_point)
        return Passes(7, 0)

    monkeypatch.setattr("headhunt_svc.pipeline.detect.detect_stored", detect_stored)
    monkeypatch.setattr("sys.argv", ["headhunt", "detect", "--split", "test", "--bundle", str(without_f1)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert (stop.value.code, points) == (0, ["conformal"])
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first == "operating point conformal, as the bundle has no f1: no true span is found"
    assert last.startswith("reports of the split test at operating point conformal: ")
    code, text = run(capsys, monkeypatch, "detect", str(without_f1 / "bundle.json"), "--bundle", str(without_f1))
    assert code == 2
    assert text.startswith(
        "error: no operating point 'f1' in this bundle (no true span is found); there are: conformal"
    )


def test_a_bundle_shows_which_points_it_lacks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, without_f1: Path
) -> None:
    _, text = run(capsys, monkeypatch, "bundle", "show", "--bundle", str(without_f1))
    assert re.search(r"operating point f1 +not available: no true span is found", text)


def test_what_nobody_expected_is_one_line_too_and_a_traceback_on_request(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, without_f1: Path
) -> None:
    def fail(folder: Path, metrics_file: Path) -> None:
        raise KeyError("videos")

    monkeypatch.setattr("headhunt_svc.cli.bundle.print_bundle", fail)
    args = ["bundle", "show", "--bundle", str(without_f1)]
    code, text = run(capsys, monkeypatch, *args)
    assert code == 2
    assert text.startswith("error: this was not expected, KeyError: 'videos'; ")
    assert text.count("\n") == 1
    monkeypatch.setenv("HEADHUNT_LOG_LEVEL", "DEBUG")
    monkeypatch.setattr("sys.argv", ["headhunt", *args])
    with pytest.raises(KeyError):
        cli.main()


@pytest.mark.parametrize("text", ["{}", "[]", "7", '{"detector_id": "d", "roc_auc": "x"}', '{"roc_auc": null}'])
def test_what_holds_no_figures_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"metrics\.json holds no figures .* run `headhunt evaluate` again"):
        print_bundle(ROOT / "artifacts" / "detector", tmp_path / "metrics.json")


@pytest.mark.parametrize("change", [{"rss": [0.5]}, {"data": {}}, {"data": {"index_sha256": "a", "videos": 7}}])
def test_a_bundle_whose_parts_do_not_fit_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, without_f1: Path, change: dict[str, object]
) -> None:
    path = without_f1 / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    code, text = run(capsys, monkeypatch, "bundle", "show", "--bundle", str(without_f1))
    assert code == 2
    assert re.search(r"^error: .*bundle\.json: .*: run `headhunt bundle make`$", text.strip())


@pytest.mark.parametrize("smoothing", ["offline", "causal"])
def test_causal_smoothing_of_scores_relative_to_a_median_is_refused_with_the_way_out(
    smoothing: Literal["offline", "causal"], tmp_path: Path
) -> None:
    shipped = ROOT / "artifacts" / "detector"
    bundle, scorer = load_bundle(shipped)
    save_scorer(
        tmp_path / "scorer.safetensors",
        replace(scorer, background="median", weight=np.ones(2 * len(scorer.weight)), normality=None),
    )
    f1 = bundle.operating_points["f1"].model_copy(update={"causal": None})
    update = {"scorer_sha256": sha256(tmp_path / "scorer.safetensors"), "operating_points": {"f1": f1}}
    (tmp_path / "bundle.json").write_text(bundle.model_copy(update=update).model_dump_json())
    if smoothing == "offline":
        assert check_bundle(tmp_path, "f1", smoothing).operating_points == {"f1": f1}
    else:
        with pytest.raises(ConfigError, match=r"causal smoothing: .* median of the whole video.*fit\.background: ema"):
            check_bundle(tmp_path, "f1", smoothing)


def test_export_names_cameras_and_points_as_conform_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[tuple[object, ...]] = []
    points: list[str | None] = []
    monkeypatch.setattr("headhunt_svc.pipeline.export.export", lambda *args: calls.append(args))
    monkeypatch.setattr("headhunt_svc.cli.bundle.check_bundle", lambda _, point: points.append(point))
    out, odd, name = tmp_path / "a.onnx", "yard\x1b" + "y" * 300, CameraName("yard\x1b" + "y" * 300)
    assert name != odd
    assert run(capsys, monkeypatch, "export", str(out), "--camera", odd, "--operating-point", odd)[0] == 0
    assert [call[1:] for call in calls] == [(out, name, name)]
    assert points == [name]


def test_a_camera_that_the_bundle_has_not_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundle = load_bundle(ROOT / "artifacts" / "detector")[0]
    camera = StoredCamera(sha256="0", segments=9, mean_strength=5, covariance_strength=40)
    with_yard = bundle.model_copy(update={"cameras": {"yard": camera}})
    monkeypatch.setattr("headhunt_svc.cli.detect.check_bundle", lambda *_: with_yard)
    monkeypatch.setattr("headhunt_svc.cli.detect._by_detector", lambda *_: (r for r in (REPORT,)))
    (tmp_path / "a.mp4").write_bytes(b"0")
    for name, noted in (("nosuch", True), ("yard", False)):
        _, text = run(capsys, monkeypatch, "detect", str(tmp_path / "a.mp4"), "--camera", name)
        assert (
            "the scorer of all cameras is used: the bundle has no camera 'nosuch'; there are: yard" in text
        ) == noted, text
