"""How fast the console's pages are made, and whether its memory stays flat with open sessions.

    python benchmarks/console.py                         # minutes on 2 cores; 50 cameras, 100 000 events, 30 days
    python benchmarks/console.py --json out.json         # first_s, page_s, most_s, cpu_s by page; memory_mib

Verdicts are hourly. A page is asked for over HTTP, the styles and pictures in it are not; the processor's time of the
console for it does not depend on what else the machine does. Then sessions keep their streams of live updates open,
while events are marked and pages are asked for in turn: a round asks for each page once.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from headhunt_svc.events.records import EventState
from headhunt_svc.events.rows import new_id
from headhunt_svc.events.store import EventStore
from headhunt_svc.events.tables import EventRow
from headhunt_svc.monitoring.baselines import Baselines
from headhunt_svc.monitoring.config import ALL_SIGNALS
from headhunt_svc.prediction_log.schema import COLUMNS, LogMetadata
from headhunt_svc.prediction_log.windows import Rows
from headhunt_svc.prediction_log.writer import PredictionLog
from headhunt_svc.settings import EventSettings
from headhunt_svc.storage.files import write_json
from headhunt_svc.types import HeadRef

STOP = datetime(2026, 3, 31, tzinfo=UTC)
K, M, TILES, STEP_S = 10, 4, 36, 1.6
HEADS = tuple(HeadRef(22 - i, i % 8) for i in range(K))
METADATA = LogMetadata("benchmark000", "none", HEADS, ("a?", "b?", "c?", "d?"), "a?", 0.5, 0.75, "projected")
LIMIT_S = 0.3


def store_events(folder: Path, cameras: list[str], n: int) -> str:
    """n events of 30 days; returns the id of one in the middle."""
    rng = np.random.default_rng(0)
    with EventStore.open(EventSettings(folder=folder)) as store:
        engine = sa.create_engine(store.settings.database_url)
        ids = [new_id() for _ in range(n)]
        rows = []
        for i, score in enumerate(rng.uniform(0.5, 1, n)):
            start = STOP - timedelta(days=30) * (1 - i / n)
            rows.append(
                {
                    "id": ids[i], "key": str(i), "camera": cameras[i % len(cameras)], "video_id": "live",
                    "start": start, "stop": start + timedelta(seconds=9), "seen": start, "peak": start,
                    "time_basis": "stream", "time_zone": "Europe/Berlin", "score": float(score), "threshold": 0.5,
                    "detector_id": METADATA.detector_id, "contributions": [0.5] * K, "origin": "live", "source": None,
                    "start_s": None, "description": None, "created": start, "state": "new", "note": "",
                    "marked_by": None, "marked": None, "picture": False, "clip": None, "features": False,
                    "interrupted": False, "places": False, "described": None, "described_by": None,
                    "media_bytes": 0,
                }
            )  # fmt: skip
        with engine.begin() as connection:
            connection.execute(sa.insert(EventRow), rows)
        engine.dispose()
    return ids[n // 2]


def write_verdicts(folder: Path, cameras: list[str], days: int) -> None:
    """A verdict every hour; every tenth camera drifts."""
    rng, names = np.random.default_rng(1), [f"{head.layer}.{head.head}" for head in HEADS]
    for hour in range(days * 24):
        stop = STOP - timedelta(hours=days * 24 - 1 - hour)
        ratios = rng.uniform(0, 0.9, (len(cameras), len(ALL_SIGNALS)))
        ratios[::10, 4] = 2.5
        verdicts = {}
        for name, row in zip(cameras, ratios, strict=True):
            is_dark = row[4] > 1
            verdicts[name] = {
                "camera": name, "status": "drift" if is_dark else "fine", "why": "", "baseline": "none", "probed": 500,
                "segments": 50_000, "blocks": 250, "event_rate": 0.01, "event_interval": [0.009, 0.011],
                "signals": {
                    s: {"value": v, "limit": 1.0, "chance": 0.1} for s, v in zip(ALL_SIGNALS, row, strict=True)
                },
                "heads": dict.fromkeys(names, 0.3), "unstable": dict.fromkeys(names, 1.1),
                "kind": "lighting" if is_dark else None,
                "since": (STOP - timedelta(days=9)).isoformat() if is_dark else None,
                "over": ["brightness"] if is_dark else [], "remedy": None,
            }  # fmt: skip
        document = {
            "schema_version": 1, "start": (stop - timedelta(days=1)).isoformat(), "stop": stop.isoformat(),
            "detector_id": METADATA.detector_id, "cameras": verdicts, "excluded": {}, "missing": {}, "alarms": [],
            "problems": [], "other_detectors": [],
        }  # fmt: skip
        if hour == days * 24 - 1:
            verdicts[cameras[0]]["baseline"] = Baselines(folder.parent / "baselines").active()[cameras[0]]
            write_json(folder / "verdict.json", document)
        write_json(folder / f"{stop:%Y%m%dT%H%M%S}" / "verdict.json", document)


def day_of(camera: str, start: datetime, n: int) -> pa.Table:
    """Rows of a camera from this time on."""
    rng = np.random.default_rng(2)
    raw = rng.beta(1, 6, n)
    times = [start + timedelta(seconds=STEP_S * i) for i in range(n)]
    columns: dict[str, Any] = {
        "time": times, "camera": [camera] * n, "video": ["live"] * n, "pass_id": [f"{start:%d}"] * n,
        "detector_id": [METADATA.detector_id] * n, "segment": np.arange(n), "start_s": STEP_S * np.arange(n),
        "stop_s": STEP_S * np.arange(1, n + 1), "raw": raw, "smoothed": raw, "in_event": raw > 0.5,
        "brightness": rng.normal(0.5, 0.05, n), "sharpness": rng.normal(0.1, 0.01, n),
        "dropped_frames": np.zeros(n, int),
        "layout": list(rng.normal(1, 0.3, (n, TILES)).astype(np.float32)),
        "contributions": list(rng.normal(0, 1, (n, K)).astype(np.float32)),
        "features": list(rng.normal(0, 1, (n, 4 * K)).astype(np.float32)),
        "prompt_scores": [None] * n, "prompt_contributions": [None] * n,
    }  # fmt: skip
    arrays = []
    for field in COLUMNS:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        array = pa.array(list(columns[field.name]), kind)
        arrays.append(array.dictionary_encode() if pa.types.is_dictionary(field.type) else array)
    return pa.Table.from_arrays(arrays, schema=COLUMNS)


def write_log(folder: Path, baselines: Path, camera: str) -> None:
    """Two days of one camera, and its baseline."""
    n = int(86_400 / STEP_S)
    with PredictionLog(str(folder), retention_days=36_500) as log:
        for day in (2, 1):
            table = day_of(camera, STOP - timedelta(days=day), n)
            for i in range(0, n, 4000):
                log.put(METADATA, table.slice(i, 4000))
                log.flush()
    Baselines(baselines).add(camera, Rows(METADATA, table.slice(0, 4000), n, n // 100), "benchmark")


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The console on this data."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = int(s.getsockname()[1])
    command = [
        str(Path(sys.executable).with_name("headhunt")), "console", "--port", str(port), "--monitor",
        str(folder / "monitor"), "--log", str(folder / "log"), "--cameras", str(folder / "none.yaml"),
    ]  # fmt: skip
    environment = os.environ | {"HEADHUNT_EVENTS_FOLDER": str(folder / "events")}
    with subprocess.Popen(command, env=environment, cwd=folder) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + 120
            while True:
                try:
                    urllib.request.urlopen(f"{url}/livez", timeout=5).close()
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.2)
            yield url, psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(30)


def seconds(address: str) -> float:
    """How long the answer takes, its last byte included."""
    begun = time.perf_counter()
    with urllib.request.urlopen(urllib.request.Request(address, headers={"accept": "text/html"}), timeout=60) as answer:
        answer.read()
    return time.perf_counter() - begun


def cpu_seconds(process: psutil.Process) -> float:
    """The processor's time that a process has taken."""
    times = process.cpu_times()
    return float(times.user + times.system)


