"""`headhunt watch` as users run it: a looped video is scored live, events are stored and told, a restart loses none."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import COMMANDS, ROOT, headhunt
from headhunt_svc.cameras.status import CameraState, load_state
from headhunt_svc.events.records import EventRecord
from headhunt_svc.events.store import EventStore
from headhunt_svc.settings import EventSettings
from helpers.receiver import Receiver, http_receiver
from helpers.scrapes import missing, scrape

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SEGMENT_S = 1.6  # of the bundle that ships
START_S = 120  # a busy machine imports torch slowly


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(condition: Callable[[], Any], process: "subprocess.Popen[str]", within_s: float) -> Any:
    end = time.monotonic() + within_s
    while not (value := condition()):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.1)
    return value


class Place:
    """A folder with cameras.yaml and notify.yaml, in which the command runs."""

    def __init__(self, folder: Path, scene: Path, receiver: Receiver) -> None:
        self.folder, self.receiver = folder, receiver
        self.port, self.printed = free_port(), folder / "printed.txt"
        (folder / "notify.yaml").write_text(
            f"channels:\n  hook: {{webhook: '{receiver.url}', secret: {SECRET}}}\n", encoding="utf-8"
        )
        self.cameras = folder / "cameras.yaml"
        self.text = (
            "defaults: {notify: [hook], cooldown_s: 0, merge_s: 1.6}\ncameras:\n"
            f"  yard: {{source: {{kind: loop, path: '{scene}'}}, time_zone: Europe/Berlin}}\n"
            f"  gone: {{source: 'rtsp://127.0.0.1:{free_port()}/1', expect_every_s: 1}}\n"
        )
        self.cameras.write_text(self.text, encoding="utf-8")
        self.options = ["--bundle", str(ROOT / "artifacts" / "detector"), "--log", "log"]

    def start(self) -> "subprocess.Popen[str]":
        with self.printed.open("w", encoding="utf-8") as file:
            process = subprocess.Popen(
                COMMANDS.headhunt("watch", *self.options, "--metrics-port", str(self.port)),
                cwd=self.folder,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                stderr=file,
                text=True,
            )
        wait_for(lambda: "watching" in self.printed.read_text(encoding="utf-8"), process, START_S)
        return process

    def stop(self, process: "subprocess.Popen[str]") -> str:
        """SIGTERM; returns what it has printed."""
        process.send_signal(signal.SIGTERM)
        code, printed = process.wait(timeout=30), self.printed.read_text(encoding="utf-8")
        assert code == 0, printed
        return printed

    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in list(self.receiver.posts)]

    def told(self, kind: str, phase: str) -> list[str]:
        return [m["id"] for m in self.messages() if (m["kind"], m["phase"]) == (kind, phase)]

    def state(self, camera: str, scored_s: float = 0) -> CameraState | None:
        """How the camera is, if so much of it was scored."""
        state = load_state(self.folder / "data" / "cameras", camera)
        return None if state is None or state.scored_s < scored_s else state

    def events(self) -> list[EventRecord]:
        with EventStore.open(EventSettings(folder=self.folder / "events")) as store:
            return store.list()

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        (value,) = (line.rpartition(" ")[2] for line in lines if line.startswith(name))
        return float(value)


@pytest.fixture
def place(tmp_path: Path, scene: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("HEADHUNT_EVENTS_FOLDER", str(tmp_path / "events"))
    with http_receiver() as receiver:
        yield Place(tmp_path, scene, receiver)


def test_from_a_stream_to_somebody_who_knows(place: Place) -> None:
    process = place.start()
    try:
        (ended,) = wait_for(lambda: place.told("event", "end")[:1], process, 60)
        assert place.told("event", "begin")[0] == ended
        begin, end = (m for m in place.messages() if m["id"] == ended)
        assert (begin["camera"], begin["stop"], end["score"] > begin["threshold"]) == ("yard", None, True)
        assert begin["start_local"].endswith("+01:00") or begin["start_local"].endswith("+02:00")
        (silence,) = wait_for(lambda: place.told("silence", "begin"), process, 30)
        assert next(m for m in place.messages() if m["id"] == silence)["camera"] == "gone"

        # what others see of it meanwhile
        yard = wait_for(lambda: place.state("yard", scored_s=5), process, 30)
        gone = place.state("gone")
        assert yard.phase == "receiving"
        assert yard.scored_s + yard.dropped_s <= yard.offered_s + 2 * SEGMENT_S
        assert yard.last_event is not None
        assert gone is not None
        assert "connection refused" in (gone.problem or "")
        assert place.metric('headhunt_camera_up{camera="yard"}') == 1
        assert place.metric('headhunt_camera_up{camera="gone"}') == 0
        assert place.metric('headhunt_camera_scored_seconds_total{camera="yard"}') > 5
        wait_for(lambda: place.metric("headhunt_prediction_log_rows_total") > 0, process, 30)
        assert list(missing(scrape(f"http://127.0.0.1:{place.port}/metrics"), "watch")) == []
        second = headhunt("watch", *place.options, cwd=place.folder)
        assert second.returncode == 2
        assert "another `headhunt watch` watches the camera 'yard'" in second.stderr

        # cameras.yaml changes: broken, it is refused; then another camera begins, at which everything is an event
        place.cameras.write_text(place.text.replace("expect_every_s: 1", "expect_every_s: -1"), encoding="utf-8")
        wait_for(lambda: place.metric("headhunt_watch_cameras_refused") == 1, process, 10)
        changed = place.text.partition("  gone:")[0].replace("yard: {", "lane: {threshold: 0, ")
        place.cameras.write_text(changed, encoding="utf-8")
        wait_for(lambda: place.metric("headhunt_watch_cameras_refused") == 0, process, 10)

        # an open event is closed when the command ends, and somebody is told
        wait_for(lambda: "lane" in {m["camera"] for m in place.messages()}, process, 60)
        printed = place.stop(process)
    finally:
        process.kill()
        process.wait()
    assert "cameras.gone.expect_every_s: " in printed
    assert "1 cameras begin, 2 end, 0 go on" in printed
    events = place.events()
    assert all(event.stop is not None for event in events)
    assert events[0].interrupted
    assert events[-1].picture
    assert events[-1].clip
    assert sorted(place.told("event", "begin")) == sorted(place.told("event", "end")) == sorted(e.id for e in events)
    assert not (place.folder / "data" / "cameras" / "yard.json").exists()
    assert "not watched" in headhunt("cameras", "status", cwd=place.folder).stdout
    assert list((place.folder / "log").rglob("*.parquet"))

    process = place.start()
    try:
        wait_for(lambda: place.metric('headhunt_camera_scored_seconds_total{camera="lane"}') > 0, process, 60)
        place.stop(process)
    finally:
        process.kill()
        process.wait()
    assert {event.id for event in place.events()} >= {event.id for event in events}
