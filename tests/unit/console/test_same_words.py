"""For every window the pages say what verdict.json and the gauges say; alarm pages show the rows that were judged."""

import html
import json
import re
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import REGISTRY

from conftest import ROOT
from headhunt_svc.console import words
from headhunt_svc.console.desk import Desk
from headhunt_svc.console.pages import ratio_text
from headhunt_svc.monitoring.baselines import Baselines
from headhunt_svc.monitoring.config import load_drift
from headhunt_svc.monitoring.run import Monitor, Paths, rebaseline
from helpers.consoles import Client
from helpers.log_rows import START, rows, write
from helpers.same_words import disagreements, of_verdict

PARAMS = load_drift(ROOT / "monitoring" / "drift.yaml").model_copy(update={"draws": 12})
DAY = timedelta(days=1)
DARK = {"brightness": np.full(16, 0.2)}


def text_of(page: str) -> str:
    """The words of a page."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page.split("<main")[1].split("</main>")[0])).split())


def log_days(log: str) -> None:
    """Four days of three cameras: one gets dark on the third day and is light again on the fourth."""
    tables = []
    for number in range(4):
        for camera in ("yard", "dock", "new"):
            columns = DARK if (camera, number) == ("dock", 2) else {}
            for i in range(20):
                start = START + number * DAY + timedelta(hours=i)
                tables.append(rows(16, camera, f"{number}-{i}.mp4", start, 100 * number + i, **columns))
    write(log, *tables)


@pytest.fixture
def windows(tmp_path: Path, desk: Desk) -> list[str]:
    """The monitor's windows, judged."""
    log_days(str(tmp_path / "log"))
    monitor = tmp_path / "monitor"
    baselines = Baselines(monitor / "baselines")
    for camera in ("yard", "dock"):
        rebaseline(str(tmp_path / "log"), baselines, camera, PARAMS.query(START, START + DAY), PARAMS.min_segments, "")
    paths = Paths(str(tmp_path / "log"), baselines.folder, tmp_path / "none", monitor / "verdicts", tmp_path / "w")
    runs = Monitor(paths, PARAMS, pages=False)
    for number in (2, 3, 4):
        runs.run(START + number * DAY)
    desk.history.refresh()
    return [window.folder for window in desk.history.windows]


def test_every_window(windows: list[str], desk: Desk, desk_client: Client) -> None:
    console = desk_client()
    assert len(windows) == 3
    kinds = []
    for window in windows:
        verdict = json.loads((desk.places.verdicts / window / "verdict.json").read_text())
        for name, camera in verdict["cameras"].items():
            page = console.get("/drift/camera", params={"camera": name, "window": window})
            words_shown = text_of(page.text)
            assert f">{name}: {camera['kind'] or camera['status']}</h1>" in page.text
            assert ("What to do" in words_shown) == (camera["kind"] is not None)
            over = re.findall(r'<tr class="bad"><th scope="row">[^<]*<span class="quiet">(\w+)', page.text)
            assert sorted(over) == sorted(camera["over"])
            for signal, result in camera["signals"].items():
                assert f"{result['value']:.3f} {result['limit']:.3f}" in words_shown, signal
            kinds.append((window[:8], name, camera["kind"]))
    assert [k for k in kinds if k[2]] == [("20260304", "dock", "lighting")]


@pytest.mark.usefixtures("evidently")
def test_all_surfaces_of_every_window(
    tmp_path: Path, desk: Desk, desk_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With drift.html and gauges; benchmarks/monitor_agreement.py does so for the simulation."""
    monkeypatch.setattr("headhunt_svc.console.desk.AGE", timedelta(0))  # pages are drawn anew each time
    log_days(str(tmp_path / "log"))
    monitor = tmp_path / "monitor"
    baselines = Baselines(monitor / "baselines")
    for camera in ("yard", "dock"):
        rebaseline(str(tmp_path / "log"), baselines, camera, PARAMS.query(START, START + DAY), PARAMS.min_segments, "")
    paths = Paths(str(tmp_path / "log"), baselines.folder, tmp_path / "none", monitor / "verdicts", tmp_path / "w")
    runs, console = Monitor(paths, PARAMS), desk_client()

    def get(address: str, **parameters: str) -> str:
        return console.get(address, params=parameters).text

    said = []
    for number in (3, 4, 6):
        stop = START + number * DAY
        runs.run(stop)
        desk.history.refresh()
        folder = monitor / "verdicts" / f"{stop:%Y%m%dT%H%M%S}"
        assert list(disagreements(folder, get)) == []
        said.append({name: s.word for name, s in of_verdict(folder).items() if s.since})
        if number == 3:  # the check can fail
            page = folder / "drift.html"
            page.write_text(page.read_text().replace("<td>lighting</td>", "<td>view</td>"))
            assert [text.partition(":")[0] for text in disagreements(folder, get)] == ["drift.html"]
    assert said == [{"dock": "lighting"}, {}, {"dock": "silent", "yard": "silent"}]


def test_the_latest_window(windows: list[str], desk: Desk, desk_client: Client) -> None:
    (desk.places.verdicts / windows[2] / "verdict.json").unlink()
    dark = (desk.places.verdicts / windows[1] / "verdict.json").read_bytes()
    (desk.places.verdicts / "verdict.json").write_bytes(dark)
    verdict, console = json.loads(dark), desk_client()
    status, drift = console.get("/").text, console.get("/drift").text
    for name, camera in verdict["cameras"].items():
        row = drift.split(f'<tr data-row="{name}">')[1].split("</tr>")[0]
        assert f">{camera['kind'] or camera['status']}</span>" in row
        shown = re.findall(r'<span class="now">([^<]*)</span>', row)
        signals = camera["signals"]
        assert shown == [
            ratio_text(signals[s]["value"] / signals[s]["limit"]) if s in signals else "-" for s in words.ALL_SIGNALS
        ]
        assert row.count('class="over"><svg') == len(camera["over"])
    dock = text_of(f"""<main>{status.split('data-row="dock"')[1].split("</tr>")[0]}</main>""")
    assert "lighting since 2026-03-03 01:00 CET" in dock
    assert status.index('data-row="dock"') < status.index('data-row="new"') < status.index('data-row="yard"')


def test_gauges(windows: list[str], desk: Desk) -> None:
    latest = desk.history.latest
    assert latest is not None
    for name, camera in latest.cameras.items():
        for signal, result in camera.signals.items():
            for gauge, value in (("signal", result.value), ("limit", result.limit)):
                labels = {"camera": name, "signal": signal}
                assert REGISTRY.get_sample_value(f"headhunt_monitor_{gauge}", labels) == pytest.approx(value)
        for kind in words.KINDS:
            alarm = REGISTRY.get_sample_value("headhunt_monitor_alarm", {"camera": name, "kind": kind})
            assert alarm == float(camera.kind == kind)


def test_an_alarms_page_shows_the_rows_of_window_and_baseline(windows: list[str], desk_client: Client) -> None:
    page = desk_client().get("/drift/camera", params={"camera": "dock", "window": windows[1]}).text
    assert "window, 320 segments" in text_of(page)
    assert "baseline, 320 segments" in text_of(page)
    assert re.search(r'aria-label="light: mean 0\.2 in the window, 0\.(49|5)\d* in the baseline"', page)
    assert page.count('<svg class="histogram"') == 3
