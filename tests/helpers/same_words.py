"""What verdict.json, drift.html, the gauges and the console's pages say of a window, each read from what it shows."""

import html
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY

from headhunt_svc.console import words
from headhunt_svc.monitoring.config import ALL_KINDS
from headhunt_svc.monitoring.verdicts import PAGE, VERDICT

Get = Callable[..., str]  # a page of the console: its address and parameters


@dataclass(frozen=True)
class Said:
    """Of one camera. signals: value and limit to three places. over: those beyond their limit. commands: to copy."""

    word: str
    since: str | None
    over: frozenset[str]
    signals: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    commands: tuple[str, ...] = ()

    def without_commands_of_events(self) -> "Said":
        """The console has a link to the events where others have a command that lists them."""
        commands = tuple(c for c in self.commands if not c.startswith("headhunt events list"))
        return Said(self.word, self.since, self.over, self.signals, commands)


def minute(since: str | None) -> str | None:
    """A time to the minute, in UTC."""
    return None if since is None else f"{datetime.fromisoformat(since).astimezone(UTC):%Y-%m-%d %H:%M}"


def _word(camera: dict[str, Any]) -> str:
    return "silent" if camera["status"] == "silent" else camera["kind"] or camera["status"]


def of_verdict(folder: Path) -> dict[str, Said]:
    """What verdict.json says of each camera."""
    said = {}
    for name, camera in json.loads((folder / VERDICT).read_text())["cameras"].items():
        signals = {s: (f"{r['value']:.3f}", f"{r['limit']:.3f}") for s, r in camera["signals"].items()}
        commands = tuple(re.findall(r"`([^`]*)`", camera["remedy"] or ""))
        said[name] = Said(_word(camera), minute(camera["since"]), frozenset(camera["over"]), signals, commands)
    return said


def _cells(row: str, tag: str = "td") -> list[str]:
    return re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", row, re.DOTALL)


def text_of(markup: str) -> str:
    """The words of a piece of a page."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split())


def of_page(folder: Path) -> dict[str, Said]:
    """What drift.html says of each camera, before Evidently's charts."""
    heading = (folder / PAGE).read_text(encoding="utf-8").split('<main class="verdict">')[1].split("</main>")[0]
    of_cameras, found, of_signals = heading.partition("signals as numbers</summary>")
    assert found
    numbers: dict[str, dict[str, tuple[str, str]]] = {}
    over: dict[str, set[str]] = {}
    for attributes, row in re.findall(r"<tr([^>]*)>(<td.*?)</tr>", of_signals, re.DOTALL):
        name, signal, value, limit, _ = map(html.unescape, _cells(row))
        numbers.setdefault(name, {})[signal] = value, limit
        if "over" in attributes:
            over.setdefault(name, set()).add(signal)
    said = {}
    for row in re.findall(r"<tr>(<td.*?)</tr>", of_cameras, re.DOTALL):
        *cells, steps = _cells(row)
        name, word, since, _ = map(html.unescape, cells)
        commands = tuple(html.unescape(c) for c in _cells(steps, "code"))
        said[name] = Said(word, since or None, frozenset(over.get(name, ())), numbers.get(name, {}), commands)
    return said


def of_evidently(folder: Path) -> tuple[int, int]:
    """How often Evidently's charts say that there is drift, and that there is none."""
    page = (folder / PAGE).read_text(encoding="utf-8")
    return page.count("Data drift detected"), page.count("Data drift not detected")


def of_gauges(cameras: Iterator[str] | list[str]) -> dict[str, Said]:
    """What the gauges of this process say of each camera; they know kinds and no other words."""
    get = REGISTRY.get_sample_value
    said = {}
    for name in cameras:
        kinds = [k for k in ALL_KINDS if get("headhunt_monitor_alarm", {"camera": name, "kind": k}) == 1]
        kind = str(kinds[0]) if kinds else ""
        assert len(kinds) < 2
        seconds = get("headhunt_monitor_alarm_since_seconds", {"camera": name, "kind": kind})
        since = None if seconds is None else minute(datetime.fromtimestamp(seconds, UTC).isoformat())
        signals: dict[str, tuple[str, str]] = {}
        over: set[str] = set()
        for signal in words.ALL_SIGNALS:
            labels = {"camera": name, "signal": signal}
            value, limit = get("headhunt_monitor_signal", labels), get("headhunt_monitor_limit", labels)
            if value is not None and limit is not None:
                signals[signal] = f"{value:.3f}", f"{limit:.3f}"
                if value > limit:
                    over.add(signal)
        said[name] = Said(kind or "None", since, frozenset(over), signals)
    return said


