"""Does `headhunt watch` find over RTSP what `headhunt detect` finds in the files, how late, and all of it?"""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from live_relay import Arrivals, Relay
from live_rig import (
    BUNDLE,
    HEADHUNT,
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
from prometheus_client.parser import text_string_to_metric_families

from headhunt_svc.demo.films import Film, script
from headhunt_svc.detector.report import Report
from headhunt_svc.events.records import EventRecord

MERGE_S = 5.0  # of the cameras: no multiple of a segment's length, so that nothing hangs on rounding
EVERY_S = 24.0  # an anomaly
LATE_S = 2.0  # at most, of 95 %
SAMPLE_S = 5.0
SIZE = 128
FIRST_CAMERA = 12


@dataclass(frozen=True, slots=True)
class Expected:
    """An event of the file run, in seconds from the first picture; known_s: when its first segment ends."""

    start_s: float
    stop_s: float
    known_s: float


def expected_events(report: Report, merge_s: float, until_s: float) -> list[Expected]:
    """The events of a file's segments before until_s, those that are closer than merge_s joined."""
    events: list[Expected] = []
    for score in report.scores:
        if score.stop_s > until_s or score.smoothed <= report.threshold:
            continue
        if events and score.start_s - events[-1].stop_s < merge_s:
            events[-1] = Expected(events[-1].start_s, score.stop_s, events[-1].known_s)
        else:
            events.append(Expected(score.start_s, score.stop_s, score.stop_s))
    return events


def file_run(films: Mapping[str, Path], out: Path, bundle: Path = BUNDLE) -> dict[str, Report]:
    """`headhunt detect --smoothing causal` on the films."""
    command = [*HEADHUNT, "detect", *map(str, films.values()), "--smoothing", "causal", "--out", str(out)]
    env = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "--bundle", str(bundle)], check=True, env=env, capture_output=True)
    reports = (Report.model_validate_json(path.read_bytes()) for path in out.rglob("*.json"))
    by_name = {Path(report.video_id).stem: report for report in reports}
    return {name: by_name[path.stem] for name, path in films.items()}


@dataclass(frozen=True, slots=True)
class Pair:
    """An event of the file and the live event that is the same."""

    expected: Expected
    live: EventRecord


def pairs(
    expected: Sequence[Expected], live: Sequence[EventRecord], first: float, slack_s: float
) -> tuple[list[Pair], list[Expected], list[EventRecord]]:
    """Which are the same to slack_s; what was missed, and what was found beside. first: when the first picture came."""
    rest, same, missed = list(live), [], []
    for event in expected:
        for record in rest:
            stop = record.stop or record.start
            if (
                abs(record.start.timestamp() - first - event.start_s) <= slack_s
                and abs(stop.timestamp() - first - event.stop_s) <= slack_s
            ):
                same.append(Pair(event, record))
                rest.remove(record)
                break
        else:
            missed.append(event)
    return same, missed, rest


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95, max."""
    if not values:
        return {}
    p50, p95 = np.quantile(values, [0.5, 0.95])
    return {"n": len(values), "p50": round(float(p50), 3), "p95": round(float(p95), 3), "max": round(max(values), 3)}


def same_scores(rows: Sequence[Mapping[str, Any]], report: Report) -> tuple[int, int, float]:
    """How many segments were scored live, how many of them have the file's very score, and the largest difference."""
    raw = {round(score.start_s, 3): score.raw for score in report.scores}
    differences = [abs(row["raw"] - raw.get(round(row["start_s"], 3), np.inf)) for row in rows]
    return len(rows), sum(d == 0 for d in differences), max(differences, default=np.inf)


def latencies(port: int) -> dict[str, float]:
    """The histogram of the process: every segment, from its end until its score is known and its event is stored."""
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10, trust_env=False).text
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    return {s.labels["le"]: s.value for s in samples if s.name == "headhunt_watch_latency_seconds_bucket"}


