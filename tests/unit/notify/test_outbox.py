import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from headhunt_svc.events.database import connect
from headhunt_svc.notify.channels import DeliveryError
from headhunt_svc.notify.deliverer import Deliverer
from headhunt_svc.notify.messages import Message
from headhunt_svc.notify.outbox import LEASE_S, LEAST_ATTEMPTS, MOST_ROWS, Outbox
from headhunt_svc.notify.policy import Policy
from headhunt_svc.settings import EventSettings, NotifySettings
from headhunt_svc.storage.sql import WRITES

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Recording:
    """A channel that keeps what it is sent; the first `failures` attempts fail."""

    def __init__(self, failures: int = 0) -> None:
        self.sent: list[Message] = []
        self.failures = failures

    def send(self, message: Message) -> None:
        if self.failures:
            self.failures -= 1
            raise DeliveryError("away")
        self.sent.append(message)

    @property
    def ids(self) -> list[str]:
        return [m.delivery_id for m in self.sent]


@pytest.fixture
def settings() -> NotifySettings:
    return NotifySettings()


@pytest.fixture
def engine(event_settings: EventSettings) -> Iterator[Engine]:
    engine = connect(event_settings)
    yield engine
    engine.dispose()


def message(name: str, phase: str = "begin", camera: str = "yard", kind: str = "event") -> Message:
    return Message.model_validate({"kind": kind, "phase": phase, "id": name, "camera": camera, "start": NOW})


def put(
    engine: Engine, outbox: Outbox, *messages: Message, to: list[str], policy: Policy | None = None, now: datetime = NOW
) -> None:
    with Session(engine.execution_options(**WRITES)) as session, session.begin():
        for one in messages:
            outbox.put(session, one, to, policy, now)


def test_each_channel_gets_a_message_once_beginning_before_end(engine: Engine, settings: NotifySettings) -> None:
    a, b = Recording(), Recording()
    outbox = Outbox(engine, {"a": a, "b": b}, settings)
    for _ in range(2):  # what is put in twice is one message
        put(engine, outbox, message("e1"), message("e1", "end"), to=["a", "b", "a"])
    assert outbox.deliver_due(NOW) == 4
    assert outbox.deliver_due(NOW + 1000 * SECOND) == 0
    assert a.ids == b.ids == ["e1/begin", "e1/end"]


def test_a_message_is_in_the_outbox_only_if_what_it_reports_is_stored(engine: Engine, settings: NotifySettings) -> None:
    outbox = Outbox(engine, {"a": Recording()}, settings)
    with Session(engine.execution_options(**WRITES)) as session:
        outbox.put(session, message("e1"), ["a"])
        session.rollback()
    assert outbox.deliver_due(NOW) == 0
    assert outbox.status() == []


def test_a_channel_that_is_away_is_tried_again_also_by_another_process(
    engine: Engine, settings: NotifySettings
) -> None:
    away, well = Recording(failures=2), Recording()
    first = Outbox(engine, {"away": away, "well": well}, settings)
    put(engine, first, message("e1"), message("e1", "end"), to=["away", "well"])
    assert first.deliver_due(NOW) == 2  # those of the other channel
    assert first.deliver_due(NOW + SECOND) == 0  # the wait is 5 s
    restarted = Outbox(engine, {"away": away, "well": well}, settings)
    assert restarted.deliver_due(NOW + 2 * SECOND) == 0
    assert restarted.deliver_due(NOW + 7 * SECOND) == 0  # fails again: the next wait is longer
    assert restarted.deliver_due(NOW + 13 * SECOND) == 0
    (status, _) = restarted.status()
    assert (status.channel, status.waiting, status.oldest, status.error) == ("away", 2, NOW, "away")
    assert restarted.deliver_due(NOW + 100 * SECOND) == 2
    assert away.ids == ["e1/begin", "e1/end"]
    assert [s.waiting for s in restarted.status()] == [0, 0]


