"""Kill workers with SIGKILL at random moments while a job runs, and count what that costs.

python benchmarks/kills.py --kills 20                        # SQLite
python benchmarks/kills.py --kills 20 --database postgres    # a PostgreSQL of its own, on loopback
python benchmarks/kills.py --kills 20 --database postgres --workers 2
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
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np

from headhunt_svc.detector import Detector, Options
from headhunt_svc.io.files import sha256
from headhunt_svc.jobs.client import DONE, Jobs
from headhunt_svc.jobs.config import JobSettings
from headhunt_svc.jobs.models import JobRequest
from headhunt_svc.jobs.scoring import result_key

BUNDLE = Path(__file__).parents[1] / "artifacts" / "detector"
FOUND_IN = "/usr/lib/postgresql/15/bin"


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


@contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL on loopback that is gone afterwards; its URL. Does not run as root."""
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
    try:
        run(tool["initdb"], "-D", data, "-A", "trust", "-U", "headhunt", "--no-sync")
        settings = f"-p {port} -h 127.0.0.1 -k {folder}"
        run(tool["pg_ctl"], "-D", data, "-w", "-l", str(folder / "log"), "-o", settings, "start")
        try:
            yield f"postgresql://headhunt@127.0.0.1:{port}/headhunt_jobs"
        finally:
            run(tool["pg_ctl"], "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def start_worker(settings: JobSettings, log: Path, name: str | None = None) -> "subprocess.Popen[bytes]":
    """`headhunt worker` as a process."""
    env = {**os.environ, "HEADHUNT_JOBS_FOLDER": str(settings.folder), "OMP_NUM_THREADS": "1"}
    env |= {"HEADHUNT_JOBS_CHECKPOINT_S": str(settings.checkpoint_s), "HEADHUNT_BATCH_SEGMENTS": "8"}
    env |= {"HEADHUNT_JOBS_BACKOFF_S": str(settings.backoff_s)}
    env |= {"HEADHUNT_JOBS_DATABASE": settings.database} if settings.database else {}
    command = [str(Path(sys.executable).with_name("headhunt")), "worker", "--bundle", str(BUNDLE)]
    with log.open("ab") as f:
        return subprocess.Popen([*command, *(["--name", name] if name else [])], env=env, stdout=f, stderr=f)


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


def run(
    settings: JobSettings, videos: list[Path], kills: int, workers: int, seed: int = 0, again: bool = True
) -> dict[str, object]:
    """Score videos in a job while killing workers; again: are they started again? Returns the figures."""
    os.environ["HEADHUNT_BATCH_SEGMENTS"] = "8"
    rng = random.Random(seed)
    log = settings.folder / "workers.log"
    settings.folder.mkdir(parents=True, exist_ok=True)
    running = [start_worker(settings, log) for _ in range(workers)]
    killed = 0
    started = time.monotonic()
    try:
        with Jobs(settings) as jobs:
            job_id = jobs.submit(JobRequest(inputs=tuple(map(str, videos))), BUNDLE)
            while jobs.show(job_id).state not in DONE:
                if killed < kills:
                    if killed % 4:  # in the middle of a scoring; every fourth at any moment, start-up included
                        _wait_for_scoring(settings)
                    time.sleep(rng.uniform(0, 1.5 if killed % 4 else 8))
                    at = rng.randrange(len(running))
                    running[at].kill()
                    running[at].wait()
                    killed += 1
                    if again:
                        running[at] = start_worker(settings, log)
                    else:
                        del running[at]
                else:
                    time.sleep(0.5)
            job = jobs.show(job_id)
            seconds = time.monotonic() - started
            detector = Detector.load(BUNDLE)
            different = 0
            keys = {}
            for state, path in zip(job.videos, videos, strict=True):
                content = sha256(path)
                keys[result_key(content, detector, Options())] = state
                assert state.result is not None, state.error
                undisturbed = detector.detect(path, content, Options())
                different += jobs.store.result(state.result, content) != undisturbed
    finally:
        for process in running:
            process.kill()
            process.wait()
    made = {p.stem: p.stat().st_mtime for p in settings.folder.glob("results/*/*.json")}
    after = [s for s in scorings(settings) if float(str(s["time"])) > made[str(s["key"])] + 0.002]
    return {
        "database": "postgres" if settings.database else "sqlite",
        "workers": workers,
        "killed": killed,
        "seconds": round(seconds, 1),
        "state": job.state,
        "videos": len(videos),
        "results": len(made),
        "results_of_these_videos": len(set(made) & set(keys)),
        "different_from_undisturbed": different,
        "scorings_begun": len(scorings(settings)),
        "resumed_from_checkpoint": sum(int(str(s["known"])) > 0 for s in scorings(settings)),
        "finished_videos_scored_again": len(after),
    }


def main() -> None:
    """Print the figures as JSON; exit code 1 where something was lost."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--kills", type=int, default=20)
    parse.add_argument("--videos", type=int, default=30)
    parse.add_argument("--seconds", type=int, default=90, help="length of a video")
    parse.add_argument("--workers", type=int, default=1)
    parse.add_argument("--database", default="sqlite", help="sqlite, postgres (its own), or a URL")
    parse.add_argument("--seed", type=int, default=0)
    args = parse.parse_args()
    with tempfile.TemporaryDirectory(prefix="headhunt-kills-") as folder:
        videos = [make_video(Path(folder) / f"{i:02d}.mp4", args.seconds, i) for i in range(args.videos)]

        def figures(url: str | None) -> dict[str, object]:
            settings = JobSettings(folder=Path(folder) / "jobs", database=url, checkpoint_s=0.5)
            return run(settings, videos, args.kills, args.workers, args.seed)

        if args.database == "postgres":
            with postgres() as url:
                found = figures(url)
        else:
            found = figures(None if args.database == "sqlite" else args.database)
    print(json.dumps(found, indent=1))
    whole = found["state"] == "succeeded" and found["results"] == found["videos"]
    sys.exit(
        0 if whole and not found["different_from_undisturbed"] and not found["finished_videos_scored_again"] else 1
    )


if __name__ == "__main__":
    main()
