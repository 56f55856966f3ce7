"""The list of events, an event, and missed events."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from headhunt_svc.console import event as event_page
from headhunt_svc.console.desk import Desk
from headhunt_svc.console.media import ByteCache
from headhunt_svc.events.records import EventState
from headhunt_svc.types import HeadRef
from helpers.consoles import Client, picture, token_of
from helpers.events import NOON, features, new
from helpers.log_rows import START, rows, write


def ids_of(page: str) -> list[str]:
    return [part.split('"')[0] for part in page.split('data-event="')[1:]]


def test_filters_of_the_list(desk: Desk, desk_client: Client) -> None:
    yard = desk.events.add(new(camera="yard", score=0.6), merge_s=None)
    dock = desk.events.add(new(camera="dock", key="d", score=0.9, start=3600, stop=3610), merge_s=None)
    desk.events.mark(dock.id, EventState.CONFIRMED, "anna")
    console = desk_client()
    for query, expected in {
        "": [dock.id, yard.id], "camera=yard": [yard.id], "state=confirmed": [dock.id], "min_score=0,8": [dock.id],
        "since=2026-03-01T13:30": [dock.id],  # of Berlin: 12:30 UTC
        "until=2026-03-01T13:30": [yard.id], "state=new&camera=dock": [],
    }.items():  # fmt: skip
        assert ids_of(console.get(f"/events?{query}").text) == expected, query


def test_the_list_goes_on(desk: Desk, desk_client: Client) -> None:
    for i in range(120):
        desk.events.add(new(start=60 * i, stop=60 * i + 5), merge_s=None)
    console, address, shown = desk_client(), "/events?camera=yard", []
    while address:
        page = console.get(address).text
        shown += ids_of(page)
        address = (
            page.split('" rel="next"')[0].rpartition('href="')[2].replace("&amp;", "&") if 'rel="next"' in page else ""
        )
    assert len(shown) == len(set(shown)) == 120


def test_undo_restores_state_and_note(desk: Desk, desk_client: Client) -> None:
    event, console = desk.events.add(new(), merge_s=None), desk_client()
    token = token_of(console.get("/events").text)
    for fields in (
        {"state": "confirmed", "note": "a fall"},
        {"state": "false_alarm", "note": "a cat"},
        {"state": "undo"},
    ):
        console.post(f"/events/{event.id}/mark", data={**fields, "csrf": token})
    record = desk.events.get(event.id)
    assert (record.state, record.note) == (EventState.CONFIRMED, "a fall")
    assert len(desk.events.marks(event.id)) == 3  # an undoing is on the record, too


def test_a_note_that_is_too_long_is_refused_by_name(desk: Desk, desk_client: Client) -> None:
    event, console = desk.events.add(new(), merge_s=None), desk_client()
    token = token_of(console.get("/events").text)
    answer = console.post(f"/events/{event.id}/mark", data={"note": "x" * 4001, "csrf": token})
    assert (answer.status_code, "at most 4000 characters" in answer.text) == (400, True)


def test_scores_come_from_the_log_around_the_event(desk: Desk, tmp_path: Path) -> None:
    log = write(
        str(tmp_path / "log"), rows(100, "yard", "yard.mp4", NOON, raw=np.full(100, 0.25), smoothed=np.full(100, 0.25))
    )
    event = desk.events.add(new(start=60, stop=72, start_s=60.0), merge_s=None)
    line = event_page.timeline(log, event, None, "UTC")
    assert line is not None
    assert line.source == "of the prediction log"
    steps = line.chart.split('class="score" d="')[1].split('"')[0].count("M")
    assert 40 < steps < 48  # 72 s of segments of 1.6 s
    other = desk.events.add(new(start=60, stop=72, key="o", video_id="other.mp4", start_s=60.0), merge_s=None)
    assert event_page.timeline(log, other, None, "UTC") is None


def test_without_a_log_the_scores_of_the_events_own_segments_are_shown(desk: Desk) -> None:
    event = desk.events.add(new(start_s=0.0), merge_s=None, features=features(0.5, 4))
    line = event_page.timeline(desk.log, event, desk.events.features(event.id), "UTC")
    assert line is not None
    assert "own segments" in line.source


def test_heads_in_words(desk: Desk) -> None:
    event = desk.events.add(new(contributions=(0.9, -1.0, 0.01)), merge_s=None)
    heads = event_page.heads_of(event, (HeadRef(3, 1), HeadRef(5, 0), HeadRef(7, 2)))
    assert [(head.name, head.words) for head in heads] == [
        ("head 1 of layer 3", "speaks strongly for an event"),
        ("head 2 of layer 7", "says nothing"),
        ("head 0 of layer 5", "speaks strongly against an event"),
    ]


def test_a_missed_event_has_the_scores_of_the_log(desk: Desk, tmp_path: Path, desk_client: Client) -> None:
    raw = np.linspace(0, 0.99, 100)
    write(str(tmp_path / "log"), rows(100, "yard", "a.mp4", START, raw=raw, smoothed=raw))
    console = desk_client()
    token = token_of(console.get("/events/timeline?camera=yard&day=2026-03-01").text)
    fields = {"camera": "yard", "note": "a fall", "csrf": token}
    # START is midnight UTC, one o'clock in Berlin
    answer = console.post(
        "/events/missed", data={**fields, "start": "2026-03-01T01:00:10", "stop": "2026-03-01T01:00:20"}
    )
    event = desk.events.get(answer.headers["location"].rpartition("/")[2])
    assert (event.start, event.stop) == (START + timedelta(seconds=10), START + timedelta(seconds=20))
    assert event.score == raw[12]  # the last segment that begins before the end
    assert (event.state, event.note, event.origin) == (EventState.CONFIRMED, "a fall", "manual")
    assert [mark.by for mark in desk.events.marks(event.id)] == ["local"]
    for start, stop, says in (
        ("2026-03-01T05:00:00", "2026-03-01T05:00:09", "nothing of yard was scored"),
        ("2026-03-01T01:00:20", "2026-03-01T01:00:10", "the end must be behind the start"),
        ("yesterday", "2026-03-01T01:00:10", "that is no time"),
    ):
        refused = console.post("/events/missed", data={**fields, "start": start, "stop": stop})
        assert (refused.status_code, says in refused.text) == (400, True), refused.text
    assert len(desk.events.list()) == 1


def test_pictures_are_kept_within_a_size() -> None:
    cache, made = ByteCache(10), []

    def make(name: str) -> bytes:
        made.append(name)
        return name.encode() * 4

    for name in "abcab":
        assert cache.get(name, lambda name=name: make(name)) == name.encode() * 4
    assert made == ["a", "b", "c", "a", "b"]  # two fit
    assert cache.get("b", lambda: make("b")) == b"bbbb"
    assert len(made) == 5


def test_damaged_features_are_named_with_the_way_out(desk: Desk, desk_client: Client) -> None:
    event = desk.events.add(new(), merge_s=None, features=features(1.0))
    console = desk_client()
    assert "is damaged" not in console.get(f"/events/{event.id}").text
    path = desk.events.media.path(event.id, ".safetensors")
    path.write_bytes(path.read_bytes()[:40])
    page = console.get(f"/events/{event.id}")
    assert page.status_code == 200
    assert f"Its file of features is damaged ({path}: " in page.text
    assert "from a backup of the events&#39; folder" in page.text.replace("events' folder", "events&#39; folder")


def test_thumbnails_and_damaged_pictures(desk: Desk, desk_client: Client) -> None:
    good = desk.events.add(new(), merge_s=None, picture=picture(9))
    bad = desk.events.add(new(key="b", start=99, stop=100), merge_s=None, picture=b"\xff\xd8 no picture")
    console = desk_client()
    answer = console.get(f"/events/{good.id}/thumbnail")
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.content.startswith(b"\xff\xd8")
    assert console.get(f"/events/{bad.id}/thumbnail").status_code == 503
    assert console.get(f"/events/{good.id}/clip").status_code == 404


def test_a_clip_that_is_deleted_while_it_is_shown(
    desk: Desk, desk_client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    event, clip = desk.events.add(new(), merge_s=None), tmp_path / "clip.mkv"
    clip.write_bytes(b"clip")
    desk.events.attach_clip(event.id, clip)
    path, console = desk.events.clip(event.id), desk_client()
    assert path is not None
    is_file = Path.is_file

    def then_purged(one: Path) -> bool:
        result = is_file(one)
        if one == path:
            path.unlink(missing_ok=True)
        return result

    with monkeypatch.context() as patched:
        patched.setattr(Path, "is_file", then_purged)
        assert console.get(f"/events/{event.id}/strip/0").status_code in (404, 503)
    path.unlink(missing_ok=True)
    assert console.get(f"/events/{event.id}/strip/0").status_code == 404
