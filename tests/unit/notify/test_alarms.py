from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.engine import Engine

from headhunt_svc.events.database import connect
from headhunt_svc.notify.alarms import Alarm, AlarmBook
from headhunt_svc.notify.channels import DeliveryError
from headhunt_svc.notify.messages import Message, MessageKind
from headhunt_svc.notify.outbox import Outbox
from headhunt_svc.settings import EventSettings, NotifySettings

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Inbox:
    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.is_away = False

    def send(self, message: Message) -> None:
        if self.is_away:
            raise DeliveryError("away")
        self.sent.append(message)

    @property
    def titles(self) -> list[str]:
        return [message.title for message in self.sent]


class Office:
    """A database, an outbox with one channel, and the alarms of one source."""

    def __init__(self, engine: Engine, settings: NotifySettings) -> None:
        self.engine, self.settings, self.inbox, self.guards = engine, settings, Inbox(), Inbox()
        self.start()

    def start(
        self,
        source: str = "monitor",
        channels: Sequence[str] | Callable[[str | None], Sequence[str]] = ("ops",),
        formerly: str | None = None,
    ) -> AlarmBook:
        """As after a restart: nothing is known but what is in the database."""
        self.outbox = Outbox(self.engine, {"ops": self.inbox, "guards": self.guards}, self.settings)
        self.book = AlarmBook(self.engine, self.outbox, source, channels, formerly)
        return self.book

    def update(self, hour: int, *alarms: Alarm, **more: object) -> None:
        moment = NOON + hour * HOUR
        self.book.update(alarms, moment, moment, **more)
        self.outbox.deliver_due(moment)


@pytest.fixture
def office(event_settings: EventSettings) -> Iterator[Office]:
    settings = NotifySettings()
    engine = connect(event_settings)
    yield Office(engine, settings)
    engine.dispose()


def dark(camera: str | None = "yard", **more: object) -> Alarm:
    return Alarm(f"lighting/{camera}", MessageKind.DRIFT, "lighting: look", NOON - HOUR, camera, **more)


def test_one_message_when_an_alarm_begins_and_one_when_it_is_over(office: Office) -> None:
    for hour in range(3):
        office.update(hour, dark())
        office.start()
    office.update(3)
    office.update(4)
    assert office.inbox.titles == ["yard: drift", "resolved: yard: drift"]
    begin, end = office.inbox.sent
    assert begin.id == end.id
    assert (begin.start, end.stop) == (NOON - HOUR, NOON + 3 * HOUR)
    office.update(5, dark())  # the same again is another one
    assert len({message.id for message in office.inbox.sent}) == 2


def test_an_alarm_that_is_over_for_another_reason_says_so(office: Office) -> None:
    office.update(0, dark())
    office.update(1, closing={"lighting/yard": "camera no longer there"}.get)
    assert [message.text for message in office.inbox.sent] == ["lighting: look", "camera no longer there"]
    assert office.book.open_alarms() == []


def test_failed_posts_are_sent_after_a_restart(office: Office) -> None:
    office.inbox.is_away = True
    office.update(0, dark())
    assert office.inbox.titles == []
    office.inbox.is_away = False
    office.start()
    office.update(1, dark())
    assert office.inbox.titles == ["yard: drift"]


def test_an_alarm_of_which_nothing_is_known_stays_open(office: Office) -> None:
    office.update(0, dark(), dark("dock"))
    office.update(1, is_unknown=lambda key: key == "lighting/yard")
    assert [alarm.key for alarm in office.book.open_alarms()] == ["lighting/yard"]
    assert office.inbox.titles[2:] == ["resolved: dock: drift"]


def test_an_alarm_that_another_covers_does_not_begin_but_goes_on(office: Office) -> None:
    office.update(0, dark())
    office.update(1, dark(is_covered=True), dark("dock", is_covered=True), dark(None))
    assert {alarm.camera for alarm in office.book.open_alarms()} == {"yard", None}
    office.update(2, dark(), dark("dock"))
    assert office.inbox.titles[2:] == ["resolved: headhunt: drift", "dock: drift"]


def test_an_older_window_that_is_judged_again_changes_nothing(office: Office) -> None:
    office.update(10, dark())
    office.book.update([], NOON + HOUR, NOON + 10 * HOUR)
    assert len(office.book.open_alarms()) == 1


def test_what_was_judged_by_a_clock_that_was_ahead_does_not_stop_alarms(office: Office) -> None:
    office.update(10_000, dark())
    office.update(1)
    assert office.book.open_alarms() == []


def test_sources_do_not_end_each_others_alarms(office: Office) -> None:
    office.update(0, dark())
    office.start("watch")
    office.update(1)
    assert office.start("monitor").open_alarms() != []


def test_an_open_alarm_of_an_earlier_version_belongs_to_the_first_who_can_tell_of_it(office: Office) -> None:
    """Earlier versions stored the alarms of all monitors under one source."""
    office.update(0, dark(), dark("dock"), dark("attic"))

    def a() -> None:
        office.start("monitor/a", formerly="monitor")

    def b() -> None:
        office.start("monitor/b", formerly="monitor")

    a()
    office.update(1, dark(), is_unknown=lambda key: key != "lighting/attic")
    b()
    office.update(2, dark("dock"))
    assert office.inbox.titles[3:] == ["resolved: attic: drift"]  # nothing is told anew, and b does not end a's
    a()
    office.update(3)
    assert office.inbox.titles[4:] == ["resolved: yard: drift"]
    b()
    assert [alarm.key for alarm in office.book.open_alarms()] == ["lighting/dock"]
    assert [alarm.key for alarm in office.start("monitor").open_alarms()] == []


def test_an_older_window_stays_old_where_an_earlier_version_judged_the_later_one(office: Office) -> None:
    office.update(10, dark())
    office.start("monitor/a", formerly="monitor")
    office.book.update([], NOON + HOUR, NOON + 10 * HOUR)
    assert len(office.start("monitor").open_alarms()) == 1


def test_each_camera_has_its_own_channels_and_who_was_told_is_told_of_the_end(office: Office) -> None:
    channels = {"yard": ["guards"], "dock": ["guards", "ops"], None: ["ops"]}
    office.start("watch", lambda camera: channels.get(camera, []))
    office.update(0, dark(), dark("dock"), dark(None), dark("attic"))
    assert sorted(office.guards.titles) == ["dock: drift", "yard: drift"]
    assert sorted(office.inbox.titles) == ["dock: drift", "headhunt: drift"]
    channels["yard"] = ["ops"]  # the file was changed meanwhile
    office.update(1)
    assert sorted(office.guards.titles[2:]) == ["resolved: dock: drift", "resolved: yard: drift"]
    assert sorted(office.inbox.titles[2:]) == ["resolved: dock: drift", "resolved: headhunt: drift"]
    assert office.outbox.purge(NOON + 1000 * HOUR) == 8


def test_the_end_of_an_alarm_whose_beginning_is_forgotten_is_told_all_the_same(office: Office) -> None:
    office.update(0, dark())
    assert office.outbox.purge(NOON + 1000 * HOUR) == 1
    office.update(1000)
    assert office.inbox.titles == ["yard: drift", "resolved: yard: drift"]
