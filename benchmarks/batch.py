"""What the queue and Ray add to each video, against a bare loop over the Detector, in one run.

    python benchmarks/batch.py --videos 40 --json

The time of a video is the time between two results (median); videos are short, so that little of it is scoring.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import torch
from kills import BUNDLE, make_video, postgres, start_worker

from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.jobs.batch import Engine, run
from headhunt_svc.jobs.client import Jobs
from headhunt_svc.jobs.inputs import expand
from headhunt_svc.jobs.models import JobOptions, JobRequest
from headhunt_svc.jobs.queue import DONE
from headhunt_svc.settings import JobSettings


def between(results: Path) -> float:
    """Median milliseconds between the results in a folder."""
    times = sorted(p.stat().st_mtime_ns for p in results.glob("*/*.json"))
    return statistics.median(b - a for a, b in pairwise(times)) / 1e6


def bare(videos: list[Path]) -> float:
    """Median milliseconds of Detector.detect."""
    detector, times = Detector.load(BUNDLE), []
    for path in videos:
        started = time.perf_counter()
        detector.detect(path)
        times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times)


def queue(folder: Path, videos: list[Path], url: str | None) -> float:
    """Median milliseconds a video in a job with one worker."""
    settings = JobSettings(folder=folder, database=url)
    folder.mkdir()
    worker = start_worker(settings, folder / "log")
    try:
        with Jobs(settings) as jobs:
            job_id = jobs.submit(JobRequest(inputs=tuple(map(str, videos))), BUNDLE)
            while jobs.show(job_id).state not in DONE:
                time.sleep(1)
    finally:
        worker.kill()
        worker.wait()
    return between(folder / "results")


def batch(folder: Path, videos: list[Path], engine: Engine) -> float:
    """Median milliseconds a video in `headhunt batch`."""
    run(expand([str(v) for v in videos]), str(folder), BUNDLE, JobOptions.model_validate({}), engine, actors=1)
    return between(folder / "results")


def main() -> None:
    """Print the figures."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--videos", type=int, default=40)
    parse.add_argument("--json", action="store_true")
    args = parse.parse_args()
    os.environ["HEADHUNT_BATCH_SEGMENTS"] = "8"
    os.environ["OMP_NUM_THREADS"] = "1"  # in all processes, the bare loop's too
    torch.set_num_threads(1)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with tempfile.TemporaryDirectory(prefix="headhunt-batch-") as name:
        folder = Path(name)
        videos = [make_video(folder / "videos" / f"{i:03d}.mp4", 2, i) for i in range(args.videos)]
        loop = bare(videos)
        found = {"bare_ms_per_video": loop, "sqlite_overhead_ms_per_video": queue(folder / "a", videos, None) - loop}
        with postgres() as db:
            found["postgres_overhead_ms_per_video"] = queue(folder / "b", videos, db.url) - loop
        found["local_overhead_ms_per_video"] = batch(folder / "c", videos, "local") - loop
        found["ray_overhead_ms_per_video"] = batch(folder / "d", videos, "ray") - loop
    found = {key: round(value, 1) for key, value in found.items()}
    print(json.dumps(found) if args.json else "\n".join(f"{key:32}{value:8.1f}" for key, value in found.items()))


if __name__ == "__main__":
    main()
