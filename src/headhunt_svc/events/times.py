"""When the first picture of a file was taken, in UTC, and how that is known."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import av
import av.error

from headhunt_svc.errors import ConfigError, VideoError
from headhunt_svc.events.opening import opened
from headhunt_svc.events.records import TimeBasis

# what strptime reads of each directive
_DIRECTIVES = {
    "Y": r"\d{4}",
    "y": r"\d{2}",
    "m": r"\d{2}",
    "d": r"\d{2}",
    "j": r"\d{3}",
    "H": r"\d{2}",
    "I": r"\d{2}",
    "M": r"\d{2}",
    "S": r"\d{2}",
    "f": r"\d{1,6}",
    "p": "[AaPp][Mm]",
    "z": r"(?:Z|[+-]\d{2}:?\d{2})",
    "b": "[A-Za-z]{3}",
    "%": "%",
}
_NEEDED = (("Y", "y"), ("d", "j"), ("H", "I"))
_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)  # clocks that were never set say 1904, 1970 or 1980


@dataclass(frozen=True, slots=True)
class Started:
    """When a video's first picture was taken, and where that comes from."""

    time: datetime
    basis: TimeBasis

    def at(self, seconds: float) -> datetime:
        """The time so many seconds later."""
        return self.time + timedelta(seconds=seconds)


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The expression that finds a time, written as for strptime, in the name of a file.

    Raises:
        ConfigError: a directive is unknown or there twice, or day and hour are missing.
    """
    letters: list[str] = []
    text = ""
    for piece in re.split(r"(%.?)", pattern):
        if not piece.startswith("%"):
            text += re.escape(piece)
        elif piece[1:] not in _DIRECTIVES or piece[1:] in letters:
            problem = "there twice" if piece[1:] in letters else f"none of {', '.join(f'%{d}' for d in _DIRECTIVES)}"
            raise ConfigError(f"name pattern {pattern!r}: {piece} is {problem}")
        else:
            text += _DIRECTIVES[piece[1:]]
            letters += [piece[1:]] if piece != "%%" else []
    missing = [f"%{either[0]}" for either in _NEEDED if not set(either) & set(letters)]
    if missing or not ("j" in letters or {"m", "b"} & set(letters)):
        raise ConfigError(f"name pattern {pattern!r}: {', '.join(missing) or '%m'} is missing: yard_%Y%m%d_%H%M%S")
    return re.compile(text)


def time_in_name(name: str, pattern: str, time_zone: str) -> datetime | None:
    """The time in a file's name; None where there is none. Raises ConfigError: see compile_pattern."""
    match = compile_pattern(pattern).search(name)
    if match is None:
        return None
    try:
        time = datetime.strptime(match[0], pattern)
    except ValueError:  # the 31st of February
        return None
    return (time.replace(tzinfo=ZoneInfo(time_zone)) if time.tzinfo is None else time).astimezone(UTC)


def creation_time(path: Path) -> datetime | None:
    """What the container says; None where it says nothing that can be right. Only for files that may be opened here."""
    try:
        with opened(path) as (container, stream):
            text = stream.metadata.get("creation_time") or container.metadata.get("creation_time") or ""
        time = datetime.fromisoformat(text)
    except (VideoError, ValueError, av.error.FFmpegError):
        return None
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    return time if time >= _EARLIEST else None


def started(
    path: Path, duration_s: float, *, name: str | None, pattern: str | None, time_zone: str, is_own: bool
) -> Started:
    """When the video in a file began: the best that is known (TimeBasis).

    name: of the file, as its camera named it; None where that is not known. is_own: may the file be opened in this
    process? Not one that somebody has sent.

    Raises:
        ConfigError: see compile_pattern. OSError: the file is gone.
    """
    if pattern is not None and name is not None and (time := time_in_name(name, pattern, time_zone)) is not None:
        return Started(time, TimeBasis.FILE_NAME)
    if is_own and (time := creation_time(path)) is not None:
        return Started(time, TimeBasis.CONTAINER)
    written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return Started(written - timedelta(seconds=duration_s), TimeBasis.MODIFIED)
