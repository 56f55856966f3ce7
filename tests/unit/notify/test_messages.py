from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from headhunt_svc.notify.messages import Message, MessageKind, both_times

NOON = datetime(2026, 1, 15, 12, 0, 5, tzinfo=UTC)


def event(**more: object) -> Message:
    fields: dict[str, object] = {
        "kind": "event", "phase": "begin", "id": "e1", "camera": "yard", "start": NOON, "score": 0.934,
        "threshold": 0.8, "time_zone": "Europe/Berlin", "link": "/v1/events/e1",
    }  # fmt: skip
    return Message.model_validate(fields | more)


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        ("UTC", "2026-01-15 12:00:05 UTC"),
        ("Europe/Berlin", "2026-01-15 13:00:05 CET (12:00:05 UTC)"),
        ("Pacific/Kiritimati", "2026-01-16 02:00:05 +14 (2026-01-15 12:00:05 UTC)"),
    ],
)
def test_times_are_those_of_the_camera_with_utc_beside_them(zone: str, text: str) -> None:
    assert both_times(NOON, zone) == text


def test_a_message_says_camera_score_times_link_and_id() -> None:
    message = event(held_back=3)
    assert message.title == "yard: event has begun"
    assert message.body("https://headhunt.example.org/").splitlines() == [
        "score 0.93 (threshold 0.80)",
        "start: 2026-01-15 13:00:05 CET (12:00:05 UTC)",
        "3 earlier of this camera left out (cooldown or quiet hours)",
        "https://headhunt.example.org/v1/events/e1",
        "id: e1/begin",
    ]
    assert "http" not in message.body()


def test_the_json_of_a_message_has_both_times_and_no_path_of_this_machine() -> None:
    body = event(phase="end", stop=NOON, picture="/data/e1.jpg").as_json("https://h.example.org")
    assert body["delivery_id"] == "e1/end"
    assert (body["start"], body["start_local"]) == ("2026-01-15T12:00:05Z", "2026-01-15T13:00:05+01:00")
    assert body["link"] == "https://h.example.org/v1/events/e1"
    assert "/data" not in str(body)


def test_names_and_words_cannot_steer_what_shows_them() -> None:
    message = event(camera="ya\x1brd\n", text="a\x1b[2Jb")
    assert message.title == "ya%1Brd%0A: event has begun"
    assert message.body().startswith("a%1B[2Jb")


@pytest.mark.parametrize("wrong", [{"time_zone": "Mars/Base"}, {"start": datetime(2026, 1, 1)}, {"score": 1.5}])
def test_a_message_that_cannot_be_true_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        event(**wrong)


def test_what_is_over_is_called_resolved() -> None:
    message = event(kind=MessageKind.SILENCE, phase="end", score=None)
    assert message.title == "resolved: yard: no pictures"
