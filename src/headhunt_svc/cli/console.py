"""What several command groups print with: width, times, table cells, notes."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from headhunt_svc.names import printable

if TYPE_CHECKING:
    from headhunt_svc.pipeline.files import Passes

WIDTH = 140


def wide(stderr: bool = False) -> Console:
    """A console for tables, as wide as they need also where output goes into a file."""
    return Console(stderr=stderr, highlight=False, width=WIDTH)


def safe(value: object) -> str:
    """Text that is printed as it is: no markup for rich, no control characters for the terminal."""
    return escape(printable(str(value)))


def clock(seconds: float) -> str:
    """m:ss.s or h:mm:ss.s."""
    tenths = round(seconds * 10)
    hours, minutes = divmod(tenths // 600, 60)
    rest = f"{tenths % 600 / 10:04.1f}"
    return f"{hours}:{minutes:02d}:{rest}" if hours else f"{minutes}:{rest}"


def cell(value: float | None, digits: int = 3) -> str:
    """A number in a table; `-` where it is undefined."""
    return "-" if value is None else f"{value:.{digits}f}"


def note(text: str) -> None:
    """Prints one line on standard error."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(safe(text))


def print_passes(passes: "Passes") -> None:
    """Prints how many videos a stage had to decode."""
    kept = f", {passes.reports} reports kept" if passes.reports else ""
    note(f"{passes.stored} videos from stored features, {passes.decoded} decoded{kept}")


def note_cautions(cautions: Iterable[str]) -> None:
    """Prints what speaks against trusting a detector's scores on standard error, a line each."""
    for caution in cautions:
        note(f"caution: {caution}")
