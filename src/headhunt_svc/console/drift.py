"""The drift page: value over limit, a row a camera and a column a signal; and the page of one camera's verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isnan

from markupsafe import Markup

from headhunt_svc.console import charts, words
from headhunt_svc.console.charts import Bar
from headhunt_svc.console.clock import Moment, moment
from headhunt_svc.console.history import History, Judged, StoredVerdict
from headhunt_svc.console.words import ALL_SIGNALS
from headhunt_svc.monitoring.config import Kind
from headhunt_svc.monitoring.verdicts import FLEET

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
    windows = [w for w in history.windows if w.stop > start and w.stop <= latest.stop]
    length = max((latest.stop - start).total_seconds(), 1.0)
    rows = [_row(name, verdict, windows, start, length, zone) for name, verdict in latest.cameras.items()]
    rows.sort(key=lambda row: (row.kind is None, row.name != FLEET, -row.ratio, row.name))
    return Grid(tuple(rows), moment(start, zone, False), moment(latest.stop, zone, False), len(windows))


def _row(
    name: str, verdict: StoredVerdict, windows: Sequence[Judged], start: datetime, length: float, zone: str
) -> Row:
    values: list[dict[int, Bar]] = [{} for _ in ALL_SIGNALS]
    before = start
    for window in windows:
        point = window.cameras.get(name)
        # windows may overlap: a bar is what is new in its window
        begin, before = max(before, window.start), window.stop
        if point is None:
            continue
        left, right = (begin - start).total_seconds() / length, (window.stop - start).total_seconds() / length
        step = min(int((left + right) / 2 * MOST_BARS), MOST_BARS - 1)
        for bars, ratio in zip(values, point.ratios, strict=True):
            if not isnan(ratio):
                other = bars.get(step)
                bars[step] = (
                    Bar(left, right, ratio)
                    if other is None
                    else Bar(min(other.start, left), max(other.stop, right), max(other.value, ratio))
                )
    cells = []
    for signal, bars in zip(ALL_SIGNALS, values, strict=True):
        stored = verdict.signals.get(signal)
        title = words.SIGNALS[signal].title
        says = "not judged" if stored is None else f"{ratio_words(stored.ratio)} its limit now"
        cells.append(Cell(charts.ratios(bars.values(), f"{title}: {says}"), None if stored is None else stored.ratio))
    worst = verdict.worst
    return Row(
        name,
        verdict.kind or verdict.status,
        verdict.kind,
        None if verdict.since is None else moment(verdict.since, zone, False),
        0.0 if worst is None else worst[1].ratio,
        tuple(cells),
    )


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


def moved(verdict: StoredVerdict) -> tuple[Moved, ...]:
    """The signals of a verdict, the furthest beyond its limit first."""
    meanings: Mapping[str, words.Meaning] = {str(name): meaning for name, meaning in words.SIGNALS.items()}
    signals = []
    for name, s in verdict.signals.items():
        meaning = meanings.get(name, words.Meaning(name, ""))
        signals.append(Moved(name, meaning.title, meaning.sentence, s.value, s.limit, s.chance, s.ratio))
    return tuple(sorted(signals, key=lambda signal: -signal.ratio))
