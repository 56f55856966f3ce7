"""The pictures of docs/console.md: the console on the simulated cameras, as a browser shows it at 1440x900.

    python benchmarks/console_pictures.py            # minutes: simulates 3 and 50 cameras where that is not there yet

Events are those that the simulation's log has; their pictures and clips are rendered anew.
"""

import argparse
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from headhunt_svc.demo.corpus import write_mp4
from headhunt_svc.demo.rendering import render
from headhunt_svc.demo.scenes import FPS, SEEN_KINDS, camera, surveillance
from headhunt_svc.events.pictures import jpeg
from headhunt_svc.events.records import EventState, NewEvent, TimeBasis
from headhunt_svc.events.store import EventStore
from headhunt_svc.prediction_log.stretches import days_between, read_stretch
from headhunt_svc.settings import EventSettings
from headhunt_svc.storage.store import Store

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from helpers.browser import browser  # noqa: E402
from helpers.consoles import serving_console  # noqa: E402

START, STOP = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 15, tzinfo=UTC)
COLUMNS = ("video", "pass_id", "segment", "start_s", "stop_s", "smoothed", "in_event", "contributions")
MOST = 20  # events of a camera
SCENES = 2  # rendered for a camera; its events show them in turn
SIDE = 192  # of rendered pictures


def runs(table: pa.Table) -> Iterator[pa.Table]:
    """The rows of every event in a camera's log: neighbouring segments of one pass that are in an event."""
    inside = table.filter(table["in_event"])
    passes = np.asarray(pc.cast(inside["pass_id"], pa.string()).to_numpy())
    segments = np.asarray(inside["segment"].to_numpy())
    begins = np.flatnonzero(np.append(True, (passes[1:] != passes[:-1]) | (np.diff(segments) != 1)))
    for begin, end in zip(begins, np.append(begins[1:], len(inside)), strict=True):
        yield inside.slice(begin, end - begin)


def scene_of(number: int, i: int) -> np.ndarray:
    """Pictures of an anomaly that a camera sees."""
    rng = np.random.default_rng([number, i])
    scene, t = surveillance(rng, str(rng.choice(SEEN_KINDS)), camera(number))
    return render(scene, t, SIDE)


def store_events(log: Path, folder: Path, cameras: list[str]) -> str:
    """The events of these cameras; returns the id of the one with the highest score of the last day."""
    best: tuple[float, str] = (0.0, "")
    with EventStore.open(EventSettings(folder=folder)) as store, tempfile.TemporaryDirectory() as scratch:
        for number, name in enumerate(cameras):
            stretch = read_stretch(Store(str(log)), name, days_between(START, STOP), COLUMNS)
            assert stretch.metadata is not None
            scenes = [scene_of(number, i) for i in range(SCENES)]
            for i, run in enumerate(list(runs(stretch.table))[-MOST:]):
                row: dict[str, Any] = run.slice(int(np.argmax(run["smoothed"].to_numpy())), 1).to_pylist()[0]
                start = run["time"][0].as_py()
                lasts = run["stop_s"][-1].as_py() - run["start_s"][0].as_py()
                event = NewEvent(
                    camera=name,
                    video_id=row["video"],
                    start=start,
                    stop=start + timedelta(seconds=lasts),
                    peak=row["time"],
                    time_basis=TimeBasis.STREAM,
                    time_zone="Europe/Berlin",
                    score=row["smoothed"],
                    threshold=stretch.metadata.threshold,
                    detector_id=stretch.metadata.detector_id,
                    contributions=tuple(row["contributions"]),
                    origin="live",
                    key=f"{name} {start}",
                )
                pictures = scenes[i % SCENES]
                stored = store.add(event, merge_s=None, picture=jpeg(pictures[len(pictures) // 2]))
                write_mp4(Path(scratch) / "clip.mp4", pictures, FPS)
                store.attach_clip(stored.id, Path(scratch) / "clip.mp4")
                if i % 3 == 0:
                    state = EventState.FALSE_ALARM if i % 2 else EventState.CONFIRMED
                    store.mark(stored.id, state, "anna", "a shadow" if i % 2 else "somebody runs")
                if start > STOP - timedelta(days=1):
                    best = max(best, (stored.score, stored.id))
    return best[1]


def simulated(folder: Path, cameras: int) -> Path:
    """The simulation with so many cameras, made if it is not there."""
    if not (folder / "verdicts" / f"{STOP:%Y%m%dT%H%M%S}" / "verdict.json").exists():
        command = ["headhunt", "monitor", "simulate", "--out", str(folder), "--cameras", str(cameras)]
        subprocess.run(command, check=True)
    return folder.resolve()


def main() -> None:
    """Simulate, serve, take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--simulations", type=Path, default=ROOT / "out")
    args = parser.parse_args()
    for cameras in (3, 50):
        monitor = simulated(args.simulations / f"monitor-{cameras}", cameras)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            event = store_events(monitor / "log", folder / "events", [f"camera-{i + 1}" for i in range(3)])
            pages = {"status": "/", "drift": "/drift"}
            if cameras == 3:
                pages |= {
                    "events": "/events",
                    "event": f"/events/{event}",
                    "alarm": "/drift/camera?camera=camera-2",
                }
            options = ("--monitor", str(monitor), "--log", str(monitor / "log"))
            with serving_console(folder, *options) as console, browser(folder / "profile") as driver:
                driver.set_window_rect(width=1440, height=900 + 143)  # what the window itself takes of it
                for page, path in pages.items():
                    driver.get(console.url + path)
                    time.sleep(1)  # pictures and the stream of updates
                    target = args.out / f"console-{page}{'' if cameras == 3 else f'-{cameras}'}.png"
                    image = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
                    image.quantize(128).save(target, optimize=True)
                    print(target)


if __name__ == "__main__":
    main()
