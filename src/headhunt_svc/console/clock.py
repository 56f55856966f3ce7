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


def moment(time: datetime, zone: str = "UTC") -> Moment:
    """A time in a zone and in UTC; the date of the second one is left out where it is the same."""
    there, utc = time.astimezone(ZoneInfo(zone)), time.astimezone(UTC)
    text = f"{there:%Y-%m-%d %H:%M:%S %Z}"
    if there.utcoffset() == utc.utcoffset():
        return Moment(utc.isoformat(), f"{utc:%Y-%m-%d %H:%M:%S} UTC", "")
    short = f"{utc:%H:%M:%S} UTC" if utc.date() == there.date() else f"{utc:%Y-%m-%d %H:%M:%S} UTC"
    return Moment(utc.isoformat(), text, short)


def duration(seconds: float) -> str:
    """How long, in the unit that fits: 45 s, 12 min, 5 h, 3 days."""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= (2 if unit == "days" else 1) * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
