"""What benchmarks/live.py needs around `headhunt watch`: cameras that show films, a receiver of messages, and eyes."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import yaml
from standardwebhooks import Webhook

from headhunt_svc.cameras.config import load_cameras
from headhunt_svc.cameras.status import CameraStatus, load_state, status_of
from headhunt_svc.demo.films import Film, write_film
from headhunt_svc.errors import HeadHuntError
from headhunt_svc.events.records import EventFilter, EventRecord
from headhunt_svc.events.store import EventStore
from headhunt_svc.settings import EventSettings
from headhunt_svc.storage.tables import read_table

ROOT = Path(__file__).parents[1]
BUNDLE = ROOT / "artifacts" / "detector"
SYSTEM_PYTHON = "/usr/bin/python3"  # has GStreamer's bindings (gir1.2-gst-rtsp-server-1.0, python3-gi)
HEADHUNT = [str(Path(sys.executable).with_name("headhunt"))]
SECRET = "whsec_bGl2ZS1iZW5jaG1hcmstbGl2ZS1iZW5jaG1hcms="
READY_S = 180.0  # imports, the model, golden vectors, the first pictures


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the acceptance: what is asked, whether it holds, and the figures."""

    name: str
    passed: bool
    figures: str


@dataclass(slots=True)
class Outcome:
    """What a mode measured."""

    checks: list[Check] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def check(self, name: str, passed: object, figures: object = "") -> None:
        """Note whether something holds."""
        self.checks.append(Check(name, bool(passed), str(figures)))


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def write_films(folder: Path, films: Mapping[str, Sequence[Film]], processes: int = 2) -> dict[str, Path]:
    """Write films, by file name."""
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(processes) as executor:
        jobs = [executor.submit(write_film, folder / name, *parts) for name, parts in films.items()]
        for job in jobs:
            job.result()
    return {name: folder / name for name in films}


class FilmServer:
    """tests/helpers/film_server.py as a process that can be killed and started again."""

    def __init__(self, films: Mapping[str, Path], login: str | None = None) -> None:
        self.port, self._films, self._login = free_port(), films, login
        self.start()

    def start(self) -> None:
        """Start it, and wait until it serves."""
        script = ROOT / "tests" / "helpers" / "film_server.py"
        films = [f"{name}={path}" for name, path in self._films.items()]
        command = [SYSTEM_PYTHON, str(script), str(self.port), *([self._login] if self._login else []), *films]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise RuntimeError("GStreamer's RTSP server does not start: apt install gir1.2-gst-rtsp-server-1.0")

    def log_in_as(self, login: str) -> None:
        """Replace user and password."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{login}\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()


@dataclass(frozen=True, slots=True)
class Received:
    """A message, and when it came."""

    time: float
    body: dict[str, Any]

    @property
    def key(self) -> tuple[str, str]:
        """Of what, and whether it has begun or ended."""
        return self.body["id"], self.body["phase"]


@contextmanager
def receiver() -> Iterator[tuple[str, list[Received]]]:
    """A webhook's address, and what comes there with a good signature; anything else is answered with 400."""
    messages: list[Received] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                Webhook(SECRET).verify(data, dict(self.headers.items()))
                body = json.loads(data)
                body.pop("picture", None)
                messages.append(Received(time.time(), body))
                self.send_response(204)
            except Exception:
                self.send_response(400)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/live", messages
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(frozen=True, slots=True)
class Sample:
    """What the process that watches holds at a time, seconds from the first sample."""

    at_s: float
    memory_mib: float
    threads: int
    descriptors: int
    cpu_s: float


