"""Breaks cameras in every way at once, beside one that is well: is each fault named, and does each camera come back?"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from live_relay import Network, Relay
from live_rig import FilmServer, Outcome, Rig, Sample, empty, held, receiver, watching, write_films

from headhunt_svc.cameras.status import CameraStatus
from headhunt_svc.demo.films import Film

CALM_S = 40.0  # before the first fault, and after each
POLL_S = 1.0
COMES_BACK_S = 150.0  # the longest wait between two attempts is a minute
LOGS_IN_S = 330.0  # after wrong passwords it is five
GROWTH = 1.1  # of memory, from one round to the last
SIZES = (128, 96)
INDEX = 12  # whose camera the films show


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to a camera. named: how status and log say it. reconnects: may the stream be opened anew?"""

    name: str
    named: str
    begin: Callable[[], None]
    end: Callable[[], None]
    back_s: float = COMES_BACK_S
    reconnects: bool = True


@dataclass(slots=True)
class Seen:
    """What status and log said of a camera during a fault."""

    status: set[str] = field(default_factory=set)
    logged: list[str] = field(default_factory=list)
    back_s: float | None = None


def nothing() -> None:
    """The film itself does it."""


def film_files(folder: Path, rounds: int, fault_s: float) -> dict[str, Path]:
    """The films, by camera: all calm, one that freezes, one that changes its size."""
    period_s = CALM_S + fault_s
    total_s = 120 + rounds * (period_s + LOGS_IN_S)

    def film(index: int, seconds: float, seed: int, size: int = 128, frozen: bool = False) -> Film:
        return Film(index, seconds, size, seed, frozen_s=(1.0, seconds) if frozen else None)

    parts = range(int(total_s / period_s) + 1)
    freezing = [f for i in parts for f in (film(INDEX, CALM_S, i), film(INDEX, fault_s, i + 50, frozen=True))]
    sizes = [film(INDEX + 1, fault_s / 2, i, SIZES[i % 2]) for i in range(int(2 * total_s / fault_s) + 1)]
    calm = {f"calm-{i}.mp4": [film(INDEX + 2 + i, total_s, i)] for i in range(2)}
    paths = write_films(folder, {**calm, "freezing.ts": freezing, "sizes.ts": sizes})
    names = ("killed", "login", "stalled", "lossy", "jumping", "steady")
    return {
        "frozen": paths["freezing.ts"],
        "resized": paths["sizes.ts"],
        **{name: paths[f"calm-{i % 2}.mp4"] for i, name in enumerate(names)},
    }


@dataclass(slots=True)
class Scene:
    """Servers and relays of all cameras."""

    films: dict[str, Path]
    stack: ExitStack
    servers: dict[str, FilmServer] = field(default_factory=dict)
    relays: dict[str, Relay] = field(default_factory=dict)

    def sources(self) -> dict[str, dict[str, object]]:
        """cameras.yaml's cameras."""
        self.servers["killed"] = FilmServer({"killed": self.films["killed"]})
        self.servers["login"] = FilmServer({"login": self.films["login"]}, "me:old")
        self.servers["rest"] = FilmServer({n: p for n, p in self.films.items() if n not in ("killed", "login")})
        for server in self.servers.values():
            self.stack.callback(server.kill)
        for i, name in enumerate(("stalled", "lossy", "jumping")):
            self.relays[name] = Relay(self.servers["rest"].port, i)
            self.stack.callback(self.relays[name].close)
        ports = {name: self.servers["rest"].port for name in self.films}
        ports |= {name: relay.port for name, relay in self.relays.items()}
        ports |= {name: self.servers[name].port for name in ("killed", "login")}
        urls = {name: f"rtsp://127.0.0.1:{port}/{name}" for name, port in ports.items()}
        urls["login"] = urls["login"].replace("://", "://${LIVE_USER}:${LIVE_PASSWORD}@")
        transport = {"lossy": "udp"}
        return {
            name: {
                "source": {"kind": "rtsp", "url": url, "transport": transport.get(name, "tcp")},
                "expect_every_s": 30,
                "freeze_s": 30,
            }
            for name, url in urls.items()
        }

    def network(self, name: str, network: Network) -> Callable[[], None]:
        """What changes a camera's network."""

        def change() -> None:
            self.relays[name].network = network

        return change

    def faults(self) -> list[Fault]:
        """All of them."""
        killed, login = self.servers["killed"], self.servers["login"]
        small = rf"{SIZES[1]} ?x ?{SIZES[1]}"
        return [
            Fault("killed", r"refused|broke|ended", killed.kill, killed.start),
            Fault(
                "stalled",
                r"no data|no answer",
                self.network("stalled", Network(stalled=True)),
                self.network("stalled", Network()),
            ),
            Fault(
                "lossy",
                r"lost|broken|missing",
                self.network("lossy", Network(loss=0.1)),
                self.network("lossy", Network()),
            ),
            Fault(
                "jumping",
                r"clock|jump",
                self.network("jumping", Network(jump_s=3600)),
                self.network("jumping", Network()),
            ),
            Fault("login", r"user name or password", nothing, lambda: login.log_in_as("me:new"), LOGS_IN_S),
            Fault("frozen", r"frozen|has not changed|same picture", nothing, nothing),
            Fault("resized", small, nothing, nothing, reconnects=False),
        ]


