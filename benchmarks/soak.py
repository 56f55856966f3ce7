"""Honest and hostile clients for half an hour, while worker and database are restarted: what is wrong, what leaks.

    python benchmarks/soak.py                            # 30 minutes; a PostgreSQL of its own where it is installed
    python benchmarks/soak.py ../shared/data/clips --minutes 3 --clients 16

Service and two workers run on loopback. Clients upload clips, broken and hostile files among them, read streams, hang
up at random moments, name cameras oddly, ask without a key, name URIs that may not be read, and submit jobs; idle
connections stay open beside them. One worker is killed or stopped, and the database taken away, again and again. Every
report is compared with that of the bare detector. The time is spent in laps; after each the clients pause, and what
service and the other worker hold at rest is measured. The first lap warms up. Exit code 1 if anything is wrong: a wrong
report, a status that is not documented, an error in a log, a job that does not end, a file left, or a leak. At the end
the service is killed, started again and stopped while clients send.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import httpx
import psutil
import pyarrow as pa
from kills import HEADHUNT, Postgres, postgres

from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.report import Report
from headhunt_svc.serve.memory import KEEP_FREED_S
from headhunt_svc.storage.tables import read_table
from headhunt_svc.video.files import find_videos

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from conftest import write_video  # noqa: E402
from helpers.attacks import Target, attack, expected, job_faults  # noqa: E402
from helpers.hostile import HOSTILE_FILES, Trap  # noqa: E402
from helpers.server import Server, serving  # noqa: E402

KEY = "soak-0123456789abcdef"
BUNDLE = ROOT / "artifacts" / "detector"
ERRORS = ("ERROR", "CRITICAL")
RAISED = re.compile(r"(\w+\.)*\w*(Error|Exception|Disconnect)(:|$)")  # the last line of a traceback
DATABASE_ERRORS = ("psycopg.OperationalError", "sqlalchemy.exc.OperationalError")  # DBOS logs them during an outage
REST_S = 180  # until everything that was begun has ended
SLACK = {"memory_mib": 1.1, "descriptors": 8, "threads": 8, "processes": 0, "files": 0, "places": 0}  # memory: a ratio


@dataclass(frozen=True)
class Held:
    """What is held at rest."""

    memory_mib: float = 0
    descriptors: int = 0
    threads: int = 0
    processes: int = 0
    files: int = 0  # temporary ones
    places: int = 0  # in the line


def held_by(pid: int) -> Held:
    """What a process and its descendants hold."""
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    rows = []
    for member in family:
        with suppress(psutil.NoSuchProcess):
            rows.append((member.memory_info().rss / 2**20, member.num_fds(), member.num_threads()))
    memory, descriptors, threads = map(sum, zip(*rows, strict=True))
    return Held(memory, int(descriptors), int(threads), len(rows))


def leaks(name: str, laps: list[Held]) -> list[str]:
    """What grows: the last third of the laps beside the highest of the first third, the warm-up left out."""
    laps = laps[1:]
    if len(laps) < 2:
        return []
    third, grown = max(1, len(laps) // 3), []
    for measure in (f.name for f in fields(Held)):
        first, last = ([getattr(lap, measure) for lap in part] for part in (laps[:third], laps[-third:]))
        limit = max(first) * SLACK[measure] if measure == "memory_mib" else max(first) + SLACK[measure]
        if statistics.median(last) > limit:
            grown.append(
                f"LEAK of {measure} in {name}: {max(first):.0f} at first, {statistics.median(last):.0f} at last"
            )
    return grown


class Worker:
    """`headhunt worker` that can be killed."""

    def __init__(self, name: str, env: dict[str, str], log: Path) -> None:
        self.name, self.env, self.log = name, env, log
        self.start()

    def start(self) -> None:
        """Start it."""
        command = [*HEADHUNT, "worker", "--bundle", str(BUNDLE), "--name", self.name]
        with self.log.open("ab") as f:
            self.process = subprocess.Popen(command, env=os.environ | self.env, stdout=f, stderr=f)

    def stop(self, number: int) -> int:
        """Send a signal and wait; returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(90)

    def end(self) -> None:
        """Kill it if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Chaos:
    """Restarts a worker and the database at random moments."""

    def __init__(self, target: Target, worker: Worker, database: Postgres | None, every_s: float) -> None:
        self.target, self.worker, self.database, self.every_s = target, worker, database, every_s
        self.done: Counter[str] = Counter()
        self._random, self._ended = random.Random(7), threading.Event()

    def _once(self) -> None:
        kinds = ["worker killed", "worker stopped", *(["database restarted"] if self.database else [])]
        kind = kinds[sum(self.done.values()) % len(kinds)]
        if kind == "database restarted":
            assert self.database is not None
            outage = [time.monotonic(), float("inf")]
            self.target.outages.append(outage)
            self.database.stop()
            self._ended.wait(self._random.uniform(1, 8))
            self.database.start()
            outage[1] = time.monotonic()
        else:
            code = self.worker.stop(signal.SIGKILL if kind == "worker killed" else signal.SIGTERM)
            if code and kind == "worker stopped":
                self.target.fault(f"worker: exit code {code} after SIGTERM")
            self._ended.wait(self._random.uniform(0, 3))
            self.worker.start()
        self.done[kind] += 1

    def _run(self) -> None:
        while not self._ended.wait(self._random.uniform(0.5, 1.5) * self.every_s):
            self._once()

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Until the end of the `with`."""
        self._ended.clear()
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()


