"""Kill workers, the service, or commands with SIGKILL at random moments, and count what that costs.

python benchmarks/kills.py --kills 20 --service                        # SQLite; every kill hits a worker or the service
python benchmarks/kills.py --kills 20 --service --database postgres    # a PostgreSQL of its own, on loopback
python benchmarks/kills.py --kills 20 --database postgres --workers 2
python benchmarks/kills.py --kills 0 --database postgres --outage 60   # the database is gone for a minute
python benchmarks/kills.py --of commands      # bundles activate, monitor rebaseline, monitor run: 20 kills each
python benchmarks/kills.py --of repro         # dvc repro of a small project

Exit code 1: something was lost, is double or cannot be read, or another result came of it.
With --service the job is submitted and watched over HTTP, by a client that asks again until it is answered.
"""

import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import sqlalchemy.exc

from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.errors import UnreachableError
from headhunt_svc.jobs.client import Jobs
from headhunt_svc.jobs.models import Job, JobRequest
from headhunt_svc.jobs.queue import DONE
from headhunt_svc.jobs.scoring import result_key
from headhunt_svc.jobs.store import ResultStore
from headhunt_svc.settings import JobSettings
from headhunt_svc.storage.files import sha256

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from helpers.server import Server  # noqa: E402

BUNDLE = ROOT / "artifacts" / "detector"
STUCK_S = 300  # nothing begun, nothing done: nobody works
FOUND_IN = "/usr/lib/postgresql/15/bin"
HEADHUNT = [str(Path(sys.executable).with_name("headhunt"))]


