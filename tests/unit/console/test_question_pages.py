"""Normal or not: the questions' page."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from headhunt_svc.console.desk import Desk
from headhunt_svc.events.features import EventFeatures
from headhunt_svc.events.records import EventState
from headhunt_svc.feedback.asking import ask, of_window
from helpers.consoles import STOP, Client, camera_verdict, token_of, write_verdict
from helpers.events import features, new


def fill(desk: Desk, n: int, sampled: EventFeatures | None = None) -> list[str]:
    """n events of as many cameras of the last hour, near their threshold; returns their ids."""
    now, ids = datetime.now(UTC), []
    for i in range(n):
        times = {"start": now - timedelta(minutes=50 - i), "peak": now - timedelta(minutes=50 - i)}
        event = new(camera=f"yard {i}", key=f"{i}", score=0.55).model_copy(
            update=times | {"stop": times["start"] + timedelta(seconds=8)}
        )
        ids.append(desk.events.add(event, merge_s=None, features=sampled or features(1.0, 2)).id)
    return ids


def test_questions_are_answered_one_after_the_other(desk: Desk, desk_client: Client) -> None:
    fill(desk, 3)
    console = desk_client()
    page = console.get("/events/questions").text
    assert "0 of 3 answered" in page
    assert "There is no picture" in page
    assert "close to the threshold" in page
    for number, (answer, state) in enumerate(
        {
            "normal": EventState.FALSE_ALARM,
            "not_normal": EventState.CONFIRMED,
            "unknown": EventState.ACKNOWLEDGED,
        }.items()
    ):
        action = page.split('method="post" action="')[1].split('"')[0]
        name = page.split('name="set" value="')[1].split('"')[0]
        sent = console.post(action, data={"csrf": token_of(page), "set": name, "answer": answer})
        assert sent.status_code == 303
        event_id = action.rpartition("/")[2]
        assert desk.events.get(event_id).state == state
        assert [mark.by for mark in desk.events.marks(event_id)] == ["local"]
        page = console.get(sent.headers["location"]).text
        assert f"{number + 1} of 3 answered" in page
    assert "2 of them count as marks" in page
    sent = console.post(f"/events/questions/{event_id}", data={"csrf": token_of(page), "set": name, "answer": "undo"})
    assert desk.events.get(event_id).state == EventState.NEW
    assert "2 of 3 answered" in console.get(sent.headers["location"]).text


def test_an_answer_needs_a_token_and_a_question_of_the_set(desk: Desk, desk_client: Client) -> None:
    fill(desk, 1)
    other = desk.events.add(new(), merge_s=None)
    console = desk_client()
    page = console.get("/events/questions").text
    name = page.split('name="set" value="')[1].split('"')[0]
    action = page.split('method="post" action="')[1].split('"')[0]
    assert console.post(action, data={"set": name, "answer": "normal"}).status_code == 403
    token = token_of(page)
    for path, fields in (
        (f"/events/questions/{other.id}", {"set": name, "answer": "normal"}),
        (action, {"set": name, "answer": "maybe"}),
        (action, {"set": "0123456789abcdef", "answer": "normal"}),
    ):
        assert console.post(path, data=fields | {"csrf": token}).status_code == 404
    assert console.post(action, data={"set": "../x", "answer": "normal", "csrf": token}).status_code == 503
    assert {event.state for event in desk.events.list()} == {EventState.NEW}


def test_questions_are_listed_only_where_they_are_asked_for(desk: Desk, desk_client: Client) -> None:
    beside = replace(features(1.0, 2), normal_raw=np.array([0.5, 0.1]), normal_start_s=np.array([60.0, 70.0]))
    fill(desk, 1, beside)
    now = datetime.now(UTC)
    marked = desk.events.list()[0]
    desk.events.mark(marked.id, EventState.CONFIRMED, "anna")
    (question,) = ask(desk.sources, of_window("yard 0", now - timedelta(days=1), now), now).questions
    assert question.event.origin == "question"
    console = desk_client()
    assert question.event.id not in console.get("/events").text
    assert question.event.id not in console.get("/").text
    assert question.event.id in console.get("/events?what=question").text
    assert marked.id not in console.get("/events?what=question").text


def test_an_alarm_of_activity_leads_to_questions_of_its_camera_and_window(
    desk: Desk, desk_client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alarm = camera_verdict("yard", "activity", score_psi=3.0)
    write_verdict(tmp_path, STOP, [alarm, camera_verdict("dock", "lighting", brightness=2.0)], latest=True)
    fields = {"start": STOP - timedelta(hours=3), "peak": STOP - timedelta(hours=3), "stop": STOP - timedelta(hours=2)}
    for camera, shift in (("yard", timedelta(0)), ("dock", timedelta(0)), ("yard", timedelta(days=3))):
        times = {name: time - shift for name, time in fields.items()}
        event = new(camera=camera, key=f"{camera} {shift}", score=0.55).model_copy(update=times)
        desk.events.add(event, merge_s=None, features=features(1.0))
    console = desk_client()
    assert "Label 20 segments" not in console.get("/drift/camera?camera=dock").text
    page = console.get("/drift/camera?camera=yard").text
    assert "headhunt events questions --camera yard --since" in page
    assert "headhunt recalibrate --from-events --camera yard" in page
    assert console.post("/drift/questions", data={"camera": "yard"}).status_code == 403
    sent = console.post("/drift/questions", data={"camera": "yard", "csrf": token_of(page)})
    shown = console.get(sent.headers["location"]).text
    assert "Normal or not? yard" in shown
    assert "0 of 1 answered" in shown  # neither that of dock nor that of another day
    event_id = re.findall(r'action="/events/questions/([^"]+)"', shown)[0]
    answer = {"answer": "normal", "set": sent.headers["location"].split("set=")[1], "csrf": token_of(page)}
    sent = console.post(f"/events/questions/{event_id}", data=answer)
    window = f"{STOP:%Y%m%dT%H%M%S}"
    assert f'name="window" value="{window}"' in console.get(sent.headers["location"]).text
    options: list[str] = []
    monkeypatch.setattr(desk.learning, "start", lambda given, by: options.extend(given))
    learn = {"camera": "yard", "window": window, "csrf": token_of(page)}
    assert console.post("/events/learn", data=learn).status_code == 303
    assert ["--monitor", str(desk.places.monitor)] == options[4:6]
    assert options[-3:] == ["--camera=yard", "--window", window]
    assert console.post("/events/learn", data=learn | {"window": "../x"}).status_code == 404
    refused = console.post("/drift/questions", data={"camera": "none", "csrf": token_of(page)})
    assert refused.status_code == 404
