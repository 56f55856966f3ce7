"""From stream times to UTC by when data arrived."""

from datetime import UTC, datetime

import pytest

from headhunt_svc.video.arrival import ArrivalClock

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC).timestamp()


def pushed(clock: ArrivalClock, start_s: float, stop_s: float, delay_s: float, wall_s: float = NOON) -> None:
    """Ten pictures a second from start_s to stop_s of a stream that began at 100 s of the monotonic clock."""
    for i in range(round((stop_s - start_s) * 10)):
        time_s = start_s + i / 10
        clock.push(100 + time_s + delay_s, wall_s + time_s + delay_s, time_s)


def test_the_smallest_delay_of_the_last_half_minute_counts() -> None:
    clock = ArrivalClock()
    with pytest.raises(ValueError, match="no picture"):
        clock.utc(0)
    pushed(clock, 0, 1, 1.5)
    assert clock.utc(0).timestamp() == pytest.approx(NOON + 1.5)
    pushed(clock, 1, 2, 0.1)
    pushed(clock, 2, 30, 0.4)
    assert clock.utc(20).timestamp() == pytest.approx(NOON + 20.1)
    pushed(clock, 30, 40, 0.4)
    assert clock.utc(20).timestamp() == pytest.approx(NOON + 20.4)
    assert clock.steps == 0


def test_a_step_of_the_wall_clock_is_noticed_and_followed() -> None:
    clock = ArrivalClock()
    pushed(clock, 0, 1, 0.1)
    pushed(clock, 1, 2, 0.1, NOON + 3600)
    assert clock.utc(2).timestamp() == pytest.approx(NOON + 3602.1)
    assert clock.steps == 1
    clock.jump()
    with pytest.raises(ValueError, match="no picture"):
        clock.utc(2)


def test_who_asks_is_told_by_how_much_the_clock_was_set() -> None:
    clock = ArrivalClock()
    assert clock.push(10.0, NOON + 10, 0) is None
    assert clock.push(11.0, NOON + 11, 1) is None
    assert clock.push(12.0, NOON + 3612, 2) == pytest.approx(3600)
    assert clock.push(13.0, NOON + 3613, 3) is None
