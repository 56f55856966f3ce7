"""The drift page: value over limit, a row a camera and a column a signal; and the page of one camera's verdict."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from jaxtyping import Int
from markupsafe import Markup

from headhunt_svc.console import charts, words
from headhunt_svc.console.clock import Moment, moment
from headhunt_svc.console.history import NAN, History, Judged
from headhunt_svc.console.words import ALL_SIGNALS
from headhunt_svc.monitoring.config import Kind
from headhunt_svc.monitoring.verdicts import FLEET, CameraVerdict

SPANS = {"7": timedelta(days=7), "14": timedelta(days=14), "30": timedelta(days=30)}
MOST_BARS = 46  # of a chart: a bar is two units wide at least


@dataclass(frozen=True, slots=True)
class Cell:
    """One chart. now: value over limit in the latest window; None where it was not judged."""

    chart: Markup
    now: float | None


@dataclass(frozen=True, slots=True)
class Row:
    """A camera. word: what the latest verdict says. ratio: of its worst signal."""

    name: str
    word: str
    kind: Kind | None
    since: Moment | None
    ratio: float
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """All charts between two times."""

    rows: tuple[Row, ...]
    start: Moment
    stop: Moment
    n_windows: int

    @property
    def n_drifting(self) -> int:
        """How many rows drift."""
        return sum(row.kind is not None for row in self.rows)


def grid(history: History, span: timedelta, zone: str) -> Grid | None:
    """The charts of all cameras of the latest verdict, the worst first; None before the first verdict."""
    latest = history.latest
    if latest is None or not history.windows:
        return None
    start = max(latest.stop - span, history.windows[0].start)
    windows = [window for window in history.windows if start < window.stop <= latest.stop]
    axis = _Axis.of(windows, start, latest.stop)
    rows = [_row(name, verdict, windows, axis, zone) for name, verdict in latest.cameras.items()]
    rows.sort(key=lambda row: (row.kind is None, row.name != FLEET, -row.ratio, row.name))
    return Grid(tuple(rows), moment(start, zone, False), moment(latest.stop, zone, False), len(windows))


@dataclass(frozen=True, slots=True)
class _Axis:
    """Windows put into at most MOST_BARS columns. first: number of the first window of each column."""

    first: Int[np.ndarray, " column"]
    columns: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, windows: Sequence[Judged], start: datetime, stop: datetime) -> "_Axis":
        """Windows may overlap: a bar is what is new in its window."""
        length = max((stop - start).total_seconds(), 1.0)
        ends = np.array([(window.stop - start).total_seconds() / length for window in windows])
        begins = np.maximum([max((window.start - start).total_seconds() / length, 0.0) for window in windows], 0.0)
        begins[1:] = np.maximum(begins[1:], ends[:-1])
        steps = np.minimum(((begins + ends) / 2 * MOST_BARS).astype(int), MOST_BARS - 1)
        first = np.flatnonzero(np.diff(steps, prepend=-1))
        last = np.append(first[1:], len(windows)) - 1
        return cls(first, tuple(zip(begins[first].tolist(), ends[last].tolist(), strict=True)))


def _row(name: str, verdict: CameraVerdict, windows: Sequence[Judged], axis: _Axis, zone: str) -> Row:
    points = (window.cameras.get(name) for window in windows)
    content = b"".join(_NONE if point is None else point.ratios.tobytes() for point in points)
    ratios = np.frombuffer(content, np.float32).reshape(len(windows), len(ALL_SIGNALS))
    highest = np.fmax.reduceat(ratios, axis.first).T.tolist()
    cells = []
    for signal, values in zip(ALL_SIGNALS, highest, strict=True):
        stored = verdict.signals.get(signal)
        title = words.SIGNALS[signal].title
        says = "not judged" if stored is None else f"{ratio_words(stored.of_limit)} its limit now"
        chart = charts.ratios(axis.columns, values, f"{title}: {says}")
        cells.append(Cell(chart, None if stored is None else stored.of_limit))
    return Row(
        name,
        verdict.word,
        verdict.kind,
        None if verdict.since is None else moment(verdict.since, zone, False),
        verdict.of_limit,
        tuple(cells),
    )


_NONE = array("f", [NAN] * len(ALL_SIGNALS)).tobytes()


def ratio_words(ratio: float) -> str:
    """A value over its limit in words."""
    return f"{ratio:.2f} times" if ratio < 10 else "more than 10 times"


@dataclass(frozen=True, slots=True)
class Moved:
    """A signal of a verdict. is_over: beyond its limit."""

    name: str
    title: str
    sentence: str
    value: float
    limit: float
    chance: float
    ratio: float

    @property
    def is_over(self) -> bool:
        """Is it beyond its limit?"""
        return self.value > self.limit


def moved(verdict: CameraVerdict) -> tuple[Moved, ...]:
    """The signals of a verdict, the furthest beyond its limit first."""
    meanings: Mapping[str, words.Meaning] = {str(name): meaning for name, meaning in words.SIGNALS.items()}
    signals = []
    for name, s in verdict.signals.items():
        meaning = meanings.get(name, words.Meaning(name, ""))
        signals.append(Moved(name, meaning.title, meaning.sentence, s.value, s.limit, s.chance, s.of_limit))
    return tuple(sorted(signals, key=lambda signal: -signal.ratio))
