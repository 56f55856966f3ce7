"""A run of the monitor with Evidently: verdict, pages, workspace, gauges, and a dashboard that is built once."""

import json
import re
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from prometheus_client import REGISTRY, generate_latest

from conftest import ROOT
from headhunt_svc.core.drift import signals
from headhunt_svc.core.samples import Sample
from headhunt_svc.errors import ArtifactError, ConfigError, OutputError
from headhunt_svc.monitoring.baselines import Baselines
from headhunt_svc.monitoring.config import load_drift
from headhunt_svc.monitoring.drift import Comparison
from headhunt_svc.monitoring.metrics import MOST_CAMERAS, show
from headhunt_svc.monitoring.run import Monitor, Paths, rebaseline, require_log
from headhunt_svc.monitoring.silence import Expected
from headhunt_svc.monitoring.verdicts import CameraVerdict, SignalResult, Verdict, read_verdict
from headhunt_svc.prediction_log.windows import Rows, sample_of
from headhunt_svc.storage.locks import exclusive
from helpers.kills import runs_killed_at
from helpers.log_rows import METADATA, START, rows, write
from helpers.threads import in_threads

pytestmark = pytest.mark.usefixtures("evidently")
PARAMS = load_drift(ROOT / "monitoring" / "drift.yaml").model_copy(update={"draws": 12})
DAY = timedelta(days=1)
NOTHING = Verdict(START, START + DAY, None, {}, {}, {})


def day(number: int, camera: str, **columns: object) -> list:
    return [
        rows(16, camera, f"{number}-{i}.mp4", START + number * DAY + timedelta(hours=i), 100 * number + i, **columns)
        for i in range(20)
    ]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """Two days of a camera that stays and of one that gets dark on the second, baselines of the day before."""
    folder = tmp_path_factory.mktemp("monitor")
    paths = Paths(str(folder / "log"), folder / "b", folder / "none", folder / "out", folder / "workspace")
    dark = {"brightness": np.full(16, 0.2)}
    tables = [t for n in (0, 1, 2) for t in day(n, "yard")]
    tables += [t for n in (0, 1, 2) for t in day(n, "dock", **(dark if n == 2 else {}))]
    write(paths.log, *tables)
    for camera in ("yard", "dock"):
        query = PARAMS.query(START, START + DAY)
        rebaseline(paths.log, Baselines(paths.baselines), camera, query, PARAMS.min_segments, "")
    return paths


def test_cameras_are_known_by_baseline_rows_of_the_window_or_cameras_yaml(tmp_path: Path) -> None:
    paths = Paths(str(tmp_path / "log"), tmp_path / "b", tmp_path / "none", tmp_path / "out", tmp_path / "workspace")
    write(paths.log, rows(2))
    monitor = Monitor(paths, PARAMS, pages=False, detector_id="another", expected=lambda: {"gate": Expected(DAY)})
    assert monitor.run(START + DAY).known == ("gate", "yard")  # though no row can be judged
    assert monitor.run(START + 9 * DAY).known == ("gate",)
    version = Baselines(paths.baselines).add("dock", Rows(METADATA, rows(2, "dock"), 2, 0), "good")
    Baselines(paths.baselines).path("dock", version).write_bytes(b"damaged")
    assert monitor.run(START + 9 * DAY).known == ("dock", "gate")


