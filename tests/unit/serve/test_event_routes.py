"""The routes under /v1/events, with a real store and the gate before them."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.routing import Mount

from headhunt_svc.events.store import EventStore
from headhunt_svc.serve.gate import Gate
from headhunt_svc.settings import EventSettings
from headhunt_svc.web.keys import Keys
from helpers.events import new
from helpers.routes import application

KEYS = Keys([("guard", "k" * 16)])
KEY = {"Authorization": f"Bearer {'k' * 16}"}


class Service:
    def __init__(self, folder: Path) -> None:
        self.app, _, _ = application(folder)
        self.store = self.app.state.events = EventStore.open(EventSettings(folder=folder / "events"))
        self.keys: Keys | None = KEYS
        gate = Gate(Starlette(routes=[Mount("/v1", self.app)]), lambda: self.keys)
        self.http = TestClient(gate, base_url="http://localhost", headers=KEY)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path)
    yield service
    service.store.close_store()


def problem(answer: httpx.Response, status: int, kind: str) -> str:
    body = answer.json()
    assert (answer.status_code, body["kind"]) == (status, kind), answer.text
    detail: str = body["detail"]
    return detail


def test_events_are_listed_page_by_page(service: Service) -> None:
    stored = [service.store.add(new(100 * i, 100 * i + 8), merge_s=0) for i in range(5)]
    ids: list[str] = []
    params = {"limit": "2"}
    while True:
        page = service.http.get("/v1/events", params=params).json()
        ids += [event["id"] for event in page["events"]]
        if page["next"] is None:
            break
        params["after"] = page["next"]
    assert ids == [event.id for event in reversed(stored)]
    since = service.http.get("/v1/events", params={"since": "2026-03-01T12:05:00Z", "camera": "yard"}).json()
    assert [event["id"] for event in since["events"]] == [stored[4].id, stored[3].id]
    assert since["events"][0]["start"] == "2026-03-01T12:06:40Z"


@pytest.mark.parametrize(
    ("query", "field"),
    [("limit=0", "limit"), ("state=odd", "state"), ("since=2026-01-01T00:00:00", "since"), ("kamera=a", "kamera")],
)
def test_wrong_filters_are_named(service: Service, query: str, field: str) -> None:
    assert field in problem(service.http.get(f"/v1/events?{query}"), 400, "options")
    assert "no place in a list" in problem(service.http.get("/v1/events?after=x"), 400, "options")


def test_a_mark_names_its_key(service: Service) -> None:
    event = service.store.add(new(), merge_s=0)
    at = f"/v1/events/{event.id}"
    marked = service.http.patch(at, json={"state": "false_alarm", "note": "a cat"}).json()
    assert (marked["state"], marked["note"], marked["marked_by"]) == ("false_alarm", "a cat", "guard")
    assert service.http.get(at).json() == marked
    service.keys = None
    assert service.http.patch(at, json={"state": "confirmed"}, headers={"Authorization": ""}).json()["note"] == "a cat"
    marks = service.http.get(f"{at}/marks", headers={"Authorization": ""}).json()["marks"]
    assert [(m["by"], m["state"]) for m in marks] == [("guard", "false_alarm"), ("local", "confirmed")]


def test_what_is_wrong_with_a_mark(service: Service) -> None:
    event = service.store.add(new(), merge_s=0)
    at = f"/v1/events/{event.id}"
    assert "state" in problem(service.http.patch(at, json={"state": "odd"}), 400, "options")
    assert "there are: state, note" in problem(service.http.patch(at, json={"state": "new", "by": "x"}), 400, "options")
    assert "4000" in problem(service.http.patch(at, json={"state": "new", "note": "x" * 4001}), 400, "options")
    problem(service.http.patch(at, content=b"state=new"), 415, "upload")
    for path in ("nothing", "nothing/picture", "nothing/clip", "nothing/marks", "%00", "%F0%9F%98%80"):
        assert "there is no event" in problem(service.http.get(f"/v1/events/{path}"), 404, "event")


def test_pictures_and_clips_need_a_key_and_answer_ranges(service: Service, tmp_path: Path) -> None:
    event = service.store.add(new(), merge_s=0, picture=b"\xff\xd8jpeg")
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(bytes(range(100)))
    at = f"/v1/events/{event.id}"
    assert "no clip" in problem(service.http.get(f"{at}/clip"), 404, "event")
    service.store.attach_clip(event.id, clip)
    picture = service.http.get(f"{at}/picture")
    assert (picture.content, picture.headers["content-type"]) == (b"\xff\xd8jpeg", "image/jpeg")
    assert picture.headers["cache-control"] == "private, no-cache"
    whole = service.http.get(f"{at}/clip")
    assert (whole.content, whole.headers["content-type"]) == (bytes(range(100)), "video/mp4")
    part = service.http.get(f"{at}/clip", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, bytes(range(10, 20)))
    assert part.headers["content-range"] == "bytes 10-19/100"
    assert service.http.get(f"{at}/clip", headers={"Range": "bytes=200-"}).status_code == 416
    for path in ("", "/picture", "/clip", "/marks"):
        problem(service.http.get(f"{at}{path}", headers={"Authorization": "Bearer wrong"}), 401, "key")
    problem(service.http.get("/v1/events", headers={"Authorization": ""}), 401, "key")
    path = service.store.picture(event.id)
    assert path is not None
    path.unlink()
    assert "no picture" in problem(service.http.get(f"{at}/picture"), 404, "event")


def test_a_database_that_does_not_answer(service: Service) -> None:
    with service.store._engine.connect() as connection:
        connection.exec_driver_sql("DROP TABLE event_parts")
        connection.exec_driver_sql("DROP TABLE event_marks")
        connection.exec_driver_sql("DROP TABLE events")
        connection.commit()
    answer = service.http.get("/v1/events")
    assert "database of the events" in problem(answer, 503, "database")
    assert answer.headers["retry-after"] == "5"