def said(row: CameraStatus) -> str:
    """What the status says of a camera, in words."""
    problem = None if row.state is None else row.state.problem
    return f"{row.word}: {problem}" if problem else row.word


class Eyes:
    """Looks at the status of all cameras again and again, and measures the process."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.seen: dict[str, Seen] = {camera.name: Seen() for camera in rig.cameras.each()}

    def look(self) -> None:
        """Once."""
        self._rig.sample()
        for name, row in self._rig.status().items():
            self.seen[name].status.add(said(row))

    def for_(self, seconds: float) -> None:
        """For so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.look()
            time.sleep(POLL_S)

    def until_back(self, faults: list[Fault]) -> None:
        """Until every camera is scored again; notes after how long."""
        began, wall = time.monotonic(), time.time()
        waiting = {fault.name: fault for fault in faults}
        while waiting and time.monotonic() - began < max(fault.back_s for fault in waiting.values()):
            self.look()
            for name, row in self._rig.status().items():
                state = row.state
                is_back = row.word == "receiving" and state is not None and not state.frozen and state.problem is None
                if is_back and state is not None and state.last_scored and state.last_scored.timestamp() > wall + 1:
                    if waiting.pop(name, None) is not None:
                        self.seen[name].back_s = round(time.monotonic() - began, 1)
            time.sleep(POLL_S)


@contextmanager
def logged(rig: Rig, seen: dict[str, Seen], from_start: bool) -> Iterator[None]:
    """Give each camera what is logged about it meanwhile, or since the process began."""
    start = 0 if from_start else len(rig.text())
    yield
    for line in rig.text()[start:].splitlines():
        for name, what in seen.items():
            if (place := line.find(f"camera {name}: ")) >= 0:
                what.logged.append(line[place + len(f"camera {name}: ") :])