def test_cameras_that_earlier_verdicts_of_the_folder_name_are_once_known(tmp_path: Path) -> None:
    paths = Paths(str(tmp_path / "log"), tmp_path / "b", tmp_path / "none", tmp_path / "out", tmp_path / "workspace")
    write(paths.log, rows(2))

    def run(number: int, *cameras: str) -> Verdict:
        expected = dict.fromkeys(cameras, Expected(DAY))
        return Monitor(paths, PARAMS, pages=False, expected=lambda: expected).run(START + number * DAY)

    assert run(1, "gate", "dock").once_known == ()
    assert run(1, "gate", "dock").once_known == ()  # the same window again
    without_file = run(9)
    assert (without_file.known, without_file.expected) == ((), ("dock", "gate"))
    assert not any(without_file.is_gone(name) for name in ("gate", "dock", "yard"))
    later = run(10, "gate")
    assert (later.known, later.once_known) == (("gate",), ("dock", "yard"))
    assert [later.is_gone(name) for name in ("gate", "dock", "yard", "never")] == [False, True, True, False]
    assert run(11, "gate").once_known == later.once_known  # an end that could not be told is told by a later run


def test_a_damaged_earlier_verdict_is_named_and_the_one_before_counts(tmp_path: Path) -> None:
    paths = Paths(str(tmp_path / "log"), tmp_path / "b", tmp_path / "none", tmp_path / "out", tmp_path / "workspace")
    write(paths.log, rows(2))

    def run(number: int, *cameras: str) -> Verdict:
        expected = dict.fromkeys(cameras, Expected(DAY))
        return Monitor(paths, PARAMS, pages=False, expected=lambda: expected).run(START + number * DAY)

    first = run(9, "gate", "dock")
    run(10, "gate", "dock")
    (paths.out / f"{START + 10 * DAY:%Y%m%dT%H%M%S}" / "verdict.json").write_text('{"cameras": {}}')
    later = run(11, "gate")
    assert later.once_known == ("dock",)
    assert later.cameras["gate"].since == first.cameras["gate"].since
    (problem,) = later.problems
    again = f"run `headhunt monitor run --at {START + 10 * DAY:%Y-%m-%dT%H:%M:%S}`"
    assert problem.endswith(f"{again}; since when alarms go on is taken from the window before")


def test_a_verdict_is_read_as_it_was_written(tmp_path: Path) -> None:
    signals = {"view": SignalResult(0.3, 0.2, 0.05), "heads": SignalResult(0.1, 0.0, 0.0)}
    turned = CameraVerdict(
        "yard", "drift", "", "v1", 90, 6, 3, 0.1, (0.05, 0.2), signals, {"1.2": 0.3}, {"1.2": 1.1}, "view", START,
        {"activity": START},
    )  # fmt: skip
    silent = CameraVerdict("dock", "silent", kind="pipeline", since=START)
    verdict = replace(NOTHING, cameras={"yard": turned, "dock": silent}, excluded={"late": 2}, known=("dock", "yard"))
    (tmp_path / "verdict.json").write_text(json.dumps(verdict.as_json()))
    stored = read_verdict(tmp_path / "verdict.json")
    assert stored == verdict
    assert [camera.word for camera in stored.cameras.values()] == ["view", "silent"]
    assert stored.cameras["yard"].worst == ("heads", signals["heads"])  # a limit of 0: infinitely far beyond


@pytest.mark.parametrize("text", ["", "[]", '{"start": "2026-03-01T00:00:00", "stop": "2026-03-02T00:00:00Z"}'])
def test_a_damaged_verdict_is_named_with_the_command_that_writes_it_again(tmp_path: Path, text: str) -> None:
    for folder, command in (("20260302T000000", "monitor run --at 2026-03-02T00:00:00`"), ("verdicts", "monitor run`")):
        path = tmp_path / folder / "verdict.json"
        path.parent.mkdir()
        path.write_text(text)
        with pytest.raises(
            ArtifactError, match=rf"{folder}/verdict\.json is not a verdict .*: run `headhunt {command}$"
        ):
            read_verdict(path)


