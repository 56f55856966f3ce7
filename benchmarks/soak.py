"""Clients that send clips for minutes, corrupt ones among them: right answers, no 5xx, flat memory; else exit code 1.

python benchmarks/soak.py ../shared/data/clips --minutes 3 --clients 16
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.report import Report
from headhunt_svc.errors import VideoError
from headhunt_svc.video.files import find_videos

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from helpers.server import Server, serving  # noqa: E402


def expected(detector: Detector, clip: Path) -> Report | None:
    """What the bare detector says; None if it refuses."""
    try:
        return detector.detect(clip)
    except VideoError:
        return None


def soak(server: Server, clips: dict[Path, Report | None], seconds: float, clients: int) -> tuple[Counter[str], float]:
    """What was answered how often, and the server's memory in the last third over that in the first.

    Memory is the mean over samples of each third: of a run of three minutes, of each minute.
    """
    order, answers, memory = list(clips), Counter[str](), list[tuple[float, int]]()
    until = time.monotonic() + seconds
    ended = threading.Event()

    def client(number: int) -> None:
        choice = random.Random(number)  # not in turn: the mix shall be the same all the time
        with httpx.Client(timeout=120, trust_env=False) as http:
            while time.monotonic() < until:
                clip = choice.choice(order)
                with clip.open("rb") as video:
                    got = http.post(f"{server.url}/v1/detect", files={"video": (clip.name, video)})
                wanted = clips[clip]
                if got.status_code == 200:
                    right = wanted is not None and Report.model_validate_json(got.content) == wanted
                    answers["right report" if right else f"WRONG report of {clip.name}"] += 1
                elif wanted is None and 400 <= got.status_code < 500:
                    answers[f"refused with {got.status_code}, as expected"] += 1
                else:
                    answers[f"WRONG: {clip.name}: {got.text[:200]}"] += 1

    def watch() -> None:
        started = time.monotonic()
        while not ended.wait(min(1.0, seconds / 30)):
            memory.append(((time.monotonic() - started) / seconds, server.rss()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(client, range(clients)))
    finally:
        ended.set()
        watcher.join()
    if len(memory) > 20:
        print("MiB over time:", *(m // 2**20 for _, m in memory[:: len(memory) // 20]))
    first, last = ([m for at, m in memory if low <= at < low + 1 / 3] for low in (0, 2 / 3))
    return answers, (sum(last) / len(last)) / (sum(first) / len(first))


def main() -> None:
    """Print what was answered."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--clients", type=int, default=16)
    args = parser.parse_args()
    detector = Detector.load(ROOT / "artifacts" / "detector")
    clips = {clip: expected(detector, clip) for clip in find_videos([args.clips])}
    with tempfile.TemporaryDirectory() as home, serving(".", ROOT, Path(home)) as server:
        soak(server, clips, 45, args.clients)  # warm: memory reaches its height
        answers, growth = soak(server, clips, 60 * args.minutes, args.clients)
        errors = [line for line in server.lines if line["level"] in ("ERROR", "CRITICAL")]
    for answer, n in answers.most_common():
        print(f"{n:6} {answer}")
    print(f"memory of the last third over the first: {growth:.3f}; errors in the log: {len(errors)}")
    if errors or growth > 1.1 or any(answer.startswith("WRONG") for answer in answers):
        sys.exit(1)


if __name__ == "__main__":
    main()
