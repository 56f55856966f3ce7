"""`make live-demo`, until its first event: three films as cameras in real time, watched by a process of its own."""

import re
from pathlib import Path

from conftest import ROOT, headhunt
from headhunt_svc.cameras.status import load_state
from headhunt_svc.events.records import EventFilter
from headhunt_svc.events.store import EventStore
from headhunt_svc.settings import EventSettings


def test_the_first_event_comes_within_a_minute(tmp_path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    match = re.search(r"^live-demo: setup .*\n\theadhunt (demo live)$", makefile, flags=re.MULTILINE)
    assert match is not None
    folder = tmp_path / "live"
    done = headhunt(*match[1].split(), "--events", "1", "--out", folder)
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if "event has begun" in line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC  \w+ +event has begun, score 0\.\d\d  (/.*\.jpg)", line)
    assert Path(line.rsplit("  ", 1)[1]).read_bytes().startswith(b"\xff\xd8")
    for name in ("gate", "yard", "ramp"):
        state = load_state(folder / "data" / "cameras", name)
        assert state is not None
        assert state.phase == "stopped"
        assert state.scored_s > 0
    with EventStore.open(EventSettings(folder=folder / "data" / "events")) as store:
        events = store.list(EventFilter())
    assert events
    assert all(event.stop is not None and event.origin == "live" for event in events)
    assert (events[-1].created - events[-1].start).total_seconds() < 30