def test_a_run_leaves_verdict_pages_and_gauges(paths: Paths) -> None:
    monitor = Monitor(paths, PARAMS)
    fine, dark = (monitor.run(START + n * DAY) for n in (2, 3))
    assert not fine.drifted
    assert dark.drifted
    assert [(n, v.kind) for n, v in dark.cameras.items() if v.kind] == [("dock", "lighting")]
    assert dark.alarms[0].startswith("dock: lighting since 2026-03-03 00:00 (brightness")
    written = json.loads((paths.out / "verdict.json").read_text())
    assert written["cameras"]["dock"]["over"] == ["brightness"]
    assert "monitor rebaseline --camera" in written["cameras"]["dock"]["remedy"]
    assert written["detector_id"] == METADATA.detector_id
    page = (paths.out / "20260304T000000" / "drift.html").read_text()
    assert page.lower().startswith("<!doctype") or "<html" in page[:200]
    assert 'src="http' not in page
    gauge = REGISTRY.get_sample_value
    assert gauge("headhunt_monitor_alarm", {"camera": "dock", "kind": "lighting"}) == 1
    assert gauge("headhunt_monitor_alarm", {"camera": "yard", "kind": "lighting"}) == 0
    assert gauge("headhunt_monitor_signal", {"camera": "dock", "signal": "brightness"}) == pytest.approx(
        dark.cameras["dock"].signals["brightness"].value
    )


def compare(reference: Sample, current: Sample, limit: float, **limits: float) -> Comparison:
    values = signals(reference, current, 0.5, 30)
    results = {name: SignalResult(value, limits.get(name, limit), 0.0) for name, value in values.items()}
    return Comparison(reference, current, 0.5, results)


def sample(number: int, camera: str) -> Sample:
    table = pa.concat_tables(day(number, camera)).unify_dictionaries()
    return sample_of(Rows(METADATA, table, len(table), 3), 16)


def test_the_name_of_a_camera_is_no_script_of_the_page(tmp_path: Path) -> None:
    from headhunt_svc.monitoring.snapshot import save_page, take_snapshot

    reference, current = sample(0, "yard"), sample(1, "yard")
    camera = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    pages = []
    for name in ("yard", camera):
        snapshot = take_snapshot({name: compare(reference, current, 99.0)}, {name: {"mean_score": 0.5}}, START, "")
        save_page(tmp_path / "page.html", snapshot, NOTHING)
        pages.append((tmp_path / "page.html").read_text(encoding="utf-8"))
    plain, odd = pages
    assert "onerror=alert(2)" in odd
    assert [odd.count(tag) for tag in ("<script", "</script", "<img")] == [
        plain.count(tag) for tag in ("<script", "</script", "<img")
    ]


def test_values_and_tests_of_the_page_are_those_of_the_verdict(paths: Paths) -> None:
    from headhunt_svc.monitoring.snapshot import NATIVE, column_of, take_snapshot

    reference, current = sample(0, "yard"), sample(1, "dock")
    few = current.where(np.arange(len(current)) < 100)  # shorter columns beside longer ones
    brightness = signals(reference, current, 0.5, 30)["brightness"]
    comparisons = {
        "yard": compare(reference, current, 99.0, brightness=brightness / 2),
        "dock": compare(reference, few, 99.0),
    }
    page = take_snapshot(comparisons, {}, START, "a title").dict()
    assert all(NATIVE.keys() <= c.signals.keys() for c in comparisons.values())
    worst_first = sorted(
        ((camera, name, result) for camera, c in comparisons.items() for name, result in c.signals.items()),
        key=lambda signal: -signal[2].value / signal[2].limit,
    )
    for metric, (camera, name, result) in zip(page["metrics"], worst_first, strict=True):
        assert metric["config"]["column"] == column_of(camera, NATIVE.get(name, (name,))[0])
        assert metric["value"] == pytest.approx(result.value, rel=1e-9), (camera, name)
    failed = [t["name"] for t in page["tests"] if t["status"] == "FAIL"]
    assert len(failed) == 1
    assert "yard: brightness" in failed[0]