def faults(home: Path, rounds: int, fault_s: float) -> Outcome:
    """All faults at once, some rounds of them."""
    outcome, fault_s = Outcome(), max(fault_s, 45.0)  # a picture counts as frozen after half a minute
    films = film_files(home / "films", rounds, fault_s)
    with ExitStack() as stack:
        scene = Scene(films, stack)
        url, messages = stack.enter_context(receiver())
        rig = Rig(empty(home / "watch"), scene.sources(), url, LIVE_USER="me", LIVE_PASSWORD="new")
        stack.enter_context(watching(rig))
        outcome.figures["ready_s"] = round(rig.wait_receiving([n for n in films if n != "login"]), 1)
        eyes, all_faults = Eyes(rig), scene.faults()
        memory: list[list[Sample]] = []
        for number in range(rounds):
            if number:
                eyes.for_(CALM_S)
            current = [fault for fault in all_faults if fault.name != "login" or not number]
            first = len(rig.samples)
            with logged(rig, eyes.seen, not number):
                eyes.for_(CALM_S / 2)
                _begin(current)
                eyes.for_(fault_s / 2)
                printed = rig.printed_status()
                eyes.for_(fault_s / 2)
                for fault in current:
                    fault.end()
                eyes.until_back(current)
            memory.append(rig.samples[first:])
            for fault in current:
                _judge(outcome, fault, eyes.seen[fault.name], number)
            outcome.figures[f"round {number + 1}: status --json during the faults"] = [
                {"camera": n, "status": row["status"], "problem": (row["state"] or {}).get("problem")}
                for n, row in printed.items()
            ]
        _steady(outcome, rig, all_faults)
        code = rig.stop()
        outcome.check("SIGTERM ends it", code == 0, f"exit code {code}")
        outcome.check("no bug in the log", "Traceback" not in rig.text(), "; ".join(rig.errors()[:3]))
        _memory(outcome, rig, memory)
        outcome.figures["messages of silence"] = sorted(
            {(str(m.body["camera"]), m.body["phase"]) for m in messages if m.body["kind"] == "silence"}
        )
    return outcome


def _begin(current: list[Fault]) -> None:
    for fault in current:
        fault.begin()


def _judge(outcome: Outcome, fault: Fault, seen: Seen, number: int) -> None:
    """Was it named, and is the camera back?"""
    named = re.compile(fault.named, re.IGNORECASE)
    status = sorted({match[0] for text in seen.status for match in [named.search(text)] if match})
    lines = [line for line in seen.logged if named.search(line)]
    label = f"round {number + 1}, {fault.name}"
    outcome.check(f"{label}: named in the status", status, status)
    outcome.check(f"{label}: named in the log", lines, lines[0][-150:] if lines else "")
    outcome.check(f"{label}: back without a restart", seen.back_s is not None, f"after {seen.back_s} s")
    seen.status.clear()
    seen.logged.clear()
    seen.back_s = None


def _steady(outcome: Outcome, rig: Rig, all_faults: list[Fault]) -> None:
    """The camera without a fault, and those whose connection need not end."""
    rows = rig.status()
    steady = rows["steady"]
    assert steady.state is not None
    outcome.check(
        "the camera without a fault is scored whole",
        (steady.coverage or 0) >= 0.99 and not steady.state.reconnects,
        f"{steady.coverage or 0:.2%}, {steady.state.reconnects} reconnects",
    )
    for fault in all_faults:
        state = rows[fault.name].state
        if not fault.reconnects:
            outcome.check(
                f"{fault.name}: one connection all the time",
                state is not None and not state.reconnects,
                f"{state and state.reconnects} reconnects",
            )
    outcome.figures["coverage and reconnects"] = [
        {"camera": n, "coverage": row.coverage, "reconnects": row.state and row.state.reconnects}
        for n, row in rows.items()
    ]


def _memory(outcome: Outcome, rig: Rig, rounds: list[list[Sample]]) -> None:
    """Does it grow?"""
    figures: list[dict[str, Any]] = []
    for number, samples in enumerate(rounds, 1):
        third = max(len(samples) // 3, 1)
        before, after = (median(s.memory_mib for s in part) for part in (samples[:third], samples[-third:]))
        figures.append(
            {
                "round": number,
                "MiB before": round(before),
                "MiB after": round(after),
                "most": round(max(s.memory_mib for s in samples)),
                "threads": samples[-1].threads,
                "descriptors": samples[-1].descriptors,
            }
        )
    first, last = figures[0], figures[-1]
    base = first["MiB before"] if len(figures) == 1 else first["MiB after"]
    outcome.check("memory does not grow", last["MiB after"] <= GROWTH * base, f"{base} MiB, then {last['MiB after']}")
    outcome.figures |= {"memory": figures, "held": held(rig.samples)}
