"""More cameras than the device can score: is every camera scored as much as the others, is latency bounded, and is
everything counted?

The embedded model is too fast for that with a dozen cameras, so the bundle is changed: segments of two pictures.
"""

import json
import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from live_agreement import latencies
from live_relay import Relay
from live_rig import BUNDLE, FilmServer, Outcome, Rig, empty, held, receiver, watching, write_films

from headhunt_svc.demo.films import Film, script

SEGMENT_S = 0.2  # instead of 1.6
WARM_UP_S = 15.0
POLL_S = 2.0
MOST_APART = 0.05  # of the shares
MOST_LAG_S = 5.0
SLACK_SEGMENTS = 4  # of a camera, that wait or are in the model
LATE_S = 2.0  # of packets that are not decoded yet, on a busy machine


def heavy_bundle(folder: Path) -> Path:
    """The embedded detector with short segments."""
    bundle = empty(folder) / "detector"
    shutil.copytree(BUNDLE, bundle)
    (folder / "demo_mllm").symlink_to(BUNDLE.parent / "demo_mllm")
    document = json.loads((bundle / "bundle.json").read_text())
    document["segmentation"] |= {"length_s": SEGMENT_S}
    (bundle / "bundle.json").write_text(json.dumps(document))
    return bundle


@dataclass(frozen=True, slots=True)
class Counted:
    """What the state of a camera says. written: when that was."""

    written: float
    offered_s: float
    scored_s: float
    dropped_s: float
    lag_s: float

    def since(self, earlier: "Counted") -> "Counted":
        """The difference."""
        return Counted(
            self.written,
            self.offered_s - earlier.offered_s,
            self.scored_s - earlier.scored_s,
            self.dropped_s - earlier.dropped_s,
            self.lag_s,
        )


def counted(rig: Rig) -> dict[str, Counted]:
    """Of every camera."""
    states = {name: row.state for name, row in rig.status().items()}
    return {
        name: Counted(state.written.timestamp(), state.offered_s, state.scored_s, state.dropped_s, state.lag_s or 0.0)
        for name, state in states.items()
        if state is not None
    }


def load(home: Path, cameras: int, minutes: float) -> Outcome:
    """Watch so many cameras for some minutes."""
    outcome, seconds = Outcome(), 60 * minutes
    names = [f"camera-{i + 1:02d}" for i in range(cameras)]
    length = seconds + WARM_UP_S + 240
    films = {f"film-{i}.mp4": [Film(12 + i, length, 96, i, script(length, 10, 40, i))] for i in range(3)}
    paths = write_films(home / "films", films)
    shown = {name: paths[f"film-{i % 3}.mp4"] for i, name in enumerate(names)}
    with ExitStack() as stack:
        server = FilmServer(shown)
        stack.callback(server.kill)
        relays = {name: Relay(server.port, i) for i, name in enumerate(names)}
        for relay in relays.values():
            stack.callback(relay.close)
        url, _ = stack.enter_context(receiver())
        sources = {name: {"source": f"rtsp://127.0.0.1:{r.port}/{name}"} for name, r in relays.items()}
        bundle = heavy_bundle(home / "heavy")
        rig = stack.enter_context(watching(Rig(empty(home / "watch"), sources, url, bundle)))
        outcome.figures["ready_s"] = round(rig.wait_receiving(), 1)
        time.sleep(WARM_UP_S)
        first, began, lags = counted(rig), time.monotonic(), list[float]()
        cpu_s = rig.sample().cpu_s
        while time.monotonic() - began < seconds:
            time.sleep(POLL_S)
            rig.sample()
            lags.append(max(row.lag_s for row in counted(rig).values()))
        last, buckets = counted(rig), latencies(rig.metrics_port)
        lasted_s = time.monotonic() - began
        outcome.figures["cores in use"] = round((rig.samples[-1].cpu_s - cpu_s) / lasted_s, 2)
        began_at = {name: relay.connections[0].first or 0.0 for name, relay in relays.items()}
        code = rig.stop()
        outcome.check("SIGTERM ends it", code == 0, f"exit code {code}")
        outcome.check("no bug in the log", "Traceback" not in rig.text(), "; ".join(rig.errors()[:3]))
        outcome.figures["held"] = held(rig.samples)
        outcome.figures["latency of all segments, s: how many within"] = {le: round(n) for le, n in buckets.items()}
        _fair(outcome, {name: last[name].since(first[name]) for name in names}, lasted_s)
        _adds_up(outcome, last, began_at)
        _bounded(outcome, lags)
    return outcome


def _fair(outcome: Outcome, measured: Mapping[str, Counted], lasted_s: float) -> None:
    """Does every camera get the same?"""
    shares = {name: row.scored_s / row.offered_s for name, row in measured.items()}
    least, most = min(shares.values()), max(shares.values())
    rate = sum(row.scored_s for row in measured.values()) / SEGMENT_S / lasted_s
    whole = sum(row.scored_s for row in measured.values()) / sum(row.offered_s for row in measured.values())
    outcome.check("it is more than the device can score", whole < 0.95, f"{whole:.1%} scored, {rate:.1f} segments/s")
    outcome.check("the shares are less than 5 points apart", most - least < MOST_APART, f"{least:.1%} to {most:.1%}")
    outcome.figures["share of each camera"] = {name: round(share, 3) for name, share in shares.items()}


def _adds_up(outcome: Outcome, last: Mapping[str, Counted], began_at: Mapping[str, float]) -> None:
    """Is what came either scored or counted as dropped? The films are sent in real time, since began_at."""
    slack_s = SLACK_SEGMENTS * SEGMENT_S
    open_s = {name: row.offered_s - row.scored_s - row.dropped_s for name, row in last.items()}
    outcome.check(
        "offered = scored + dropped, but for what waits",
        all(-0.1 <= s <= slack_s for s in open_s.values()),
        f"the rest: {min(open_s.values()):.2f} to {max(open_s.values()):.2f} s",
    )
    short = {name: row.written - began_at[name] - row.offered_s for name, row in last.items()}
    outcome.check(
        "what was sent was offered",
        all(-0.1 <= s <= slack_s + LATE_S for s in short.values()),
        f"sent - offered: {min(short.values()):.2f} to {max(short.values()):.2f} s",
    )


def _bounded(outcome: Outcome, lags: list[float]) -> None:
    """Does the lag stay where it was?"""
    third = max(len(lags) // 3, 1)
    first, last = max(lags[:third]), max(lags[-third:])
    outcome.check(
        "latency is bounded",
        max(lags) <= MOST_LAG_S and last <= 1.5 * first + 1,
        f"lag of the last in line: at most {max(lags):.2f} s; first third {first:.2f}, last {last:.2f}",
    )