class Rig:
    """A folder with cameras.yaml, notify.yaml and all that `headhunt watch` writes, and the process itself."""

    def __init__(
        self, home: Path, cameras: Mapping[str, Mapping[str, object]], webhook: str, bundle: Path = BUNDLE, **env: str
    ) -> None:
        """cameras: as in cameras.yaml. env: of the process."""
        self.home, self.bundle, self.log = home, bundle, home / "watch.log"
        self._env = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HEADHUNT_LOG_LEVEL": "INFO"} | env
        self.metrics_port = free_port()
        self.samples: list[Sample] = []
        self._began = self._started = 0.0
        self.process: subprocess.Popen[bytes] | None = None
        home.mkdir(parents=True, exist_ok=True)
        channels = {"live": {"webhook": webhook, "secret": SECRET, "pictures": False}}
        (home / "notify.yaml").write_text(yaml.safe_dump({"channels": channels}))
        document = {"defaults": {"notify": ["live"], "cooldown_s": 0}, "cameras": cameras}
        (home / "cameras.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
        self.cameras = load_cameras(home / "cameras.yaml")
        self.folder = home / "data" / "events"

    # the process

    def start(self) -> None:
        """Start `headhunt watch`."""
        command = [*HEADHUNT, "watch", "--bundle", str(self.bundle), "--log", str(self.home / "log")]
        command += ["--metrics-port", str(self.metrics_port)]
        self._started = time.time()
        with self.log.open("ab") as f:
            self.process = subprocess.Popen(command, cwd=self.home, env=os.environ | self._env, stdout=f, stderr=f)

    def running(self) -> "subprocess.Popen[bytes]":
        """The process. Raises RuntimeError where it has ended."""
        if self.process is None or self.process.poll() is not None:
            raise RuntimeError(f"headhunt watch has ended:\n{self.text()[-3000:]}")
        return self.process

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        process = self.running()
        process.send_signal(signal.SIGTERM)
        return process.wait(90)

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def text(self) -> str:
        """What it has logged."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def errors(self) -> list[str]:
        """Lines of its log that speak of a bug or an error."""
        words = ("Traceback", "ERROR", "CRITICAL", "not expected")
        return [line for line in self.text().splitlines() if any(word in line for word in words)]

    def sample(self) -> Sample:
        """Measure what it holds."""
        process = psutil.Process(self.running().pid)
        now = time.monotonic()
        self._began = self._began or now
        with process.oneshot():
            times = process.cpu_times()
            held = process.memory_info().rss / 2**20, process.num_threads(), process.num_fds()
        self.samples.append(Sample(now - self._began, *held, times.user + times.system))
        return self.samples[-1]

    # what it says

    def status(self) -> dict[str, CameraStatus]:
        """What `headhunt cameras status` says now."""
        now, folder = datetime.now(UTC), self.home / "data" / "cameras"
        rows = {}
        for camera in self.cameras.each():
            with suppress(HeadHuntError):
                rows[camera.name] = status_of(camera, load_state(folder, camera.name), now)
        return rows

    def printed_status(self) -> dict[str, dict[str, Any]]:
        """What `headhunt cameras status --json` prints."""
        command = [*HEADHUNT, "cameras", "status", "--json"]
        done = subprocess.run(command, cwd=self.home, env=os.environ | self._env, capture_output=True, text=True)
        return {row["camera"]: row for row in map(json.loads, done.stdout.splitlines())}

    def events(self) -> list[EventRecord]:
        """All stored events, the earliest first."""
        with EventStore.open(EventSettings(folder=self.folder)) as store:
            return store.list(EventFilter(), limit=100_000)[::-1]

    def rows(self, camera: str) -> list[dict[str, Any]]:
        """What the prediction log has of a camera, in order of video and segment."""
        names = ["camera", "video", "segment", "start_s", "stop_s", "raw", "smoothed", "time"]
        rows: list[dict[str, Any]] = []
        for path in sorted((self.home / "log").rglob("*.parquet")):
            rows += read_table(path, names).to_pylist()
        return sorted((r for r in rows if r["camera"] == camera), key=lambda r: (r["video"], r["segment"]))

    def wait(self, until: Callable[[], bool], seconds: float, every_s: float = 0.5) -> bool:
        """Wait until something holds, while the process runs; returns whether it does."""
        end = time.monotonic() + seconds
        while not until():
            self.running()
            if time.monotonic() > end:
                return False
            time.sleep(every_s)
        return True

    def wait_receiving(self, cameras: Sequence[str] | None = None, seconds: float = READY_S) -> float:
        """Wait until these cameras, or all, are scored; returns how long that took."""
        began, names = time.monotonic(), set(cameras or [c.name for c in self.cameras.each()])

        def ready() -> bool:
            rows = self.status()
            return all(
                (row := rows.get(name)) is not None
                and row.word == "receiving"
                and row.state is not None
                and row.state.written.timestamp() > self._started
                and row.state.scored_s > 0
                for name in names
            )

        if not self.wait(ready, seconds):
            states = {name: row.word for name, row in self.status().items()}
            raise RuntimeError(f"not all cameras are scored after {seconds:g} s: {states}\n{self.text()[-3000:]}")
        return time.monotonic() - began


@contextmanager
def watching(rig: Rig) -> Iterator[Rig]:
    """Run `headhunt watch` meanwhile; whatever happens, it is gone afterwards."""
    rig.start()
    try:
        yield rig
    finally:
        rig.kill()


def messages_of(messages: Sequence[Received], kind: str) -> Counter[tuple[str, str]]:
    """How many messages came of each event or alarm and phase."""
    return Counter(m.key for m in messages if m.body["kind"] == kind)


def empty(folder: Path) -> Path:
    """The folder, with nothing in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def held(samples: Sequence[Sample], parts: int = 6) -> list[dict[str, float]]:
    """Some samples, evenly spread."""
    chosen = sorted({round(i * (len(samples) - 1) / max(parts - 1, 1)) for i in range(parts)}) if samples else []
    return [
        {
            name: round(getattr(samples[i], name), 1)
            for name in ("at_s", "memory_mib", "threads", "descriptors", "cpu_s")
        }
        for i in chosen
    ]
