"""Times as the pages show them: of the camera's place, and UTC beside it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True)
class Moment:
    """A time as text. local: in its zone, with the zone's short name. utc: empty where that is the same."""

    iso: str
    local: str
    utc: str


def moment(time: datetime, zone: str = "UTC", seconds: bool = True) -> Moment:
    """A time in a zone and in UTC; the date of the second one is left out where it is the same.

    seconds: without them, where minutes are enough.
    """
    there, utc = time.astimezone(ZoneInfo(zone)), time.astimezone(UTC)
    day, clock = "%Y-%m-%d ", "%H:%M:%S" if seconds else "%H:%M"
    if there.utcoffset() == utc.utcoffset():
        return Moment(utc.isoformat(), f"{utc:{day}{clock}} UTC", "")
    short = clock if utc.date() == there.date() else f"{day}{clock}"
    return Moment(utc.isoformat(), f"{there:{day}{clock} %Z}", f"{utc:{short}} UTC")


def duration(seconds: float) -> str:
    """How long, in the unit that fits: 45 s, 12 min, 5 h, 3 days."""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= (2 if unit == "days" else 1) * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
