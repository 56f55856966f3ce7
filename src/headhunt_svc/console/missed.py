"""A camera's day as a chart, on which somebody marks an event that the detector has missed (console/marked.py)."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup

from headhunt_svc.console import charts
from headhunt_svc.console.charts import Mark
from headhunt_svc.console.clock import Moment, moment
from headhunt_svc.console.links import event_page
from headhunt_svc.errors import ConfigError
from headhunt_svc.events.records import EventFilter
from headhunt_svc.events.store import EventStore
from headhunt_svc.prediction_log.stretches import between, days_between, read_stretch
from headhunt_svc.storage.store import Store

MOST_BARS = 720
MOST_EVENTS = 500  # on one chart


@dataclass(frozen=True, slots=True)
class Span:
    """A day or an hour of a camera. start, stop in UTC."""

    start: datetime
    stop: datetime
    is_day: bool

    @classmethod
    def of(cls, text: str, zone: str) -> "Span":
        """Of 2026-03-01 (a day) or 2026-03-01T14 (an hour), in this zone. Raises ConfigError."""
        local_zone = ZoneInfo(zone)
        try:
            is_day = len(text) <= len("2026-03-01")
            begin = datetime.fromisoformat(text if is_day else f"{text[:13]}:00").replace(tzinfo=None)
            end = begin + (timedelta(days=1) if is_day else timedelta(hours=1))
            start, stop = (time.replace(tzinfo=local_zone).astimezone(UTC) for time in (begin, end))
            return cls(start, stop, is_day)
        except (ValueError, OverflowError) as exc:
            raise ConfigError(f"{text!r} is no day such as 2026-03-01 or hour such as 2026-03-01T14") from exc

    def place(self, time: datetime) -> float:
        """Where a time is on the axis, as a share of its length."""
        return (time - self.start) / (self.stop - self.start)


@dataclass(frozen=True, slots=True)
class CameraTimeline:
    """before, behind: the neighbours' names. parts: hours as name, text and whether anything was scored then."""

    chart: Markup
    start: Moment
    stop: Moment
    n_segments: int
    before: str
    behind: str
    parts: tuple[tuple[str, str, bool], ...]
    day: str


def timeline(log: Store, store: EventStore, camera: str, span: Span, zone: str) -> CameraTimeline:
    """Scores and events of a camera in a day or an hour.

    Raises:
        UnreachableError: the log or the events' database does not answer.
    """
    columns = ["start_s", "stop_s", "smoothed"]
    stretch = read_stretch(log, camera, days_between(span.start, span.stop), columns)
    table = between(stretch.table, span.start, span.stop)
    length = (span.stop - span.start).total_seconds()
    starts = (np.asarray(pc.cast(table["time"], pa.int64()).to_numpy()) / 1e6 - span.start.timestamp()) / length
    lengths = np.asarray(table["stop_s"].to_numpy() - table["start_s"].to_numpy(), np.float64) / length
    bars = charts.thinned(starts, starts + lengths, np.asarray(table["smoothed"].to_numpy(), np.float64), MOST_BARS)
    which = EventFilter(camera=camera, since=span.start, until=span.stop, questions=False)
    marks = [
        Mark(
            max(span.place(event.start), 0.0),
            min(span.place(event.stop or event.peak), 1.0),
            "span",
            f"{moment(event.start, zone).local}, score {event.score:.2f}",
            event_page(event.id),
        )
        for event in store.list(which, limit=MOST_EVENTS)
    ]
    threshold = None if stretch.metadata is None else stretch.metadata.threshold
    local_zone = ZoneInfo(zone)
    n = 8 if span.is_day else 6
    times = [span.start + (span.stop - span.start) * i / n for i in range(n + 1)]
    ticks = [(i / n, f"{time.astimezone(local_zone):%H:%M}") for i, time in enumerate(times)]
    local = span.start.astimezone(local_zone)
    quarters = np.unique(np.floor(starts * length / 900)) * 900
    scored = {(span.start + timedelta(seconds=float(s))).astimezone(local_zone).hour for s in quarters}
    step = timedelta(days=1) if span.is_day else timedelta(hours=1)
    form = "%Y-%m-%d" if span.is_day else "%Y-%m-%dT%H"
    return CameraTimeline(
        charts.scores(bars, threshold, marks, ticks, f"scores of {camera}, {len(table)} segments"),
        moment(span.start, zone),
        moment(span.stop, zone),
        len(table),
        f"{local - step:{form}}",
        f"{local + step:{form}}",
        tuple((f"{local:%Y-%m-%d}T{hour:02d}", f"{hour:02d}", hour in scored) for hour in range(24)),
        f"{local:%Y-%m-%d}",
    )


def latest_day(store: EventStore, camera: str, judged: datetime | None, zone: str) -> date:
    """The day of the last event or of the last verdict, whichever is later; today where there is neither."""
    last = next(iter(store.list(EventFilter(camera=camera, questions=False), limit=1)), None)
    times = [time for time in (None if last is None else last.start, judged) if time is not None]
    time = max(times, default=datetime.now(UTC))
    if judged is not None and time == judged:
        time -= timedelta(seconds=1)  # the end of a window is midnight in many places
    return time.astimezone(ZoneInfo(zone)).date()
