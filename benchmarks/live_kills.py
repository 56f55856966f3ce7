"""Kills `headhunt watch` with SIGKILL at random moments: no stored event is lost or double, and everything is told."""

import random
import sqlite3
import time
from contextlib import ExitStack, suppress
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

from live_rig import (
    FilmServer,
    Outcome,
    Received,
    Rig,
    empty,
    held,
    messages_of,
    receiver,
    watching,
    write_films,
)

from headhunt_svc.demo.films import Film, script
from headhunt_svc.events.records import EventRecord

CAMERAS = 3
MERGE_S = 5.0
LIVES_S = (2.0, 20.0)  # between the first pictures and a kill
LOOK_S = 0.2
DELIVERY_S = 150.0  # a message that a killed process was sending is sent again two minutes later
SEED = 21


class Witness:
    """Looks at the database again and again: what was stored once must stay."""

    def __init__(self, rig: Rig) -> None:
        self._path = rig.folder / "events.sqlite"
        self.ids: set[str] = set()
        self.open_at_kill: set[str] = set()

    def look(self) -> dict[str, bool]:
        """The ids of all events, and whether each is open."""
        if not self._path.exists():
            return {}
        with suppress(sqlite3.OperationalError):  # not made yet, or locked at this moment
            database = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=5)
            try:
                rows = {str(i): stop is None for i, stop in database.execute("SELECT id, stop FROM events")}
            finally:
                database.close()
            self.ids |= rows.keys()
            return rows
        return {}

    def for_(self, seconds: float) -> None:
        """For so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.look()
            time.sleep(LOOK_S)


def kills(home: Path, n: int) -> Outcome:
    """Watch three busy cameras, and kill the process n times."""
    outcome, rng = Outcome(), random.Random(SEED)
    films = {
        f"camera-{i + 1}.mp4": [Film(12 + i, 180, 128, i, script(180, 3.0 + 2 * i, 11.0, i))] for i in range(CAMERAS)
    }
    paths = {Path(name).stem: path for name, path in write_films(home / "films", films).items()}
    with ExitStack() as stack:
        server = FilmServer(paths)
        stack.callback(server.kill)
        url, messages = stack.enter_context(receiver())
        sources = {name: {"source": f"rtsp://127.0.0.1:{server.port}/{name}", "merge_s": MERGE_S} for name in paths}
        rig = stack.enter_context(watching(Rig(empty(home / "watch"), sources, url)))
        witness = Witness(rig)
        for number in range(n):
            _live(rig, witness, rng.uniform(*LIVES_S))
            rig.kill()
            witness.open_at_kill |= {i for i, is_open in witness.look().items() if is_open}
            print(f"kill {number + 1} of {n}: {len(witness.ids)} events, {len(messages)} messages", flush=True)
            rig.start()
        rig.wait_receiving()
        began = rig.sample()
        rig.wait(lambda: not _untold(rig.events(), messages), DELIVERY_S)
        outcome.figures["held after the last start"] = held([began, rig.sample()])
        code = rig.stop()
        outcome.check("SIGTERM ends it", code == 0, f"exit code {code}")
        time.sleep(1)
        _judge(outcome, rig.events(), witness, messages)
        outcome.check("no bug in the log", "Traceback" not in rig.text(), "; ".join(rig.errors()[:3]))
    return outcome


def _live(rig: Rig, witness: Witness, seconds: float) -> None:
    """Let it run until pictures come, and so long beyond."""
    since = time.time()

    def scored() -> bool:
        witness.look()
        states = [row.state for row in rig.status().values()]
        return any(s is not None and s.written.timestamp() > since and s.phase == "receiving" for s in states)

    if not rig.wait(scored, 180, LOOK_S):
        raise RuntimeError(f"no camera is scored three minutes after a start:\n{rig.text()[-3000:]}")
    witness.for_(seconds)


def _untold(events: list[EventRecord], messages: list[Received]) -> set[tuple[str, str]]:
    """What must have been told and was not."""
    told = messages_of(messages, "event")
    due = {(e.id, "begin") for e in events} | {(e.id, "end") for e in events if e.stop is not None}
    return {key for key in due if key not in told}


def _judge(outcome: Outcome, events: list[EventRecord], witness: Witness, messages: list[Received]) -> None:
    """The lines of the acceptance."""
    by_id = {event.id: event for event in events}
    lost = witness.ids - by_id.keys()
    outcome.check("there was something to lose", len(events) >= 5, f"{len(events)} events")
    outcome.check("no stored event is lost", not lost, f"{len(witness.ids)} seen, {len(lost)} lost: {sorted(lost)}")
    merge = timedelta(seconds=MERGE_S)
    double = []
    for camera in {event.camera for event in events}:
        of_camera = sorted((e for e in events if e.camera == camera), key=lambda e: e.start)
        double += [b.id for a, b in pairwise(of_camera) if b.start - (a.stop or a.start) < merge]
    outcome.check("none is double, or closer than the merge distance", not double, double)
    left = [event.id for event in events if event.stop is None]
    outcome.check("none is left open", not left, left)
    reopened = [i for i in witness.open_at_kill if i in by_id and not by_id[i].interrupted]
    outcome.check(
        "open ones were closed as interrupted",
        not reopened,
        f"{len(witness.open_at_kill)} were open when it was killed; not marked: {reopened}",
    )
    untold, told = _untold(events, messages), messages_of(messages, "event")
    outcome.check("every one is told, opened and closed", not untold, f"{len(told)} told, missing: {sorted(untold)}")
    strange = {key[0] for key in told} - by_id.keys()
    outcome.check("each message has the id of its event", not strange, sorted(strange))
    copies = sum(told.values()) - len(told)
    outcome.figures["messages"] = {"different": len(told), "second copies (at least once)": copies}