def of_camera_page(page: str, name: str) -> Said:
    """What the console's page of a camera says."""
    (heading,) = re.findall(r"<h1>(.*?)</h1>", page)
    word = html.unescape(heading).removeprefix(f"{name}: ")
    since = re.findall(r'<span>since <time datetime="([^"]*)"', page)
    signals, over = {}, set()
    for attributes, row in re.findall(r'<tr([^>]*)><th scope="row">(.*?)</tr>', page, re.DOTALL):
        signal = re.findall(r'<span class="quiet">(\w+)</span></th>', row)
        if signal:
            _, value, limit, *_ = _cells(row)
            signals[signal[0]] = value, limit
            if "bad" in attributes:
                over.add(signal[0])
    steps = page.partition('<ol class="steps">')[2].partition("</ol>")[0]
    commands = tuple(html.unescape(c) for c in _cells(steps, "code"))
    return Said(word, minute(since[0]) if since else None, frozenset(over), signals, commands)


def of_drift_page(page: str) -> dict[str, Said]:
    """What the console's drift page says of each camera of the latest window."""
    said = {}
    for name, row in re.findall(r'<tr data-row="([^"]*)">(.*?)</tr>', page, re.DOTALL):
        (word,) = re.findall(r'<span class="badge [^"]*">(.*?)</span>', row)
        since = re.findall(r'<div class="since">since <time datetime="([^"]*)"', row)
        charts = re.findall(r'<td( class="over")?>', row)
        over = {s for s, is_over in zip(words.ALL_SIGNALS, charts, strict=True) if is_over}
        said[html.unescape(name)] = Said(html.unescape(word), minute(since[0]) if since else None, frozenset(over))
    return said


def of_status_page(page: str) -> dict[str, tuple[set[str], set[str | None]]]:
    """The words and the beginnings that the console's first page has for each camera."""
    said = {}
    for name, row in re.findall(r'<tr data-row="([^"]*)"[^>]*>(.*?)</tr>', page, re.DOTALL):
        badges = {html.unescape(b) for b in re.findall(r'<span class="badge [^"]*">(.*?)</span>', row)}
        said[html.unescape(name)] = badges, set(map(minute, re.findall(r'since <time datetime="([^"]*)"', row)))
    return said


def disagreements(folder: Path, get: Get) -> Iterator[str]:
    """Where others say something else than the verdict.json of a window, which is the console's latest.

    The gauges must be those of that window.
    """
    verdict = of_verdict(folder)
    if (folder / PAGE).exists():
        if of_page(folder) != verdict:
            shown = of_page(folder)
            yield from (f"{PAGE}: {n}: {shown.get(n)} is not {s}" for n, s in verdict.items() if shown.get(n) != s)
        drifting, _ = of_evidently(folder)
        most = sum(len(said.over) for said in verdict.values())
        if drifting > most or (drifting and not any(said.over for said in verdict.values())):
            yield f"{PAGE}: Evidently says drift {drifting} times, the verdict {most} times"
    gauges = of_gauges(list(verdict))
    drift, status = of_drift_page(get("/drift")), of_status_page(get("/"))
    for name, said in verdict.items():
        is_kind = said.word in ALL_KINDS
        kind = said.word if is_kind else "pipeline" if said.word == "silent" else "None"
        if gauges[name] != Said(kind, said.since, said.over, said.signals):
            yield f"gauges: {name}: {gauges[name]} is not {said}"
        page = of_camera_page(get("/drift/camera", camera=name, window=folder.name), name)
        if page != said.without_commands_of_events():
            yield f"page of {name}: {page} is not {said}"
        if drift[name] != Said(said.word, said.since, said.over):
            yield f"drift page: {name}: {drift[name]} is not {said}"
        if is_kind or said.word == "silent":
            badges, since = status[name]
            if said.word not in badges or said.since not in since:
                yield f"first page: {name}: {badges} since {since} is not {said}"
