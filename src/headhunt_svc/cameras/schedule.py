"""Hours of the week in a camera's own time: when it is scored, and when nobody is to be disturbed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EXAMPLE = "such as `mon-fri 18:00-06:00`, `sat,sun 00:00-24:00`, or `22:00-06:00` for every day"
_HOURS = re.compile(r"(?:([a-z,-]+) )?(\d\d):(\d\d)-(\d\d):(\d\d)")
_DAY_MINUTES = 24 * 60


def zone_of(name: str) -> ZoneInfo:
    """The time zone of this name. Raises ValueError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:  # unknown; no name of a file; a folder
        raise ValueError(f"{name!r} is no time zone, such as Europe/Berlin") from exc


@dataclass(frozen=True, slots=True)
class Hours:
    """A stretch of some days: days as numbers from Monday 0, minutes of the day.

    A stretch whose end is not after its start goes on into the next day; it belongs to the day that it starts on.
    """

    days: frozenset[int]
    start: int
    stop: int

    @classmethod
    def of_text(cls, text: str) -> "Hours":
        """`mon-fri 18:00-06:00`. Raises ValueError."""
        match = _HOURS.fullmatch(" ".join(text.lower().split()))
        if match is None:
            raise ValueError(f"{text!r} are no hours, {EXAMPLE}")
        days, *numbers = match.groups()
        start, stop = _minutes(text, *numbers[:2]), _minutes(text, *numbers[2:])
        if start == stop or start == _DAY_MINUTES:
            raise ValueError(f"{text!r} holds no time: a whole day is 00:00-24:00")
        return cls(_days(text, days) if days else frozenset(range(len(DAYS))), start, stop)

    def covers(self, local: datetime) -> bool:
        """Is it such an hour on the wall clock?"""
        minute, day = local.hour * 60 + local.minute, local.weekday()
        if self.start < self.stop:
            return day in self.days and self.start <= minute < self.stop
        yesterday = (day - 1) % len(DAYS)
        return (day in self.days and minute >= self.start) or (yesterday in self.days and minute < self.stop)


def within(hours: Sequence[Hours], zone: ZoneInfo, time: datetime) -> bool:
    """Does one of the stretches cover this time, as the clocks of the zone show it? An hour that they show twice, when
    summer time ends, counts twice."""
    if time.tzinfo is None:
        raise ValueError(f"{time} has no time zone")
    local = time.astimezone(zone)
    return any(stretch.covers(local) for stretch in hours)


def _minutes(text: str, hour: str, minute: str) -> int:
    minutes = int(hour) * 60 + int(minute)
    if int(minute) > 59 or minutes > _DAY_MINUTES:
        raise ValueError(f"{text!r}: {hour}:{minute} is no time of a day")
    return minutes


def _days(text: str, names: str) -> frozenset[int]:
    """`mon-fri,sun` as numbers; a range may reach over Sunday."""
    days: set[int] = set()
    for part in names.split(","):
        first, _, last = part.partition("-")
        if unknown := [name for name in {first, last or first} if name not in DAYS]:
            raise ValueError(f"{text!r}: {unknown[0]!r} is none of {', '.join(DAYS)}")
        start, stop = DAYS.index(first), DAYS.index(last or first)
        days.update((start + i) % len(DAYS) for i in range((stop - start) % len(DAYS) + 1))
    return frozenset(days)