def make_video(path: Path, seconds: int, seed: int, fps: int = 10) -> Path:
    """A short video of moving noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    still = rng.integers(0, 255, (64, 64, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for i in range(seconds * fps):
            frame = av.VideoFrame.from_ndarray(np.roll(still, i, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@dataclass(frozen=True)
class Postgres:
    """A server of our own: its URL, and how to take it away and bring it back."""

    url: str
    start: Callable[[], None]
    stop: Callable[[], None]


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL on loopback that is gone afterwards. Does not run as root."""
    user = "postgres" if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="headhunt-pg-"))
    if user:
        shutil.chown(folder, user)
    tool = {name: shutil.which(name) or f"{FOUND_IN}/{name}" for name in ("initdb", "pg_ctl")}
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]

    def run(*command: str) -> None:
        subprocess.run(command, check=True, user=user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")

    data = str(folder / "data")
    control = [tool["pg_ctl"], "-D", data, "-w"]

    def start() -> None:
        run(*control, "-l", str(folder / "log"), "-o", f"-p {port} -h 127.0.0.1 -k {folder}", "start")

    def stop() -> None:
        run(*control, "-m", "immediate", "stop")

    try:
        run(tool["initdb"], "-D", data, "-A", "trust", "-U", "headhunt", "--no-sync")
        start()
        try:
            yield Postgres(f"postgresql://headhunt@127.0.0.1:{port}/headhunt_jobs", start, stop)
        finally:
            stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def environment(settings: JobSettings) -> dict[str, str]:
    """HEADHUNT_* of the processes of one queue."""
    env = {"HEADHUNT_JOBS_FOLDER": str(settings.folder), "OMP_NUM_THREADS": "1", "HEADHUNT_BATCH_SEGMENTS": "8"}
    env |= {"HEADHUNT_JOBS_CHECKPOINT_S": str(settings.checkpoint_s)}
    env |= {"HEADHUNT_JOBS_BACKOFF_S": str(settings.backoff_s)}
    env |= {"HEADHUNT_JOBS_ROOTS": ",".join(map(str, settings.roots))}
    return env | ({"HEADHUNT_JOBS_DATABASE": settings.database} if settings.database else {})


def start_worker(
    settings: JobSettings, log: Path, name: str | None = None, metrics_port: int | None = None
) -> "subprocess.Popen[bytes]":
    """`headhunt worker` as a process."""
    command = [*HEADHUNT, "worker", "--bundle", str(BUNDLE)]
    command += ["--metrics-port", str(metrics_port)] if metrics_port else []
    with log.open("ab") as f:
        return subprocess.Popen(
            [*command, *(["--name", name] if name else [])], env=os.environ | environment(settings), stdout=f, stderr=f
        )


def scorings(settings: JobSettings) -> list[dict[str, object]]:
    """The list of scorings so far."""
    path = settings.folder / "scorings.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _wait_for_scoring(settings: JobSettings) -> None:
    before = len(scorings(settings))
    for _ in range(200):
        if len(scorings(settings)) > before:
            return
        time.sleep(0.1)


class Service:
    """`bentoml serve` on the same queue, and a client that asks until it is answered."""

    def __init__(self, settings: JobSettings) -> None:
        self.env, self.home = environment(settings), settings.folder / "bentoml"
        self.server = Server(".", ROOT, self.home, **self.env)

    def again(self) -> None:
        """Kill it, whatever it does, and start it again."""
        self.stop()
        self.server = Server(".", ROOT, self.home, **self.env)

    def stop(self) -> None:
        """Kill it."""
        self.server.kill()

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """An answer that is none of a service that is away or just starts."""
        for _ in range(600):
            try:
                found = httpx.request(method, f"{self.server.url}/v1/jobs{path}", timeout=30, **more)
                if found.status_code < 500:
                    return found
            except httpx.HTTPError:
                pass
            time.sleep(0.2)
        raise AssertionError(f"no answer:\n{self.server.log}")

    def submit(self, videos: list[Path]) -> str:
        """The job's id."""
        body = {"inputs": [str(v) for v in videos]}
        found = self.ask("POST", "", json=body, headers={"Idempotency-Key": "one job, however often it is sent"})
        assert found.status_code == 202, found.text
        return str(found.json()["job_id"])

    def show(self, job_id: str) -> Job:
        """The job."""
        return Job.model_validate(self.ask("GET", f"/{job_id}").json())


class Direct:
    """The same by the library."""

    def __init__(self, settings: JobSettings) -> None:
        self.jobs = Jobs(settings)

    def submit(self, videos: list[Path]) -> str:
        """The job's id."""
        return self.jobs.submit(JobRequest(inputs=tuple(map(str, videos))), BUNDLE)

    def show(self, job_id: str) -> Job:
        """The job; asks again while the database is away."""
        for _ in range(1200):
            try:
                return self.jobs.show(job_id)
            except (sqlalchemy.exc.SQLAlchemyError, UnreachableError):
                time.sleep(0.2)
        raise AssertionError("the database did not come back")

    def stop(self) -> None:
        """Let go."""
        self.jobs.close()


def run(
    settings: JobSettings,
    videos: list[Path],
    kills: int,
    workers: int,
    seed: int = 0,
    again: bool = True,
    service: bool = False,
    outage: Callable[[], None] | None = None,
) -> dict[str, object]:
    """Score videos in a job while killing what works on it; returns the figures.

    again: are workers started again? service: does the job go through a service, which is killed, too? outage: called
    once, while a video is being scored.
    """
    os.environ["HEADHUNT_BATCH_SEGMENTS"] = "8"
    rng = random.Random(seed)
    log = settings.folder / "workers.log"
    settings.folder.mkdir(parents=True, exist_ok=True)
    running = [start_worker(settings, log) for _ in range(workers)]
    client = Service(settings) if service else Direct(settings)
    killed = {"worker": 0, "service": 0}
    started = time.monotonic()
    submitted: list[str] = []
    submit = threading.Thread(target=lambda: submitted.append(client.submit(videos)))
    try:
        submit.start()  # beside the killing: a service may die while it takes the job
        if not service:
            submit.join()
        seen: object = None
        while not submitted or (at_work := client.show(submitted[0])).state not in DONE:
            n = sum(killed.values())
            done = (n, len(scorings(settings)), submitted and at_work.counts)
            if done != seen:
                seen, since = done, time.monotonic()
            assert time.monotonic() - since < STUCK_S, f"nothing moves:\n{log.read_text()}"
            if outage is not None:
                _wait_for_scoring(settings)
                outage()
                outage = None
            elif n < kills and isinstance(client, Service) and rng.random() < 0.5:
                time.sleep(rng.uniform(0, 8))
                client.again()
                killed["service"] += 1
            elif n < kills:
                if n % 4:  # in the middle of a scoring; every fourth at any moment, start-up included
                    _wait_for_scoring(settings)
                time.sleep(rng.uniform(0, 1.5 if n % 4 else 8))
                at = rng.randrange(len(running))
                running[at].kill()
                running[at].wait()
                killed["worker"] += 1
                if again:
                    running[at] = start_worker(settings, log)
                else:
                    del running[at]
            else:
                time.sleep(0.5)
        job = client.show(submitted[0])
        seconds = time.monotonic() - started
        detector = Detector.load(BUNDLE)
        different = 0
        keys = {}
        store = ResultStore(settings.folder)
        for state, path in zip(job.videos, videos, strict=True):
            content = sha256(path)
            keys[result_key(content, detector, Options())] = state
            assert state.result is not None, state.error
            undisturbed = detector.detect(path, content, Options())
            different += store.result(state.result, content) != undisturbed
    finally:
        client.stop()
        for process in running:
            process.kill()
            process.wait()
    made = {p.stem: p.stat().st_mtime for p in settings.folder.glob("results/*/*.json")}
    after = [s for s in scorings(settings) if float(str(s["time"])) > made[str(s["key"])] + 0.002]
    return {
        "database": "postgres" if settings.database else "sqlite",
        "workers": workers,
        "workers_killed": killed["worker"],
        "services_killed": killed["service"],
        "seconds": round(seconds, 1),
        "state": job.state,
        "videos": len(videos),
        "results": len(made),
        "results_of_these_videos": len(set(made) & set(keys)),
        "different_from_undisturbed": different,
        "scorings_begun": len(scorings(settings)),
        "resumed_from_checkpoint": sum(int(str(s["resumed"])) > 0 for s in scorings(settings)),
        "finished_videos_scored_again": len(after),
    }


def kill_commands(which: str, kills: int, seed: int) -> int:
    """Print the figures of commands that are killed; returns the exit code."""
    from kill_commands import COMMANDS, kill_command
    from kill_repro import kill_repro

    runs = {name: partial(kill_command, command) for name, command in COMMANDS.items()} | {"dvc repro": kill_repro}
    failed = False
    with tempfile.TemporaryDirectory(prefix="headhunt-kills-") as folder:
        for name in COMMANDS if which == "commands" else [which] if which in COMMANDS else ["dvc repro"]:
            (place := Path(folder, name.replace(" ", "-"))).mkdir()
            figures = runs[name](place, kills, seed)
            print(json.dumps({name: figures}, indent=1), flush=True)
            failed |= bool(figures["different_from_undisturbed"] or figures["unreadable_or_double"])
    return int(failed)


def main() -> None:
    """Print the figures as JSON; exit code 1 where something was lost."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument(
        "--of",
        choices=("job", "commands", "activate", "rebaseline", "monitor", "repro"),
        default="job",
        help="what is killed",
    )
    parse.add_argument("--kills", type=int, default=20)
    parse.add_argument("--videos", type=int, default=30)
    parse.add_argument("--seconds", type=int, default=90, help="length of a video")
    parse.add_argument("--workers", type=int, default=1)
    parse.add_argument("--service", action="store_true", help="submit over HTTP, and kill the service too")
    parse.add_argument("--outage", type=float, default=0, help="seconds without the database (postgres)")
    parse.add_argument("--database", default="sqlite", help="sqlite, postgres (its own), or a URL")
    parse.add_argument("--seed", type=int, default=0)
    args = parse.parse_args()
    if args.of != "job":
        sys.exit(kill_commands(args.of, args.kills, args.seed))
    with tempfile.TemporaryDirectory(prefix="headhunt-kills-") as folder:
        videos = [make_video(Path(folder) / f"{i:02d}.mp4", args.seconds, i) for i in range(args.videos)]

        def figures(url: str | None, outage: Callable[[], None] | None = None) -> dict[str, object]:
            at = Path(folder)
            settings = JobSettings(folder=at / "jobs", database=url, checkpoint_s=0.5, roots=(at,))
            more = {"seed": args.seed, "service": args.service, "outage": outage}
            return run(settings, videos, args.kills, args.workers, **more)

        if args.database == "postgres":
            with postgres() as db:

                def away() -> None:
                    db.stop()
                    time.sleep(args.outage)
                    db.start()

                found = figures(db.url, away if args.outage else None)
        else:
            found = figures(None if args.database == "sqlite" else args.database)
    print(json.dumps(found, indent=1))
    whole = found["state"] == "succeeded" and found["results"] == found["videos"]
    sys.exit(
        0 if whole and not found["different_from_undisturbed"] and not found["finished_videos_scored_again"] else 1
    )


if __name__ == "__main__":
    main()
