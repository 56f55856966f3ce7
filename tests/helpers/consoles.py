"""The console as a process of its own, on data that a test has made."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import av
import numpy as np
from fastapi.testclient import TestClient

from headhunt_svc.events.pictures import jpeg
from headhunt_svc.events.records import TimeBasis
from headhunt_svc.events.store import EventStore
from headhunt_svc.monitoring.config import ALL_SIGNALS
from headhunt_svc.settings import EventSettings
from headhunt_svc.storage.files import write_json
from helpers.events import new

Client = Callable[..., TestClient]  # what the fixture `client` is
HEADHUNT = str(Path(sys.executable).with_name("headhunt"))
BASE = "http://127.0.0.1:8600"
STOP = datetime(2026, 3, 15, tzinfo=UTC)


@dataclass
class ServedConsole:
    url: str
    process: "subprocess.Popen[str]"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextmanager
def serving_console(
    folder: Path, *options: str, program: Sequence[str] = (HEADHUNT,), **environment: str
) -> Iterator[ServedConsole]:
    """`headhunt console` on what lies in `folder`: events, monitor, cameras.yaml, states.

    program: `headhunt`, or a fork of a process that has imported its libraries.
    """
    port = free_port()
    command = [
        *program, "console", "--port", str(port),
        "--cameras", str(folder / "cameras.yaml"), "--states", str(folder / "states"),
        "--monitor", str(folder / "monitor"), "--log", str(folder / "log"),
        "--reference", str(folder / "none"), *options,
    ]  # fmt: skip
    env = os.environ | {
        "HEADHUNT_EVENTS_FOLDER": str(folder / "events"), "HEADHUNT_EVENTS_TIME_ZONE": "Europe/Berlin", **environment
    }  # fmt: skip
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True, cwd=folder) as process:
        try:
            wait_until_up(process, f"http://127.0.0.1:{port}/livez")
            yield ServedConsole(f"http://127.0.0.1:{port}", process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def wait_until_up(process: "subprocess.Popen[str]", address: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(process.stderr.read() if process.stderr else "the console has ended")
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise AssertionError("the console does not answer")


def picture(colour: int) -> bytes:
    pixels = np.full((90, 160, 3), colour % 256, np.uint8)
    pixels[30:60, 20:50] = 255
    return jpeg(pixels)


def store_events(folder: Path, cameras: list[str], n: int, **fields: Any) -> list[str]:
    """n events, one after the other every 20 minutes before STOP, the cameras in turn; returns their ids."""
    ids = []
    with EventStore.open(EventSettings(folder=folder / "events")) as store:
        for i in range(n):
            start = STOP - timedelta(minutes=20 * (n - i))
            event = new(
                camera=cameras[i % len(cameras)], start=0, key=f"{i}",
                time_basis=TimeBasis.STREAM, time_zone="Europe/Berlin", origin="live", video_id=f"v{i}.mp4",
            )  # fmt: skip
            times = {"start": start, "peak": start + timedelta(seconds=4), "stop": start + timedelta(seconds=12)}
            event = event.model_copy(update={**times, "score": 0.6 + 0.4 * i / n, **fields})
            ids.append(store.add(event, merge_s=None, picture=picture(7 * i)).id)
    return ids


def clip(path: Path, codec: str) -> Path:
    """Four seconds in which a square wanders."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options={"x265-params": "log-level=none"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 160, 96, "yuv420p", 5
        for i in range(40):
            pixels = np.full((96, 160, 3), 40, np.uint8)
            pixels[30:60, 3 * i : 3 * i + 30] = 220
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))
    return path


def camera_verdict(name: str, kind: str | None = None, **over: float) -> dict[str, Any]:
    """A camera as verdict.json holds it; over: signals with their values over limits."""
    signals = {s: {"value": 0.1 * over.get(s, 0.3), "limit": 0.1, "chance": 0.01} for s in ALL_SIGNALS}
    return {
        "camera": name, "status": "drift" if kind else "fine", "why": "", "baseline": "b", "segments": 500,
        "blocks": 20, "probed": 50, "event_rate": 0.02, "event_interval": [0.01, 0.03], "signals": signals,
        "heads": {"1.2": 0.3}, "unstable": {}, "kind": kind, "since": "2026-03-06T00:00:00+00:00" if kind else None,
        "over": [s for s, ratio in over.items() if ratio > 1], "remedy": "look" if kind else None,
    }  # fmt: skip


def write_verdict(folder: Path, stop: datetime, cameras: list[dict[str, Any]], latest: bool = False) -> None:
    """A verdict of the day before `stop`. latest: also as the one beside the windows."""
    document = {
        "schema_version": 1, "start": (stop - timedelta(days=1)).isoformat(), "stop": stop.isoformat(),
        "detector_id": "aaaaaaaaaaaa", "cameras": {c["camera"]: c for c in cameras}, "excluded": {}, "missing": {},
        "alarms": [], "problems": [], "other_detectors": [],
    }  # fmt: skip
    verdicts = folder / "monitor" / "verdicts"
    write_json(verdicts / f"{stop:%Y%m%dT%H%M%S}" / "verdict.json", document)
    if latest:
        write_json(verdicts / "verdict.json", document)


def write_baselines(folder: Path, cameras: list[str]) -> None:
    """The active versions, without their rows."""
    write_json(folder / "monitor" / "baselines" / "active.json", dict.fromkeys(cameras, "b"))


def token_of(page: str) -> str:
    """What the page's forms hold."""
    return page.split('name="csrf" content="')[1].split('"')[0]