class IdleConnections:
    """Connections that send nothing or half a head, opened again when they are closed; how long /livez takes beside."""

    def __init__(self, server: Server, n: int) -> None:
        self.server, self.n = server, n
        self.livez_s: list[float] = []
        self._held: dict[int, socket.socket] = {}

    def _connect(self, i: int) -> None:
        connection = socket.create_connection(("127.0.0.1", self.server.port), timeout=10)
        if i % 2:
            connection.sendall(b"POST /v1/detect HTTP/1.1\r\nHost: x\r\n")
        connection.setblocking(False)
        self._held[i] = connection

    def _hold(self, ended: threading.Event) -> None:
        while not ended.wait(0.2):
            for i in range(self.n):
                try:
                    if i not in self._held:
                        self._connect(i)
                    elif not self._held[i].recv(1000):
                        self._held.pop(i).close()
                except BlockingIOError:
                    pass  # open, and silent
                except OSError:
                    self._held.pop(i, socket.socket()).close()

    def _probe(self, ended: threading.Event) -> None:
        while not ended.wait(1):
            started = time.monotonic()
            try:
                httpx.get(f"{self.server.url}/livez", timeout=60, trust_env=False)
            except httpx.HTTPError:
                self.livez_s.append(float("inf"))
            self.livez_s.append(time.monotonic() - started)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Until the end of the `with`."""
        ended = threading.Event()
        threads = [threading.Thread(target=task, args=(ended,)) for task in (self._hold, self._probe)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            for thread in threads:
                thread.join()
            for connection in self._held.values():
                connection.close()
            self._held.clear()


def gauges(text: str) -> int:
    """Videos that wait or are being scored."""
    rows = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return round(sum(float(v) for n, v in rows if n.startswith(("headhunt_queue_depth", "headhunt_videos_active"))))


def at_rest(target: Target, server: Server, worker: Worker, home: Path) -> dict[str, Held]:
    """Wait until everything that was begun has ended, and measure."""
    until, open_jobs, service = time.monotonic() + REST_S, ["?"], Held()
    with httpx.Client(timeout=60, trust_env=False, headers=target.headers) as http:
        while True:
            with suppress(httpx.HTTPError, KeyError, ValueError):
                jobs = http.get(f"{target.url}/v1/jobs").json()["jobs"]
                open_jobs = [job["job_id"] for job in jobs if job["state"] in ("queued", "running")]
                places = gauges(http.get(f"{target.url}/metrics").text)
                files = left(home, "at rest")
                service = Held(**(asdict(held_by(server.process.pid)) | {"files": len(files), "places": places}))
                if not open_jobs and not places and not files:
                    break
            if time.monotonic() > until:
                target.fault(
                    f"at rest: {len(open_jobs)} jobs do not end, {service.places} places, {service.files} files"
                )
                break
            time.sleep(2)
    time.sleep(KEEP_FREED_S + 1)  # then it is with the system again
    again = asdict(held_by(server.process.pid)) | {"files": service.files, "places": service.places}
    return {"service": Held(**again), "worker": held_by(worker.process.pid)}


def left(home: Path, when: str) -> list[str]:
    """Temporary files that nobody uses any more."""
    files = [p for p in (home / "tmp").rglob("*") if not p.is_dir() and p.suffix != ".lock"]  # locks say who lives
    return [f"left {when}: {p.relative_to(home)}" for p in sorted([*files, *home.rglob("*.part")])]


def stopped_at_work(target: Target, server: Server, home: Path, env: dict[str, str], clients: int) -> list[str]:
    """Kill the service while clients send, start it again, and stop it while clients send: what is wrong then."""
    wrong = []
    for kind in ("SIGKILL", "SIGTERM"):
        ended = Target(server.url, target.clips, KEY, target.root, jobs=True)  # clients that find nobody are no fault
        work = threading.Thread(target=attack, args=(ended, 8, clients))
        work.start()
        time.sleep(4)
        if kind == "SIGKILL":
            server.kill()
            work.join()
            server = Server(".", ROOT, home / "bentoml", **env).wait_ready()
            wrong += left(home, "by a killed service, when it has started again")
        else:
            if code := server.terminate():
                wrong.append(f"exit code {code} of the service after SIGTERM during requests")
            work.join()
    return wrong


def make_clips(folder: Path, given: Path | None) -> dict[Path, Report | None]:
    """Clips, whole and broken ones, in one folder, with the report of each."""
    folder.mkdir()
    if given is None:
        for n in (20, 60, 200):
            write_video(folder / f"{n}.mp4", n, size=(128, 96))
        data = (folder / "200.mp4").read_bytes()
        half = len(data) // 2
        (folder / "cut.mp4").write_bytes(data[:half])
        (folder / "text.mp4").write_bytes(b"this is no video" * 100)
        (folder / "holes.mp4").write_bytes(data[:half] + bytes(half // 10) + data[half + half // 10 :])
    else:
        for i, path in enumerate(find_videos([given])):
            shutil.copyfile(path, folder / f"{i:03d}-{path.name}")
    detector = Detector.load(BUNDLE)
    return {clip: expected(detector, clip) for clip in sorted(folder.iterdir())}


def damage(home: Path, logs: list[Path]) -> list[str]:
    """Errors in the logs, and files of the prediction log that cannot be read."""
    services = sorted((home / "bentoml").glob("*.log"))
    entries = [json.loads(line) for log in services for line in log.read_text().splitlines() if line.startswith("{")]
    texts = (
        f"{entry['message']}: {entry.get('traceback', '')[-200:]}" for entry in entries if entry["level"] in ERRORS
    )
    wrong = [f"{n} times in the service's log: {text}" for text, n in Counter(texts).items()]
    for log in [*logs, *services]:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        print(f"{log.name}: {len(lines)} lines")
        raised = Counter(line.split(":")[0] for line in lines if RAISED.match(line))
        wrong += [f"{n} tracebacks in {log.name}: {name}" for name, n in raised.items() if name not in DATABASE_ERRORS]
    for path in home.glob("log/**/*.parquet"):
        try:
            read_table(path)
        except (OSError, pa.ArrowException) as exc:
            wrong.append(f"prediction log: {path.name} cannot be read ({exc})")
    return wrong


def main() -> None:
    """Print laps, answers and faults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="?", help="default: small ones, made on the spot")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--idle", type=int, default=100, help="connections that say nothing")
    parser.add_argument("--laps", type=int, default=0, help="default: one for three minutes, five at least")
    parser.add_argument("--keep", type=Path, help="keep logs and data in this folder")
    args = parser.parse_args()
    laps = args.laps or max(5, round(args.minutes / 3))
    lap_s = 60 * args.minutes / laps
    with ExitStack() as stack:
        home = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headhunt-soak-")))
        home.mkdir(exist_ok=True)
        (home / "tmp").mkdir()
        (home / "hostile").mkdir()
        clips = make_clips(home / "clips", args.clips)
        trap = stack.enter_context(Trap(home / "hostile"))
        hostile = {name: make(home / "hostile" / "clip.mp4", trap).read_bytes() for name, make in HOSTILE_FILES.items()}
        hostile.pop("endless gif")  # takes a decoder minutes
        _ = trap.sprung  # by those who made the files
        has_postgres = shutil.which("initdb") or Path("/usr/lib/postgresql/15/bin/initdb").exists()
        database = stack.enter_context(postgres()) if has_postgres else None
        env = {
            "TMPDIR": str(home / "tmp"),
            "HEADHUNT_API_KEYS": f"soak:{KEY}",
            "HEADHUNT_URI_ROOTS": str(home / "clips"),
            "HEADHUNT_PREDICTION_LOG": str(home / "log"),
            "HEADHUNT_JOBS_FOLDER": str(home / "jobs"),
            "HEADHUNT_JOBS_ROOTS": str(home / "clips"),
            "HEADHUNT_JOBS_CHECKPOINT_S": "1",
            "OMP_NUM_THREADS": "1",
        } | ({"HEADHUNT_JOBS_DATABASE": database.url} if database else {})
        server = stack.enter_context(serving(".", ROOT, home / "bentoml", **env))
        steady, restarted = (Worker(name, env, home / f"{name}.log") for name in ("steady", "restarted"))
        for worker in (steady, restarted):
            stack.callback(worker.end)
        target = Target(server.url, clips, KEY, home / "clips", hostile, jobs=True)
        chaos = Chaos(target, restarted, database, every_s=max(10.0, lap_s / 6))
        idle = IdleConnections(server, args.idle)
        measured: dict[str, list[Held]] = {"service": [], "worker": []}
        for lap in range(laps):
            with chaos.going_on(), idle.held():
                attack(target, lap_s, args.clients, seed=lap)
            for name, row in at_rest(target, server, steady, home).items():
                measured[name].append(row)
                print(
                    f"lap {lap + 1} of {laps}: {name}: ", *(f"{k} {v:.0f}," for k, v in asdict(row).items()), flush=True
                )
        with httpx.Client(timeout=120, trust_env=False) as http:
            job_faults(target, http)
        if touched := trap.sprung:
            target.fault(f"a hostile file reached a {touched}")
        wrong = stopped_at_work(target, server, home, env, args.clients)
        exits = {worker.name: worker.stop(signal.SIGTERM) for worker in (steady, restarted)}
        wrong += [f"exit code {code} of the worker {name} after SIGTERM" for name, code in exits.items() if code]
        wrong += left(home, "after the end")
        wrong += damage(home, [steady.log, restarted.log])
    wrong += [f"{n} times: {text}" for text, n in target.faults.most_common()]
    wrong += [leak for name, rows in measured.items() for leak in leaks(name, rows)]
    for answer, n in sorted(target.answers.items()):
        print(f"{n:7} {answer}")
    print("restarts:", dict(chaos.done))
    if target.seconds:
        print(f"honest uploads: median {statistics.median(target.seconds):.2f} s, longest {max(target.seconds):.2f} s")
    print(f"/livez beside {args.idle} idle connections: longest {max(idle.livez_s):.2f} s")
    print(*(f"WRONG: {text}" for text in wrong) if wrong else ["nothing wrong"], sep="\n")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