def test_the_page_begins_with_the_verdict_and_says_drift_where_it_does(paths: Paths) -> None:
    for n in (2, 3):
        verdict = Monitor(paths, PARAMS).run(START + n * DAY)
        folder = paths.out / f"{verdict.stop:%Y%m%dT%H%M%S}"
        page = (folder / "drift.html").read_text()
        written = json.loads((folder / "verdict.json").read_text())["cameras"]
        over = {(name, signal) for name, camera in written.items() for signal in camera["over"]}
        assert page.count("Data drift detected") == len([s for _, s in over if s in ("brightness",)])
        assert page.count("Data drift not detected") > 0
        heading = page[page.index("<h1>") : page.index('<div class="charts">')]
        assert f"<h1>Monitor: {'alarms (1 of 2 cameras)' if verdict.drifted else 'fine'}</h1>" in heading
        assert f"{verdict.start:%Y-%m-%d %H:%M} to {verdict.stop:%Y-%m-%d %H:%M} UTC" in heading
        first = re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td>", heading.partition("<details>")[0])
        assert dict(first) == {name: c["kind"] or c["status"] for name, c in written.items()}
        if verdict.drifted:
            assert first[0] == ("dock", "lighting")
        gauges = {
            s.labels["camera"]: s.labels["kind"]
            for metric in REGISTRY.collect()
            for s in metric.samples
            if s.name == "headhunt_monitor_alarm" and s.value == 1
        }
        assert gauges == {name: c["kind"] for name, c in written.items() if c["kind"]}


def test_a_mistyped_camera_or_log_is_named_with_the_way_out(paths: Paths, tmp_path: Path) -> None:
    query, baselines = PARAMS.query(START, START + DAY), Baselines(tmp_path)
    with pytest.raises(ConfigError, match=r"holds 0 segments of yrad.*cameras with rows: dock, yard"):
        rebaseline(paths.log, baselines, "yrad", query, 100, "")
    for log in (tmp_path / "lgo", tmp_path):
        with pytest.raises(ConfigError, match="does not exist or holds no rows: name the log with --log"):
            require_log(str(log))
    require_log(paths.log)


def test_an_alarm_keeps_its_date_and_a_repeated_run_replaces_its_snapshots(paths: Paths) -> None:
    from headhunt_svc.monitoring.snapshot import cameras_of, open_workspace

    monitor = Monitor(paths, PARAMS)
    first = monitor.run(START + 3 * DAY)
    space, project = open_workspace(paths.workspace)
    n = len(space.list_runs(project.id))
    again = monitor.run(START + 3 * DAY)
    assert len(space.list_runs(project.id)) == n
    assert again.cameras["dock"].since == first.cameras["dock"].since
    assert cameras_of(paths.workspace) == ["all cameras", "dock", "yard"]


@pytest.mark.parametrize("name", ["../elsewhere", "a:b", "./here"])
def test_a_workspace_is_the_folder_that_its_name_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from headhunt_svc.monitoring.snapshot import cameras_of, open_workspace

    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    _, project = open_workspace(Path(name))
    assert open_workspace(Path(name))[1].id == project.id
    assert (tmp_path / "work" / name / str(project.id)).is_dir()
    assert cameras_of(Path(name)) == []


def test_an_earlier_window_that_is_judged_again_is_not_the_latest(paths: Paths) -> None:
    monitor = Monitor(paths, PARAMS, pages=False)
    dark = monitor.run(START + 3 * DAY)
    assert not monitor.run(START + 2 * DAY).drifted
    assert json.loads((paths.out / "verdict.json").read_text())["alarms"] == list(dark.alarms)
    later = monitor.run(START + 3 * DAY + timedelta(hours=6))  # the dark day is still in it
    assert later.cameras["dock"].since == dark.cameras["dock"].since
    assert json.loads((paths.out / "verdict.json").read_text())["stop"] == later.stop.isoformat()


