"""Hours of the week are those that the clock on the wall shows."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headhunt_svc.cameras.schedule import DAYS, Hours, within, zone_of

BERLIN = zone_of("Europe/Berlin")


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("text", "time", "covered"),
    [
        ("18:00-06:00", "2026-11-27 18:00", True),
        ("18:00-06:00", "2026-11-27 17:59:59", False),
        ("18:00-06:00", "2026-11-28 05:59:59", True),
        ("18:00-06:00", "2026-11-28 06:00", False),
        ("fri 18:00-06:00", "2026-11-28 05:00", True),  # the night of Friday, on Saturday
        ("fri 18:00-06:00", "2026-11-27 05:00", False),  # that of Thursday
        ("mon-fri 08:00-17:00", "2026-11-28 12:00", False),
        ("sat-mon 08:00-17:00", "2026-11-29 12:00", True),
        ("sat-mon 08:00-17:00", "2026-12-01 12:00", False),
        ("Sat,Sun  00:00-24:00", "2026-11-29 23:59:59", True),
        ("sun 22:00-24:00", "2026-11-30 00:00", False),
    ],
)
def test_hours_on_the_wall_clock(text: str, time: str, covered: bool) -> None:
    assert within([Hours.of_text(text)], BERLIN, local(time).astimezone(UTC)) == covered


def test_summer_time_moves_the_hours_with_the_clocks() -> None:
    """In Berlin, 2:30 happens twice on 25 October 2026 and not at all on 29 March 2026."""
    night = [Hours.of_text("02:00-03:00")]

    def hours_of(day: datetime) -> float:
        minutes = [day + timedelta(minutes=i) for i in range(24 * 60)]
        return sum(within(night, BERLIN, minute) for minute in minutes) / 60

    assert hours_of(datetime(2026, 10, 24, 12, tzinfo=UTC)) == 2
    assert hours_of(datetime(2026, 3, 28, 12, tzinfo=UTC)) == 0
    assert hours_of(datetime(2026, 6, 1, 12, tzinfo=UTC)) == 1


@given(st.integers(0, 1439), st.integers(0, 1439), st.sets(st.sampled_from(DAYS), min_size=1))
def test_a_week_has_as_many_minutes_as_the_hours_say(start: int, stop: int, days: set[str]) -> None:
    if start == stop:
        return
    text = f"{','.join(days)} {start // 60:02}:{start % 60:02}-{stop // 60:02}:{stop % 60:02}"
    week = [datetime(2026, 6, 1, tzinfo=UTC) + timedelta(minutes=10 * i + start % 10) for i in range(7 * 144)]
    hours = Hours.of_text(text)
    covered = sum(within([hours], zone_of("UTC"), minute) for minute in week)
    assert covered == -(-((stop - start) % 1440) // 10) * len(days)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("night", "are no hours, such as"),
        ("8-17", "are no hours"),
        ("mo 08:00-17:00", "'mo' is none of mon"),
        ("mon- 08:00-25:00", "25:00 is no time"),
        ("08:60-09:00", "08:60 is no time"),
        ("08:00-08:00", "a whole day is 00:00-24:00"),
    ],
)
def test_what_are_no_hours_is_named(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Hours.of_text(text)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        within([Hours.of_text("08:00-09:00")], BERLIN, datetime(2026, 1, 1))


@pytest.mark.parametrize("name", ["Europe/Bonn", "", "..", "Europe", "/etc/passwd"])
def test_what_is_no_zone_is_named(name: str) -> None:
    with pytest.raises(ValueError, match="is no time zone"):
        zone_of(name)
