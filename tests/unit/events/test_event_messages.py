"""What is told of events, in the transaction that stores them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.engine import Engine

from headhunt_svc.errors import ConfigError
from headhunt_svc.events.database import connect
from headhunt_svc.events.media import Media
from headhunt_svc.events.store import EventStore
from headhunt_svc.events.telling import Teller
from headhunt_svc.notify.messages import Message
from headhunt_svc.notify.outbox import Outbox
from headhunt_svc.settings import EventSettings, NotifySettings
from helpers.events import NOON, new


@dataclass
class Rules:
    notify: tuple[str, ...] = ("guards", "chat")
    cooldown_s: float = 0.0
    quiet: bool = False

    def is_quiet(self, time: datetime) -> bool:
        return self.quiet


@dataclass
class Recording:
    sent: list[Message] = field(default_factory=list)

    def send(self, message: Message) -> None:
        self.sent.append(message)


class Office:
    """A store whose events are told as `rules` say."""

    def __init__(self, engine: Engine, settings: EventSettings) -> None:
        self.guards, self.chat = Recording(), Recording()
        self.rules: dict[str, Rules] = {"yard": Rules()}
        self.outbox = Outbox(engine, {"guards": self.guards, "chat": self.chat}, NotifySettings())
        teller = Teller(self.outbox, Media(settings.folder), lambda name: self.rules.get(name))
        self.store = EventStore(engine, settings, teller)

    def told(self) -> list[Message]:
        self.outbox.deliver_due(datetime.now(UTC) + timedelta(seconds=1))
        assert {m.delivery_id for m in self.chat.sent} <= {m.delivery_id for m in self.guards.sent}
        return self.guards.sent


@pytest.fixture
def office(event_settings: EventSettings) -> Iterator[Office]:
    engine = connect(event_settings)
    yield Office(engine, event_settings)
    engine.dispose()


def live(start: float = 0, **fields: object) -> object:
    return new(start, None, origin="live", time_basis="stream", time_zone="Europe/Berlin", **fields)


def test_an_event_is_told_when_it_begins_and_when_it_has_ended(office: Office) -> None:
    event = office.store.add(live(), merge_s=5, picture=b"jpeg")
    at = NOON + timedelta(seconds=6)
    office.store.extend(event.id, stop=at, peak=at, score=0.97)
    office.store.close(event.id, stop=at)
    office.store.close(event.id, stop=NOON + timedelta(seconds=60))
    begin, end = office.told()
    assert (begin.delivery_id, end.delivery_id) == (f"{event.id}/begin", f"{event.id}/end")
    assert (begin.camera, begin.start, begin.stop, begin.score, begin.threshold) == ("yard", NOON, None, 0.9, 0.5)
    assert (end.start, end.stop, end.score, end.peak) == (NOON, at, 0.97, at)
    assert begin.picture is not None
    assert begin.picture.read_bytes() == b"jpeg"
    assert begin.link == end.link == f"/v1/events/{event.id}"
    assert (begin.title, end.title) == ("yard: event has begun", "yard: event has ended")
    assert "start: 2026-03-01 13:00:00 CET (12:00:00 UTC)" in end.body()
    assert office.chat.sent == [begin, end]


def test_an_event_of_a_file_is_one_message(office: Office) -> None:
    office.store.add(new(0, 8), merge_s=5)
    office.store.add(new(9, 12), merge_s=5)  # grows
    (message,) = office.told()
    assert (message.phase, message.stop) == ("begin", NOON + timedelta(seconds=8))
    assert message.title == "yard: event was found"


def test_an_event_that_goes_on_after_a_restart_is_told_no_second_time(office: Office) -> None:
    event = office.store.add(live(), merge_s=5)
    office.store.close(event.id, stop=None, interrupted=True)
    again = office.store.add(live(3), merge_s=5)
    assert again.id == event.id
    office.store.close(event.id, stop=NOON + timedelta(seconds=9))
    begin, end = office.told()
    assert (begin.id, end.id, end.stop) == (event.id, event.id, NOON)
    assert "interrupted" in end.text


def test_an_event_that_becomes_a_part_of_another_has_ended(office: Office) -> None:
    first = office.store.add(live(), merge_s=5)
    second = office.store.add(live(20), merge_s=5)
    between = office.store.add(new(4, 18, time_basis="stream", key="b"), merge_s=5)
    assert between.id == first.id
    office.store.close(first.id, stop=NOON + timedelta(seconds=30))
    told = office.told()
    assert sorted(m.delivery_id for m in told) == sorted(
        f"{e.id}/{phase}" for e in (first, second) for phase in ("begin", "end")
    )
    assert [m.text for m in told if m.id == second.id] == ["", "it is a part of another event"]


def test_cooldown_and_quiet_hours_hold_back_both_messages(office: Office) -> None:
    office.rules["yard"] = Rules(cooldown_s=60)
    events = [office.store.add(live(100.0 * i), merge_s=5) for i in range(2)]
    office.rules["yard"].quiet = True
    events.append(office.store.add(live(300), merge_s=5))
    for event in events:
        office.store.close(event.id, stop=None)
    assert [m.id for m in office.told()] == [events[0].id] * 2


def test_who_was_told_of_the_beginning_is_told_of_the_end_and_no_one_else(office: Office) -> None:
    event = office.store.add(live(), merge_s=5)
    del office.rules["yard"]  # no longer in cameras.yaml
    office.store.add(live(50, camera="gate"), merge_s=5)
    office.rules["gate"] = Rules()
    for open_event in office.store.open_events():
        office.store.close(open_event.id, stop=None)
    assert [m.delivery_id for m in office.told()] == [f"{event.id}/begin", f"{event.id}/end"]


def test_what_is_not_stored_is_not_told(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    put = office.outbox.put

    def put_and_fail(*args: object, **more: object) -> None:
        put(*args, **more)  # type: ignore[arg-type]
        raise ConfigError("the process ends here")

    monkeypatch.setattr(office.outbox, "put", put_and_fail)
    with pytest.raises(ConfigError):
        office.store.add(live(), merge_s=5)
    assert office.store.list() == []
    assert office.told() == []