def test_panels_are_built_once_and_tabs_of_others_stay(paths: Paths) -> None:
    from evidently.sdk.panels import text_panel

    from headhunt_svc.monitoring.dashboard import TABS, build
    from headhunt_svc.monitoring.snapshot import open_workspace

    _, project = open_workspace(paths.workspace)
    project.dashboard.add_panel(text_panel(title="notes"), tab="Mine")
    counts = [build(paths.workspace, ["dock", "yard"]) for _ in range(3)]
    assert len(set(counts)) == 1
    model = project.dashboard.model()
    assert [t.title for t in model.tabs] == ["Mine", *TABS]
    listed = [i for t in model.tabs for i in t.panels]
    assert len(listed) == len(set(listed)) == len(model.panels) == 1 + sum(map(len, TABS.values()))
    assert {len(p.values) for p in model.panels if p.title != "notes"} == {2}


def test_baselines_of_another_detector_are_named(paths: Paths) -> None:
    verdict = Monitor(paths, PARAMS, pages=False, detector_id="f" * 12).run(START + 2 * DAY)
    assert "is of detector aaaaaaaaaaaa, not ffffffffffff" in verdict.problems[0]
    assert verdict.excluded == {"detector aaaaaaaaaaaa": 640}
    assert "all rows are of detector aaaaaaaaaaaa" in verdict.alarms[0]


def runs_of(workspace: Path) -> list[dict]:
    """The runs of a workspace as files; all of them are whole."""
    return [json.loads(path.read_text()) for path in workspace.glob("*/snapshots/*.json")]


def test_a_killed_run_leaves_a_workspace_that_can_be_read_and_the_next_one_makes_no_second_point(
    paths: Paths, tmp_path: Path
) -> None:
    """Killed at every step that changes the disk; the dashboard needs all files of the workspace whole."""
    from headhunt_svc.monitoring.snapshot import add_run, cameras_of, take_snapshot

    reference, current = sample(0, "yard"), sample(1, "yard")
    snapshot = take_snapshot({"yard": compare(reference, current, 99.0)}, {}, START, "")
    step = 0
    while runs_killed_at(step, partial(add_run, workspace := tmp_path / str(step), snapshot, START)):
        assert len(runs_of(workspace)) <= 1
        add_run(workspace, snapshot, START)
        assert len(runs_of(workspace)) == 1, step
        assert cameras_of(workspace) == ["yard"]
        step += 1
    assert step > 5


def test_monitors_that_begin_at_once_share_one_project(paths: Paths, tmp_path: Path) -> None:
    from headhunt_svc.monitoring.snapshot import add_run, take_snapshot

    snapshot = take_snapshot({"yard": compare(sample(0, "yard"), sample(1, "yard"), 99.0)}, {}, START, "")
    add = lambda i: add_run(tmp_path / "workspace", snapshot, START + i * DAY)  # noqa: E731
    assert in_threads(4, add) == []
    assert len({path.parent for path in (tmp_path / "workspace").glob("*/snapshots")}) == 1
    assert len(runs_of(tmp_path / "workspace")) == 4


def test_a_damaged_workspace_is_named_and_keeps_no_verdict_from_being_written(paths: Paths, tmp_path: Path) -> None:
    places = replace(paths, out=tmp_path / "out", workspace=tmp_path / "workspace")
    Monitor(places, PARAMS).run(START + 2 * DAY)
    (run,) = places.workspace.glob("*/snapshots/*.json")
    run.write_text(run.read_text()[:1000])
    with pytest.raises(ArtifactError, match=r"cannot be read as Evidently's workspace .*: move it away"):
        Monitor(places, PARAMS).run(START + 3 * DAY)
    assert json.loads((places.out / "verdict.json").read_text())["cameras"]["dock"]["kind"] == "lighting"


