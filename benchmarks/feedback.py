"""From marks to a new bundle with its proof: seconds, and whether the model was loaded.

    python benchmarks/feedback.py                       # 10,000 logged segments, 20 marks, a made-up site
    python benchmarks/feedback.py --segments 60000 --marks 100

Runs `headhunt recalibrate --from-events` in a process of its own and ends with exit code 1 if that takes more than a
minute, fails, or imports torch or transformers.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from feedback_site import add_event, days_before, log_days, make_site, noon
from rich.console import Console

from headhunt_svc.events.records import EventState
from headhunt_svc.events.store import EventStore
from headhunt_svc.feedback.proof import load_proof
from headhunt_svc.params import load_params
from headhunt_svc.settings import EventSettings

ROOT = Path(__file__).parent.parent
MOST_S = 60.0
DAYS = 5
CODE = """
import json, sys
from headhunt_svc.cli.main import app
try:
    app(sys.argv[1:])
finally:
    loaded = [name for name in ("torch", "transformers") if name in sys.modules]
    open("modules.json", "w").write(json.dumps(loaded))
"""


def prepare(folder: Path, segments: int, marks: int) -> None:
    """A project, marks of one camera over some days, and a log."""
    site = make_site(folder, load_params(ROOT / "params.yaml"), ROOT / "artifacts" / "detector")
    shutil.copy(ROOT / "params.yaml", folder)
    rng, days = np.random.default_rng(0), days_before(datetime.now(UTC), DAYS)
    with EventStore.open(EventSettings(folder=folder / "data" / "events", database=None)) as store:
        for start in noon(days, max(marks // DAYS, 1)):
            add_event(site, store, start, site.harmless, EventState.FALSE_ALARM, rng)
    log_days(site, str(folder / "log"), days, segments // DAYS, 100, rng)


def recalibrate(folder: Path) -> tuple[float, list[str], subprocess.CompletedProcess[str]]:
    """Seconds of the command, and which of the model's libraries it has imported."""
    command = [sys.executable, "-c", CODE, "recalibrate", "--from-events", "--out", "new", "--log", "log"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("HEADHUNT_EVENTS")}
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    return seconds, json.loads((folder / "modules.json").read_text()), done


def main() -> None:
    """Prints seconds and verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", type=int, default=10_000, help="logged segments of the camera")
    parser.add_argument("--marks", type=int, default=20, help="marked events, on five days")
    args = parser.parse_args()
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory(prefix="headhunt-") as name:
        folder = Path(name)
        prepare(folder, args.segments, args.marks)
        seconds, loaded, done = recalibrate(folder)
        proof = load_proof(folder / "new") if done.returncode == 0 else None
    console.print(f"{args.segments} logged segments, {args.marks} marks, {os.cpu_count()} cores: {seconds:.1f} s")
    console.print(f"of torch and transformers imported: {', '.join(loaded) or 'none'}")
    if proof is None:
        console.print(done.stderr or done.stdout)
        sys.exit(1)
    before, after = (sum(getattr(day, side) for day in proof.days) for side in ("before", "after"))
    console.print(f"verdict: {proof.verdict}; events in the log: {before} before, {after} after")
    if seconds > MOST_S or loaded:
        sys.exit(1)


if __name__ == "__main__":
    main()