def measure(folder: Path, pages: dict[str, str], repeats: int, sessions: int, rounds: int) -> dict[str, Any]:
    """Median and largest time of each page, and memory before and after many requests with open streams."""
    with serving(folder) as (url, process), ExitStack() as stack:
        first = {name: seconds(url + path) for name, path in pages.items()}
        times: dict[str, list[float]] = {}
        cpu: dict[str, float] = {}
        for name, path in pages.items():
            begun = cpu_seconds(process)
            times[name] = [seconds(url + path) for _ in range(repeats)]
            cpu[name] = (cpu_seconds(process) - begun) / repeats
        for _ in range(sessions):
            stream = stack.enter_context(socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))))
            stream.sendall(b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        store = stack.enter_context(EventStore.open(EventSettings(folder=folder / "events")))
        event = store.list(limit=1)[0]
        memory = [process.memory_info().rss / 2**20]
        for i in range(rounds):
            store.mark(event.id, EventState.CONFIRMED, "benchmark", str(i))
            for path in pages.values():
                seconds(url + path)
            memory.append(process.memory_info().rss / 2**20)
    return {
        "first_s": first,
        "page_s": {name: median(values) for name, values in times.items()},
        "most_s": {name: max(values) for name, values in times.items()},
        "cpu_s": cpu,
        "requests": rounds * len(pages),
        "memory_mib": {"before": memory[0], "half way": memory[len(memory) // 2], "at the end": memory[-1]},
    }


def main() -> None:
    """Make the data, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=50)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=225)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    cameras = [f"camera-{i + 1:02d}" for i in range(args.cameras)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        event = store_events(folder / "events", cameras, args.events)
        write_log(folder / "log", folder / "monitor" / "baselines", cameras[0])
        write_verdicts(folder / "monitor" / "verdicts", cameras, args.days)
        day = f"{STOP - timedelta(days=1):%Y-%m-%d}"
        pages = {
            "status": "/",
            "events": "/events",
            "events of a camera": f"/events?camera={cameras[7]}&state=new&min_score=0.9",
            "events, none fits": "/events?state=confirmed",
            "event": f"/events/{event}",
            "timeline of a day": f"/events/timeline?camera={cameras[0]}&day={day}",
            "drift, 14 days": "/drift",
            "drift, 30 days": "/drift?days=30",
            "alarm": f"/drift/camera?camera={cameras[0]}",
        }
        result = measure(folder, pages, args.repeats, args.sessions, args.rounds)
    table = Table("page", "first time ms", "median ms", "longest ms", "processor ms")
    for name in pages:
        table.add_row(name, *(f"{1000 * result[kind][name]:.0f}" for kind in ("first_s", "page_s", "most_s", "cpu_s")))
    Console().print(table)
    memory = ", ".join(f"{when} {size:.0f} MiB" for when, size in result["memory_mib"].items())
    Console().print(f"memory with {args.sessions} sessions, {result['requests']} requests: {memory}")
    slow = [name for name in pages if max(result["page_s"][name], result["first_s"][name]) > LIMIT_S]
    Console().print(f"longer than {LIMIT_S:g} s: {', '.join(slow) or 'none'}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