def test_a_window_of_a_wrong_clock_does_not_stay_the_latest(paths: Paths, tmp_path: Path) -> None:
    places = replace(paths, out=tmp_path / "out", workspace=tmp_path / "workspace")
    monitor, ahead = Monitor(places, PARAMS, pages=False), START + timedelta(days=3650)
    monitor.run(ahead, now=ahead)
    right = monitor.run(START + 3 * DAY, now=START + 3 * DAY)
    assert json.loads((places.out / "verdict.json").read_text())["stop"] == right.stop.isoformat()


def test_a_slow_monitor_of_an_earlier_window_does_not_write_after_one_of_a_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = Paths(str(tmp_path / "log"), tmp_path / "b", tmp_path / "none", tmp_path / "out", tmp_path / "workspace")
    write(paths.log, rows(2))

    def run(number: int) -> Verdict:
        return Monitor(paths, PARAMS, pages=False).run(START + number * DAY)

    def list_then_wait(monitor: Monitor) -> list[str]:
        names = listed(monitor)
        if f"{START + DAY:%Y%m%dT%H%M%S}" in names:  # its own: whether it is the latest is decided now
            monkeypatch.setattr(Monitor, "_windows", listed)
            with pytest.raises(OutputError, match="locked by another process"):
                run(2)
        return names

    listed = Monitor._windows
    monkeypatch.setattr(Monitor, "_windows", list_then_wait)
    monkeypatch.setattr("headhunt_svc.monitoring.run.exclusive", partial(exclusive, wait_s=0), raising=False)
    run(1)
    later = run(2)  # that waited, in the life of two processes
    assert read_verdict(paths.out / "verdict.json").stop == later.stop


def test_a_camera_may_be_named_like_the_verdict_on_all_cameras(tmp_path: Path) -> None:
    """Two cameras, one of them with that name: three verdicts, gauges and lines."""
    places = Paths(str(tmp_path / "log"), tmp_path / "b", tmp_path / "none", tmp_path / "out", tmp_path / "workspace")
    dark = {"brightness": np.full(16, 0.2)}
    tables = [t for n in (0, 1) for t in day(n, "all cameras", **(dark if n else {}))]
    write(places.log, *tables, *day(0, "yard"), *day(1, "yard"))
    for camera in ("all cameras", "yard"):
        query = PARAMS.query(START, START + DAY)
        rebaseline(places.log, Baselines(places.baselines), camera, query, PARAMS.min_segments, "")
    verdict = Monitor(places, PARAMS).run(START + 2 * DAY)
    assert {name: v.kind for name, v in verdict.cameras.items()} == {
        "all%20cameras": "lighting", "yard": None, "all cameras": None
    }  # fmt: skip
    from headhunt_svc.monitoring.snapshot import cameras_of

    assert cameras_of(places.workspace) == sorted(verdict.cameras)


def test_gauges_are_those_of_the_last_run_and_of_a_bounded_number_of_cameras() -> None:
    over = {"brightness": SignalResult(2.0, 1.0, 0.0)}
    dark = CameraVerdict("zzz", "drift", signals=over, kind="lighting")
    show({"gone": dark, "yard": CameraVerdict("yard", "fine", signals=over)})
    many = {name: CameraVerdict(name, "fine", signals=over) for name in (f"camera {i}" for i in range(3000))}
    show(many | {"zzz": dark})
    names = {line for line in generate_latest().decode().splitlines() if line.startswith("headhunt_monitor_alarm{")}
    assert not any('camera="gone"' in line for line in names)
    assert len(names) == 5 * MOST_CAMERAS
    gauge = REGISTRY.get_sample_value
    assert gauge("headhunt_monitor_alarm", {"camera": "zzz", "kind": "lighting"}) == 1  # alarms come first
    assert gauge("headhunt_monitor_cameras_left_out") == 3001 - MOST_CAMERAS
    show({"zzz": CameraVerdict("zzz", "no data")})
    assert gauge("headhunt_monitor_alarm", {"camera": "zzz", "kind": "lighting"}) == 0
    assert gauge("headhunt_monitor_signal", {"camera": "zzz", "signal": "brightness"}) is None
