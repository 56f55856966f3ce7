"""Three rendered cameras in real time, and `headhunt watch` on them: what live use looks like, without a camera.

The folder is one like a user's own: cameras.yaml, and below data/ what the commands write. Its films are shown again
and again, as `kind: loop`.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headhunt_svc.demo.films import Film, write_film
from headhunt_svc.demo.params import CorpusParams
from headhunt_svc.errors import HeadHuntError
from headhunt_svc.events.records import EventFilter, EventRecord
from headhunt_svc.events.store import EventStore
from headhunt_svc.settings import EventSettings
from headhunt_svc.storage.files import write_text

SECONDS = 60.0  # of a film
ANOMALIES = {  # what happens, and when; each camera shows other scenes
    "gate": (16, ((6.0, "explosion"), (40.0, "fall"))),
    "yard": (17, ((20.0, "fight"),)),
    "ramp": (18, ((30.0, "car"),)),
}
CAMERAS = """\
# Three files as cameras. A change counts at once: try another threshold, active_hours, or a mask (docs/cameras.md).
defaults:
  expect_every_s: 30
cameras:
"""
_CAMERA = "  {name}:\n    source: {{kind: loop, path: films/{name}.mp4}}\n"
POLL_S = 0.5
ENDS_S = 60.0  # at most, after Ctrl-C
_OTHERS = ("HEADHUNT_EVENTS_", "HEADHUNT_NOTIFY_")  # settings of a real installation: the demo has places of its own


def prepare(folder: Path, params: CorpusParams) -> Path:
    """Write films and cameras.yaml, as far as they are not there; returns the folder."""
    folder = folder.resolve()
    for name, (index, anomalies) in ANOMALIES.items():
        path = folder / "films" / f"{name}.mp4"
        if not path.exists():
            write_film(path, Film(index, SECONDS, params.size, params.seed, anomalies))
    if not (folder / "cameras.yaml").exists():
        write_text(folder / "cameras.yaml", CAMERAS + "".join(_CAMERA.format(name=name) for name in ANOMALIES))
    return folder


@contextmanager
def watching(folder: Path, bundle: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `headhunt watch` in the folder; it is asked to end with the `with`, and its open events are closed."""
    command = [sys.executable, "-m", "headhunt_svc", "watch", "--bundle", str(bundle.resolve())]
    env = {name: value for name, value in os.environ.items() if not name.startswith(_OTHERS)}
    process = subprocess.Popen(command, cwd=folder, env=env)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(ENDS_S)
        finally:
            process.kill()


def follow(folder: Path, process: "subprocess.Popen[bytes]") -> Iterator[tuple[EventRecord, Path | None]]:
    """Every event that begins or ends while the process runs, with its picture.

    Raises:
        HeadHuntError: the process has ended by itself; what it printed says why.
    """
    with EventStore.open(EventSettings(folder=folder / "data" / "events", database=None)) as store:
        stops = {event.id: event.stop for event in store.list(EventFilter())}  # of earlier runs
        while process.poll() is None:
            for event in store.list(EventFilter())[::-1]:
                if event.id not in stops or stops[event.id] != event.stop:
                    stops[event.id] = event.stop
                    yield event, store.picture(event.id)
            time.sleep(POLL_S)
    raise HeadHuntError(f"headhunt watch has ended with exit code {process.returncode}")
