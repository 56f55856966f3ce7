"""Who may see and change something."""

import pytest

from headhunt_svc.console.desk import Desk
from headhunt_svc.console.general_routes import own
from headhunt_svc.console.sessions import COOKIE, Sessions
from headhunt_svc.events.records import EventState
from headhunt_svc.web.keys import Keys
from helpers.consoles import BASE, Client, token_of
from helpers.events import new

KEY = "0123456789abcdef"


def test_every_answer_has_the_policy(desk_client: Client, desk: Desk) -> None:
    console = desk_client()
    event = desk.events.add(new(), merge_s=None)
    for path in ("/", "/events", f"/events/{event.id}", "/drift", "/nowhere", "/livez", "/events/none/picture"):
        policy = console.get(path).headers["content-security-policy"]
        assert policy.startswith("default-src 'self';")
        assert "unsafe" not in policy
        assert "http" not in policy


def test_pages_hold_no_styles_scripts_or_handlers_in_their_text(desk_client: Client, desk: Desk) -> None:
    console = desk_client()
    event = desk.events.add(new(), merge_s=None, picture=b"")
    for path in ("/", "/events", f"/events/{event.id}", "/drift", "/events/timeline?camera=yard"):
        page = console.get(path).text
        assert "<style" not in page
        assert " style=" not in page
        assert "<script>" not in page
        assert " onclick" not in page


def test_a_change_needs_the_pages_token(desk_client: Client, desk: Desk) -> None:
    console, event = desk_client(), desk.events.add(new(), merge_s=None)
    page = console.get("/events").text
    address = f"/events/{event.id}/mark"
    assert console.post(address, data={"state": "confirmed"}).status_code == 403
    assert console.post(address, data={"state": "confirmed", "csrf": "0" * 64}).status_code == 403
    assert desk.events.get(event.id).state == EventState.NEW
    assert console.post(address, data={"state": "confirmed", "csrf": token_of(page)}).status_code == 303
    assert desk.events.get(event.id).state == EventState.CONFIRMED
    assert [mark.by for mark in desk.events.marks(event.id)] == ["local"]


@pytest.mark.parametrize("headers", [{"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}])
def test_a_form_of_another_site_changes_nothing(headers: dict[str, str], desk_client: Client, desk: Desk) -> None:
    console, event = desk_client(), desk.events.add(new(), merge_s=None)
    token = token_of(console.get("/events").text)
    sent = console.post(f"/events/{event.id}/mark", data={"state": "confirmed", "csrf": token}, headers=headers)
    assert sent.status_code == 403
    assert desk.events.get(event.id).state == EventState.NEW


def test_another_name_for_this_machine_is_refused_where_no_key_is_needed(desk_client: Client) -> None:
    assert desk_client().get("/", headers={"host": "evil.example"}).status_code == 403
    assert desk_client().get("/", headers={"host": "localhost:8600"}).status_code == 200


def test_a_long_form_is_refused(desk_client: Client) -> None:
    assert desk_client().post("/login", content=b"x" * 70_000).status_code == 413
    assert desk_client().post("/login", content=iter([b"x"])).status_code == 413


def test_with_keys_nothing_is_seen_without_one(desk_client: Client, desk: Desk) -> None:
    console, event = desk_client({"anna": KEY}), desk.events.add(new(), merge_s=None, picture=b"x")
    for path in ("/", "/events", f"/events/{event.id}/picture", "/live", "/drift"):
        answer = console.get(path)
        assert (answer.status_code, answer.headers["location"][:12]) == (303, "/login?next=")
        assert console.get(path, headers={"accept": "*/*"}).status_code == 401
    console.headers["accept"] = "*/*"
    assert console.get("/events", headers={"authorization": f"Bearer {KEY}"}).status_code == 200
    assert console.get("/events", headers={"authorization": "Bearer fedcba9876543210"}).status_code == 401


def test_logging_in_and_out(desk_client: Client, desk: Desk) -> None:
    console, event = desk_client({"anna": KEY}), desk.events.add(new(), merge_s=None)
    token = token_of(console.get("/login").text)
    before = console.cookies[COOKIE]
    assert console.post("/login", data={"key": KEY}).status_code == 403  # no token
    answer = console.post("/login", data={"key": KEY, "csrf": token, "next": "/events"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/events")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(answer.headers["set-cookie"].split("; "))
    assert console.cookies[COOKIE] != before
    page = console.get("/events").text
    console.post(f"/events/{event.id}/mark", data={"state": "confirmed", "csrf": token_of(page)})
    assert [mark.by for mark in desk.events.marks(event.id)] == ["anna"]
    assert console.post("/logout", data={"csrf": token_of(page)}).status_code == 303
    assert console.get("/events").status_code == 303


def test_a_key_that_is_gone_ends_its_sessions() -> None:
    keys = [Keys([("anna", KEY)])]
    sessions = Sessions(lambda: keys[0])
    cookie = sessions.log_in(KEY)
    assert sessions.author(cookie) == "anna"
    keys[0] = Keys([("bert", "another-key-of-16")])
    assert sessions.author(cookie) is None


def test_a_session_ends() -> None:
    now = [0.0]
    sessions = Sessions(lambda: Keys([("anna", KEY)]), lambda: now[0])
    cookie = sessions.log_in(KEY)
    now[0] = 11 * 3600.0
    assert sessions.author(cookie) == "anna"
    now[0] = 12 * 3600.0
    assert sessions.author(cookie) is None


def test_a_wrong_key_is_logged_and_shuts_nobody_out(desk_client: Client, caplog: pytest.LogCaptureFixture) -> None:
    console = desk_client({"anna": KEY})
    token = token_of(console.get("/login").text)
    for _ in range(3):
        assert console.post("/login", data={"key": "wrong wrong wrong", "csrf": token}).status_code == 403
    assert [record.message for record in caplog.records] == ["somebody at testclient has typed a wrong key"] * 3
    assert console.post("/login", data={"key": KEY, "csrf": token}).status_code == 303


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\nb", ""])
def test_after_logging_in_nobody_is_led_elsewhere(target: str) -> None:
    assert own(target) == "/"


def test_errors_are_pages_in_plain_words(desk_client: Client) -> None:
    answer = desk_client().get("/events/nothing")
    assert answer.status_code == 404
    assert "there is no event &#39;nothing&#39;" in answer.text
    assert desk_client().get("/drift?days=9").status_code == 404
    assert desk_client().get("/events?min_score=high").status_code == 400
    assert desk_client().get(f"{BASE}/static/other/console.css").status_code == 404
