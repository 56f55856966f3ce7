"""For every window of the simulation: verdict.json, drift.html, gauges and the console's pages say the same.

    python benchmarks/monitor_agreement.py            # minutes; simulates 3 and 50 cameras where that is missing

Every day of the simulated log is judged anew with all pages. It also measures drift.html: its size, how high it is in a
browser of 1440x900 as it opens, and how long that takes. Exit code 1: something says something else.
"""

import argparse
import html
import json
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from headhunt_svc.console.app import create_app
from headhunt_svc.console.desk import Desk
from headhunt_svc.console.places import Places
from headhunt_svc.events.store import EventStore
from headhunt_svc.monitoring.config import load_drift
from headhunt_svc.monitoring.run import Monitor, Paths
from headhunt_svc.monitoring.verdicts import PAGE, VERDICT
from headhunt_svc.settings import EventSettings

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from helpers.browser import browser, complaints  # noqa: E402
from helpers.consoles import BASE  # noqa: E402
from helpers.same_words import disagreements, of_evidently, of_verdict  # noqa: E402

START, DAYS = datetime(2026, 3, 1, tzinfo=UTC), 14


def simulated(folder: Path, cameras: int) -> Path:
    """The simulation with so many cameras, made if it is not there."""
    if not (folder / "verdicts" / f"{START + timedelta(days=DAYS):%Y%m%dT%H%M%S}" / VERDICT).exists():
        command = ["headhunt", "monitor", "simulate", "--out", str(folder), "--cameras", str(cameras)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def agreement(simulation: Path, scratch: Path) -> dict[str, Any]:
    """Judge every day anew, with pages, and read what each surface says of it."""
    monitor_folder = scratch / "monitor"
    shutil.copytree(simulation / "baselines", monitor_folder / "baselines")
    log, none = str(simulation / "log"), scratch / "none"
    out = monitor_folder / "verdicts"
    paths = Paths(log, monitor_folder / "baselines", none, out, monitor_folder / "workspace")
    monitor = Monitor(paths, load_drift(ROOT / "monitoring" / "drift.yaml"))
    places = Places(scratch / "cameras.yaml", scratch / "states", monitor_folder, log, none)
    found: list[str] = []
    alarms, statements, drawn, seconds = 0, 0, 0, []
    with ExitStack() as stack:
        store = stack.enter_context(EventStore.open(EventSettings(folder=scratch / "events")))
        desk = Desk(places, store)
        app = create_app(desk, lambda: None)
        console = stack.enter_context(TestClient(app, base_url=BASE, headers={"accept": "text/html"}))

        def get(address: str, **parameters: str) -> str:
            answer = console.get(address, params=parameters)
            answer.raise_for_status()
            return answer.text

        for day in range(1, DAYS + 1):
            stop = START + timedelta(days=day)
            began = time.perf_counter()
            monitor.run(stop, now=stop)
            seconds.append(time.perf_counter() - began)
            desk.history.refresh()
            folder = out / f"{stop:%Y%m%dT%H%M%S}"
            found += [f"{stop:%Y-%m-%d}: {text}" for text in disagreements(folder, get)]
            said = of_verdict(folder)
            alarms += sum(s.since is not None for s in said.values())
            statements += sum(3 + len(s.signals) for s in said.values())
            drawn += of_evidently(folder)[0]
    return {
        "windows": DAYS,
        "cameras": len(list((simulation / "baselines").glob("*/"))),
        "alarms": alarms,
        "statements": statements,
        "charts_that_say_drift": drawn,
        "seconds_a_window": round(sum(seconds) / len(seconds), 1),
        "disagreements": found,
        **rendering(out / folder.name / PAGE, scratch),
    }


def rendering(page: Path, scratch: Path) -> dict[str, Any]:
    """The last window's page in a browser."""
    with browser(scratch / "profile") as driver:
        began = time.perf_counter()
        driver.get(page.as_uri())
        opened = time.perf_counter() - began
        height = driver.execute_script("return document.documentElement.scrollHeight")
        problems = complaints(driver)
        text = driver.find_element("tag name", "h1").text
        driver.save_screenshot(str(scratch.parent / f"{scratch.name}.png"))
    return {
        "page_mb": round(page.stat().st_size / 1e6, 1),
        "page_height_px": height,
        "page_seconds": round(opened, 1),
        "page_begins": html.unescape(text),
        "page_problems": problems,
    }


def main() -> int:
    """Simulate, judge, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=Path, default=ROOT / "out")
    parser.add_argument("--cameras", type=int, nargs="+", default=[3, 50])
    args = parser.parse_args()
    bad = 0
    for cameras in args.cameras:
        simulation = simulated(args.simulations / f"monitor-{cameras}", cameras)
        with tempfile.TemporaryDirectory() as name:
            figures = agreement(simulation, Path(name))
        print(json.dumps(figures, indent=2))
        bad += len(figures["disagreements"])
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
