"""The service beside the bare detector: latency, throughput, memory.

    python benchmarks/service.py                    # about five minutes on 2 cores
    python benchmarks/service.py --json out.json --requests 0

The same clip goes to the bare detector and to the service in turn, who is first alternates; the ratio is the median of
the pairs' ratios. Both reports must be equal. What the service adds is nearly the same for every video, so there are a
short clip and one of a minute. Then 16 clients and one in turn with the short clip, and 500 requests from 4 clients for
the memory of the server and its children.
"""

import argparse
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from pairs import Ratio, Times, alternate, seconds
from rich.console import Console
from rich.table import Table

from headhunt_svc.demo.corpus import write_mp4
from headhunt_svc.demo.rendering import render
from headhunt_svc.demo.scenes import FPS, camera, surveillance
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.report import Report
from headhunt_svc.serve.client import Client

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from helpers.server import Server, serving  # noqa: E402

CLIENTS = 16
SCENES = {"short": 1, "minute": 3}


def make_clip(path: Path, scenes: int) -> Path:
    """Scenes of the embedded corpus, about 20 s each."""
    rendered = [
        render(*surveillance(np.random.default_rng(77 + i), "explosion", camera(0)), 128) for i in range(scenes)
    ]
    write_mp4(path, np.concatenate(rendered), FPS)
    return path


def one_client(detector: Detector, client: Client, clip: Path, rounds: int) -> Times:
    """Seconds of a request and of the bare detector, in pairs. Raises AssertionError where their reports differ."""
    reports: dict[str, Report] = {}

    def bare() -> None:
        reports["bare"] = detector.detect(clip)

    def served() -> None:
        reports["served"] = client.detect(clip)
        assert reports["served"] == reports["bare"], f"{clip.name}: the service reports something else"

    bare()
    return alternate(served, bare, rounds, time.perf_counter)


def at_once(server: Server, clip: Path, clients: int, requests: int) -> None:
    """So many requests from so many clients."""
    with Client(server.url) as client, ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda _: client.detect(clip), range(requests)))


def main() -> None:
    """Print the table; with --json write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=30, help="pairs of a request and the bare detector")
    parser.add_argument("--laps", type=int, default=5, help="pairs of 16 clients and one")
    parser.add_argument("--requests", type=int, default=500, help="for memory; 0: leave it out")
    args = parser.parse_args()
    table = Table("clip", "segments", "bare, p50 s", "p95", "service, p50 s", "p95")
    figures: dict[str, float] = {}
    ratios: dict[str, Ratio] = {}
    with tempfile.TemporaryDirectory() as folder:
        clips = {name: make_clip(Path(folder) / f"{name}.mp4", scenes) for name, scenes in SCENES.items()}
        detector = Detector.load(ROOT / "artifacts" / "detector")
        with serving(".", ROOT, Path(folder) / "home") as server, Client(server.url) as client:
            for name, clip in clips.items():
                times = one_client(detector, client, clip, args.rounds)
                served, bare = (np.quantile(column, [0.5, 0.95]) for column in zip(*times, strict=True))
                n_segments = len(detector.detect(clip).scores)
                table.add_row(name, str(n_segments), *(f"{s:.3f}" for s in (*bare, *served)))
                ratios[f"one client against the bare detector, {name}"] = ratio = Ratio.of(times)
                figures[f"overhead_ratio_1_client_{name}"] = ratio.median
            clip = clips["short"]
            if args.laps:
                laps = alternate(
                    lambda: at_once(server, clip, 1, CLIENTS),
                    lambda: at_once(server, clip, CLIENTS, CLIENTS),
                    args.laps,
                    time.perf_counter,
                )
                ratios["videos a second of 16 clients against one"] = ratio = Ratio.of(laps)
                figures["throughput_ratio_16_clients"] = ratio.median
            memory = [server.rss()]
            for _ in range(10 if args.requests else 0):
                busy_s = seconds(lambda: at_once(server, clip, 4, args.requests // 10), time.perf_counter)
                print(f"{args.requests // 10 / busy_s:.2f} videos a second of 4 clients, {server.rss() // 2**20} MiB")
                memory.append(server.rss())
            if args.requests:
                figures["rss_growth_ratio"] = memory[-1] / memory[1]  # from the 50th request to the last
    Console().print(table)
    for what, ratio in ratios.items():
        print(f"{what}: {ratio}")
    if args.requests:
        print(f"memory after {args.requests} requests against a tenth of them: {figures['rss_growth_ratio']:.3f}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
