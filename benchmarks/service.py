"""The service beside the bare detector, in one run: latency, throughput, memory.

    python benchmarks/service.py                    # about three minutes on 2 cores
    python benchmarks/service.py --json out.json

Rounds of the bare detector and of one client alternate, so that a busy machine slows both. Then 1, 4 and 16 clients,
and 500 requests for the memory of the server and its children.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from headhunt_svc.demo.corpus import write_mp4
from headhunt_svc.demo.rendering import render
from headhunt_svc.demo.scenes import FPS, camera, surveillance
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.serve.client import Client

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from helpers.server import Server, serving  # noqa: E402

CLIENTS = (1, 4, 16)


def make_clip(path: Path) -> Path:
    """A scene of the embedded corpus, about 20 s."""
    scene, t = surveillance(np.random.default_rng(77), "explosion", camera(0))
    write_mp4(path, render(scene, t, 128), FPS)
    return path


def timed(client: Client, clip: Path) -> float:
    """Seconds of one request."""
    started = time.perf_counter()
    client.detect(clip)
    return time.perf_counter() - started


def at_once(server: Server, clip: Path, clients: int, requests: int) -> tuple[list[float], float]:
    """Seconds of each request, and of all, from so many clients."""
    with Client(server.url) as client, ThreadPoolExecutor(clients) as pool:
        started = time.perf_counter()
        seconds = list(pool.map(lambda _: timed(client, clip), range(requests)))
        return seconds, time.perf_counter() - started


def main() -> None:
    """Print the table; with --json write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--requests", type=int, default=500, help="for memory")
    args = parser.parse_args()
    table = Table("", "p50 s", "p95 s", "videos/s")
    with tempfile.TemporaryDirectory() as folder:
        clip = make_clip(Path(folder) / "clip.mp4")
        detector = Detector.load(ROOT / "artifacts" / "detector")
        with serving(".", ROOT, Path(folder) / "home") as server, Client(server.url) as client:
            detector.detect(clip), client.detect(clip)  # warm
            bare: list[float] = []
            one: list[float] = []
            for _ in range(args.rounds):
                started = time.perf_counter()
                detector.detect(clip)
                bare.append(time.perf_counter() - started)
                one.append(timed(client, clip))
            rates = {}
            rows = {"bare detector": (bare, sum(bare) / len(bare) * len(bare))}
            for clients in CLIENTS:
                found, wall = at_once(server, clip, clients, max(2 * clients, args.rounds))
                rates[clients] = len(found) / wall
                rows[f"{clients} clients"] = (found, wall)
            for name, (found, wall) in rows.items():
                low, high = np.quantile(found, [0.5, 0.95])
                table.add_row(name, f"{low:.3f}", f"{high:.3f}", f"{len(found) / wall:.2f}")
            memory = [server.rss()]
            for _ in range(10):
                at_once(server, clip, 4, args.requests // 10)
                memory.append(server.rss())
    figures = {
        "overhead_ratio_1_client": statistics.median(one) / statistics.median(bare),
        "throughput_ratio_16_clients": rates[16] / rates[1],
        "rss_growth_ratio": memory[-1] / memory[1],  # from the 50th request to the last
    }
    Console().print(table)
    for name, value in figures.items():
        print(f"{name}: {value:.3f}")
    print("MiB before, and after each tenth of the requests:", *(m // 2**20 for m in memory))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