def test_an_end_waits_for_its_beginning(engine: Engine, settings: NotifySettings) -> None:
    channel = Recording(failures=1)
    outbox = Outbox(engine, {"a": channel}, settings)
    put(engine, outbox, message("e1"), to=["a"])
    outbox.deliver_due(NOW)
    put(engine, outbox, message("e1", "end"), message("e2"), to=["a"], now=NOW + SECOND)
    outbox.deliver_due(NOW + 60 * SECOND)
    assert channel.ids.index("e1/begin") < channel.ids.index("e1/end")
    assert set(channel.ids) == {"e1/begin", "e1/end", "e2/begin"}


def test_what_a_killed_process_was_sending_is_sent_again_under_the_same_id(
    engine: Engine, settings: NotifySettings
) -> None:
    class Killed(Recording):
        def send(self, message: Message) -> None:
            super().send(message)
            raise SystemExit  # taken by the receiver, and the process ends before it can write that down

    killed, channel = Killed(), Recording()
    outbox = Outbox(engine, {"a": killed}, settings)
    put(engine, outbox, message("e1"), to=["a"])
    with pytest.raises(SystemExit):
        outbox.deliver_due(NOW)
    other = Outbox(engine, {"a": channel}, settings)
    assert other.deliver_due(NOW + SECOND) == 0  # it may still be at work
    assert other.deliver_due(NOW + (LEASE_S + 1) * SECOND) == 1
    assert killed.ids == channel.ids == ["e1/begin"]


