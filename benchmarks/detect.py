"""`headhunt detect` from start to end, beside another commit or one decoder: seconds, processor time, the most memory.

    git worktree add out/before 7515f7c && python benchmarks/detect.py --before out/before
    python benchmarks/detect.py --before out/before --seconds 600 --rounds 3     # a file of ten minutes
    python benchmarks/detect.py --files 8 --decoders auto                        # several files, beside one decoder

The embedded detector on 720p at 2 Mbit/s (throughput.py makes it). Every run is a process of its own, as somebody types
it, start-up included; both alternate. Memory is the largest sum of the resident pages of a process and its children,
looked at 5 times a second. The reports of both must be the same but for the version of the code.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import psutil
from throughput import make_video

ROOT = Path(__file__).parent.parent
LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Run:
    """What one run took, and the reports that it printed."""

    seconds: float
    cpu_s: float
    peak_mib: float
    reports: list[dict[str, object]]


def _held_bytes(process: psutil.Process) -> int:
    """Resident pages of a process and its children."""
    held = 0
    with suppress(psutil.NoSuchProcess):
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                held += each.memory_info().rss
    return held


def detect(checkout: Path, videos: list[Path], decoders: str) -> Run:
    """Run `headhunt detect VIDEOS --json` of a checkout.

    Raises:
        SystemExit: it failed.
    """
    command = [sys.executable, "-m", "headhunt_svc", "detect", *map(str, videos), "--json"]
    environment = os.environ | {"PYTHONPATH": str(checkout.resolve() / "src"), "HF_HUB_OFFLINE": "1"}
    environment["HEADHUNT_DECODERS"] = decoders
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), monotonic()
    with subprocess.Popen(
        command,
        cwd=checkout,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        peak, ended = 0, threading.Event()

        def watch() -> None:
            nonlocal peak
            while not ended.wait(LOOK_S):
                peak = max(peak, _held_bytes(psutil.Process(process.pid)))

        watcher = threading.Thread(target=watch)
        watcher.start()
        out, err = process.communicate()
        ended.set()
        watcher.join()
    if process.returncode:
        raise SystemExit(f"{checkout}: {' '.join(command)} failed:\n{err}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(monotonic() - start, cpu_s, peak / 2**20, [json.loads(line) for line in out.splitlines()])


def main() -> None:
    """Print a line for each measure; with --json write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path, nargs="?", help="default: made for this")
    parser.add_argument("--before", type=Path, help="another checkout, to compare with")
    parser.add_argument("--seconds", type=int, default=60, help="length of the video that is made")
    parser.add_argument("--files", type=int, default=1, help="copies of the video that are scored in one run")
    parser.add_argument("--decoders", help="HEADHUNT_DECODERS, to compare with one decoder")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.before and args.decoders:
        parser.error("--before compares commits, --decoders numbers of decoders: give one of them")
    sides = {"now": (ROOT, "1")}  # what is compared, the older first
    if args.before:
        sides = {"before": (args.before, "1"), "now": (ROOT, "1")}
    elif args.decoders:
        sides = {"one": (ROOT, "1"), args.decoders: (ROOT, args.decoders)}
    runs: dict[str, list[Run]] = {name: [] for name in sides}
    with tempfile.TemporaryDirectory(prefix="headhunt-detect-") as folder:
        video = args.video.resolve() if args.video else make_video(Path(folder) / "v.mp4", args.seconds)
        videos = [Path(shutil.copy(video, Path(folder) / f"{i}{video.suffix}")) for i in range(args.files)]
        for _ in range(args.rounds):
            for name, (checkout, decoders) in sides.items():
                runs[name].append(detect(checkout, videos, decoders))
    reports = [[report | {"code": None} for report in run.reports] for each in runs.values() for run in each]
    if any(report != reports[0] for report in reports):
        raise SystemExit("the reports are not the same")
    figures: dict[str, float] = {}
    print("                " + "".join(f"{name:>10}" for name in sides) + "   ratio (lowest, median, highest)")
    for measure in ("seconds", "cpu_s", "peak_mib"):
        values = {name: [getattr(run, measure) for run in each] for name, each in runs.items()}
        line = f"{measure:16}" + "".join(f"{statistics.median(each):10.1f}" for each in values.values())
        figures |= {f"{name}_{measure}": statistics.median(each) for name, each in values.items()}
        if len(values) == 2:
            ratios = sorted(a / b for a, b in zip(*values.values(), strict=True))
            figures[f"ratio_{measure}"] = statistics.median(ratios)
            line += f"   {ratios[0]:.2f}  {statistics.median(ratios):.2f}  {ratios[-1]:.2f}"
        print(line)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