def agreement(home: Path, cameras: int, minutes: float) -> Outcome:
    """Watch films over RTSP for some minutes, and compare with the file run."""
    outcome, seconds = Outcome(), 60 * minutes
    length = seconds + 60.0
    scripts = {f"camera-{i + 1:02d}": script(length, 12.0 + 2 * i, EVERY_S, i) for i in range(cameras)}
    films = {
        f"{name}.mp4": [Film(FIRST_CAMERA + i, length, SIZE, 21, anomalies)]
        for i, (name, anomalies) in enumerate(scripts.items())
    }
    paths = {Path(name).stem: path for name, path in write_films(home / "films", films).items()}
    reports = file_run(paths, empty(home / "reports"))
    with ExitStack() as stack:
        server = FilmServer(paths)
        stack.callback(server.kill)
        relays = {name: Relay(server.port, i) for i, name in enumerate(paths)}
        for relay in relays.values():
            stack.callback(relay.close)
        url, messages = stack.enter_context(receiver())
        sources = {
            name: {"source": f"rtsp://127.0.0.1:{relay.port}/{name}", "merge_s": MERGE_S}
            for name, relay in relays.items()
        }
        rig = stack.enter_context(watching(Rig(empty(home / "watch"), sources, url)))
        outcome.figures["ready_s"] = round(rig.wait_receiving(), 1)
        while min(relay.connections[0].sent_s for relay in relays.values()) < seconds:
            rig.sample()
            time.sleep(min(SAMPLE_S, seconds / 10))
        status, buckets = rig.status(), latencies(rig.metrics_port)
        until = {name: relay.connections[0] for name, relay in relays.items()}
        code = rig.stop()
        outcome.check("SIGTERM ends it", code == 0, f"exit code {code}")
        time.sleep(1)
        outcome.check("nothing in the log is an error", not rig.errors(), "; ".join(rig.errors()[:3]))
        outcome.figures["held"] = held(rig.samples)
        _events(outcome, rig, reports, until, messages)
        _coverage(outcome, rig, reports, until, {n: (s.coverage, s.state) for n, s in status.items()})
    total = buckets.get("+Inf", 0.0)
    outcome.figures["latency of all segments, s: how many within"] = {le: round(n) for le, n in buckets.items()}
    share = buckets.get("2.0", 0.0) / total if total else 0.0
    outcome.check("95 % of the segments are scored within 2 s of their end", share >= 0.95, f"{share:.2%} of {total:g}")
    return outcome


def _events(
    outcome: Outcome, rig: Rig, reports: Mapping[str, Report], until: Mapping[str, Arrivals], messages: list[Received]
) -> None:
    """The events, their messages, and how late they were stored and told."""
    records, told = rig.events(), messages_of(messages, "event")
    stored_late: list[float] = []
    told_late: list[float] = []
    off: list[float] = []
    n_expected = n_missed = n_more = n_mute = 0
    for name, report in reports.items():
        arrivals, step_s = until[name], report.scores[0].stop_s
        first = arrivals.first or 0.0
        scored_s = max((row["stop_s"] for row in rig.rows(name)), default=0.0)
        events = expected_events(report, MERGE_S, scored_s)
        live = [record for record in records if record.camera == name]
        same, missed, more = pairs(events, live, first, step_s)
        done = [pair for pair in same if pair.expected.stop_s + MERGE_S + step_s < scored_s]
        n_expected, n_missed, n_more = n_expected + len(events), n_missed + len(missed), n_more + len(more)
        n_mute += sum(told[pair.live.id, phase] != 1 for pair in done for phase in ("begin", "end"))
        stored_late += [pair.live.created.timestamp() - first - pair.expected.known_s for pair in same]
        begun = {m.body["id"]: m.time for m in messages if m.body["phase"] == "begin"}
        told_late += [begun[pair.live.id] - first - pair.expected.known_s for pair in same if pair.live.id in begun]
        off += [abs(pair.live.start.timestamp() - first - pair.expected.start_s) for pair in same]
        bad = [pair.live.id for pair in done if pair.live.interrupted or pair.live.stop is None]
        outcome.check(f"{name}: finished events are closed, not interrupted", not bad, ", ".join(bad))
    outcome.check(
        "every event of the files is found, at the same time",
        n_expected and not n_missed,
        f"{n_expected - n_missed} of {n_expected}, starts differ by at most {max(off, default=0):.3f} s",
    )
    outcome.check("no other event", not n_more, f"{n_more} others")
    outcome.check("one message when it opens and one when it closes", not n_mute, f"{n_mute} missing or double")
    ids = {record.id for record in records}
    outcome.check("no message of anything else", all(key[0] in ids for key in told), f"{sum(told.values())} messages")
    late = quantiles(stored_late)
    outcome.check(f"stored within {LATE_S:g} s of the segment's end (p95)", late and late["p95"] < LATE_S, late)
    outcome.figures |= {"stored_late_s": late, "told_late_s": quantiles(told_late)}


def _coverage(
    outcome: Outcome,
    rig: Rig,
    reports: Mapping[str, Report],
    until: Mapping[str, Arrivals],
    status: Mapping[str, tuple[float | None, Any]],
) -> None:
    """Is every segment scored, and with the file's score?"""
    for name, report in reports.items():
        coverage, state = status[name]
        rows = rig.rows(name)
        n, equal, largest = same_scores(rows, report)
        came = [s for s in report.scores if s.stop_s <= until[name].sent_s - 2 * report.scores[0].stop_s]
        figures = f"status {coverage or 0:.2%}; {n} segments logged, {len(came)} came; reconnects {state.reconnects}"
        outcome.check(
            f"{name}: all of it is scored", coverage is not None and coverage >= 0.995 and n >= len(came), figures
        )
        outcome.check(
            f"{name}: the scores are the file's",
            largest < 1e-6,
            f"{equal} of {n} to the bit, largest difference {largest:.2g}",
        )
