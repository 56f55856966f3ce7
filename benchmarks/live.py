"""Does `headhunt watch` do live what docs/live.md promises? A real process, real RTSP, scripted films.

    python benchmarks/live.py --cameras 3 --minutes 10   # events, messages, latency and coverage beside the file run
    python benchmarks/live.py --cameras 12               # more than the device can score: fair, bounded, counted
    python benchmarks/live.py --faults                   # server killed, frozen, wrong password, size, loss, clock
    python benchmarks/live.py --kills 20                 # kill -9 at random moments: nothing lost, nothing double
    python benchmarks/live.py --silence                  # a silent camera is an alarm, within two minutes of its time

Exit code 1: a line of the table says no. Needs GStreamer's RTSP server (gir1.2-gst-rtsp-server-1.0, python3-gi).
--keep FOLDER keeps films, logs and events.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from live_agreement import agreement
from live_faults import faults
from live_kills import kills
from live_load import load
from live_rig import Outcome
from live_silence import silence
from rich.console import Console
from rich.table import Table

CROWD = 6  # from so many cameras on, the mode is that of a device that is behind


def chosen(args: argparse.Namespace) -> tuple[str, Callable[[Path], Outcome]]:
    """The mode that the options ask for."""
    if args.faults:
        return "faults", lambda home: faults(home, args.rounds, args.fault_s)
    if args.kills:
        return f"kill -9, {args.kills} times", lambda home: kills(home, args.kills)
    if args.silence:
        return "silence", lambda home: silence(home, args.expect)
    if args.cameras >= CROWD:
        return f"{args.cameras} cameras, overload", lambda home: load(home, args.cameras, args.minutes)
    name = f"{args.cameras} cameras over RTSP, {args.minutes:g} minutes"
    return name, lambda home: agreement(home, args.cameras, args.minutes)


def main() -> None:
    """Print what was asked, whether it holds, and the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--cameras", type=int, default=3)
    mode.add_argument("--faults", action="store_true")
    mode.add_argument("--kills", type=int, default=0)
    mode.add_argument("--silence", action="store_true")
    parser.add_argument("--minutes", type=float, default=10, help="of footage, with --cameras")
    parser.add_argument("--rounds", type=int, default=1, help="of all faults, with --faults")
    parser.add_argument("--fault-s", type=float, default=60, help="how long a fault lasts")
    parser.add_argument("--expect", type=float, default=20, help="expect_every_s, with --silence")
    parser.add_argument("--keep", type=Path, help="keep everything in this folder")
    parser.add_argument("--json", type=Path, help="write checks and figures")
    args = parser.parse_args()
    name, run = chosen(args)
    with tempfile.TemporaryDirectory(prefix="headhunt-live-") as folder:
        home = (args.keep or Path(folder)).resolve()
        home.mkdir(parents=True, exist_ok=True)
        outcome = run(home)
    show(name, outcome)
    if args.json:
        document = {"mode": name, "checks": [asdict(c) for c in outcome.checks], "figures": outcome.figures}
        args.json.write_text(json.dumps(document, indent=2, default=str) + "\n", encoding="utf-8")
    sys.exit(0 if outcome.checks and all(check.passed for check in outcome.checks) else 1)


def show(name: str, outcome: Outcome) -> None:
    """Prints a line for each check, and the figures."""
    console = Console(width=200, highlight=False)
    table = Table("", "what", "figures", title=name, box=None)
    for check in outcome.checks:
        table.add_row("yes" if check.passed else "NO", check.name, check.figures)
    console.print(table)
    for key, value in outcome.figures.items():
        rows = value if isinstance(value, list) else [value]
        console.print(f"{key}: {rows[0] if len(rows) == 1 else ''}", markup=False)
        if len(rows) > 1:
            console.print(*(f"    {row}" for row in rows), sep="\n", markup=False)


if __name__ == "__main__":
    main()