def test_two_processes_send_a_message_once(engine: Engine, settings: NotifySettings) -> None:
    channel, barrier = Recording(), threading.Barrier(2)
    outboxes = [Outbox(engine, {"a": channel}, settings) for _ in range(2)]
    put(engine, outboxes[0], *(message(f"e{i}") for i in range(20)), to=["a"])

    def deliver(outbox: Outbox) -> None:
        barrier.wait()
        outbox.deliver_due(NOW)

    threads = [threading.Thread(target=deliver, args=(outbox,)) for outbox in outboxes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(channel.ids) == sorted(f"e{i}/begin" for i in range(20))


def test_a_message_is_given_up_after_days_of_attempts_but_not_by_a_clock_that_jumped(
    engine: Engine, settings: NotifySettings
) -> None:
    outbox = Outbox(engine, {"a": Recording(failures=1000)}, settings)
    put(engine, outbox, message("e1"), to=["a"])
    after = NOW + timedelta(days=4)
    for attempt in range(LEAST_ATTEMPTS):
        assert outbox.status()[0].given_up == 0, attempt
        outbox.deliver_due(after)
        after += timedelta(seconds=settings.backoff_most_s * 1.3)
    assert (outbox.status()[0].given_up, outbox.status()[0].waiting) == (1, 0)
    assert outbox.purge(after) == 0
    assert outbox.purge(after + timedelta(days=settings.keep_days)) == 1


def test_a_wait_that_a_wrong_clock_wrote_down_ends(engine: Engine, settings: NotifySettings) -> None:
    channel = Recording(failures=1)
    outbox = Outbox(engine, {"a": channel}, settings)
    put(engine, outbox, message("e1"), to=["a"])
    outbox.deliver_due(NOW + timedelta(days=365))  # the clock is ahead, and the attempt fails
    assert Outbox(engine, {"a": channel}, settings).deliver_due(NOW + 10 * SECOND) == 1


def test_a_channel_that_is_no_more_in_the_file_keeps_its_messages(engine: Engine, settings: NotifySettings) -> None:
    outbox = Outbox(engine, {}, settings)
    put(engine, outbox, message("e1"), to=["gone"])
    assert outbox.deliver_due(NOW) == 0
    assert outbox.status()[0].error == "there is no channel gone"
    assert Outbox(engine, {"gone": Recording()}, settings).deliver_due(NOW + 60 * SECOND) == 1


def test_within_the_cooldown_of_a_camera_events_are_counted_not_sent(engine: Engine, settings: NotifySettings) -> None:
    channel, policy = Recording(), Policy(cooldown_s=60)
    outbox = Outbox(engine, {"a": channel}, settings)
    for i, second in enumerate((0, 10, 59, 61)):
        moment = NOW + second * SECOND
        put(engine, outbox, message(f"e{i}"), to=["a"], policy=policy, now=moment)
        put(engine, outbox, message(f"e{i}", "end"), to=["a"], policy=policy, now=moment)
        put(engine, outbox, message(f"d{i}", camera="dock"), to=["a"], now=moment)  # without a cooldown
        outbox.deliver_due(moment)
    of_yard = [m for m in channel.sent if m.camera == "yard"]
    assert [m.delivery_id for m in of_yard] == ["e0/begin", "e0/end", "e3/begin", "e3/end"]
    assert [m.held_back for m in of_yard] == [0, 0, 2, 0]
    assert len(channel.sent) == 4 + 4
    assert outbox.status()[0].held_back == 4


def test_quiet_hours_leave_out_events_and_no_alarms(engine: Engine, settings: NotifySettings) -> None:
    channel, policy = Recording(), Policy(is_quiet=lambda moment: moment < NOW + 60 * SECOND)
    outbox = Outbox(engine, {"a": channel}, settings)
    put(engine, outbox, message("e1"), message("d1", kind="drift"), to=["a"], policy=policy)
    put(engine, outbox, message("e1", "end"), message("e2"), to=["a"], policy=policy, now=NOW + 60 * SECOND)
    outbox.deliver_due(NOW + 60 * SECOND)
    assert channel.ids == ["d1/begin", "e2/begin"]
    assert channel.sent[1].held_back == 1


def test_the_thread_sends_what_is_put_in(engine: Engine, settings: NotifySettings) -> None:
    arrived = threading.Event()

    class Telling(Recording):
        def send(self, message: Message) -> None:
            super().send(message)
            arrived.set()

    channel = Telling()
    outbox = Outbox(engine, {"a": channel}, settings)
    with Deliverer(outbox, poll_s=0.02):
        put(engine, outbox, message("e1"), to=["a"], now=datetime.now(UTC))
        assert arrived.wait(10)
    assert channel.ids == ["e1/begin"]
    assert "notifications" not in {thread.name for thread in threading.enumerate()}


def test_a_channel_that_hangs_holds_up_neither_another_nor_the_end(
    engine: Engine, settings: NotifySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headhunt_svc.notify.deliverer.LEAVE_S", 0.2)
    hangs, arrived, ends = threading.Event(), threading.Semaphore(0), threading.Event()

    class Hanging(Recording):
        def send(self, message: Message) -> None:
            hangs.set()
            ends.wait(30)

    class Telling(Recording):
        def send(self, message: Message) -> None:
            super().send(message)
            arrived.release()

    outbox = Outbox(engine, {"hanging": Hanging(), "well": Telling()}, settings)
    try:
        with Deliverer(outbox, poll_s=0.02):
            for name in ("e1", "e2"):
                put(engine, outbox, message(name), to=["hanging", "well"], now=datetime.now(UTC))
                assert arrived.acquire(timeout=10)
                assert hangs.wait(10)
            began = time.monotonic()
        assert time.monotonic() - began < 5
    finally:
        ends.set()
        for thread in threading.enumerate():
            if thread.name == "to hanging":
                thread.join(10)


def test_many_messages_to_a_channel_that_is_away_hold_up_no_other(engine: Engine, settings: NotifySettings) -> None:
    away, well = Recording(failures=10**6), Recording()
    outbox = Outbox(engine, {"away": away, "well": well}, settings)
    put(engine, outbox, *(message(f"e{i}") for i in range(MOST_ROWS + 1)), to=["away"])
    put(engine, outbox, message("last"), to=["well"], now=NOW + SECOND)
    outbox.deliver_due(NOW + SECOND)
    assert well.ids == ["last/begin"]
