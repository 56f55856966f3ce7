"""What all pages read from, in one object: the events, cameras, verdicts and the log."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from threading import Lock

from headhunt_svc.console.drift import SPANS, Grid, grid
from headhunt_svc.console.fleet import Fleet, Overview
from headhunt_svc.console.history import History
from headhunt_svc.console.learning import Learning
from headhunt_svc.console.media import ByteCache
from headhunt_svc.console.places import Places
from headhunt_svc.events.export import all_events
from headhunt_svc.events.records import EventFilter
from headhunt_svc.events.store import EventStore
from headhunt_svc.feedback.asking import ANSWERED
from headhunt_svc.feedback.candidates import Sources
from headhunt_svc.storage.store import Store

AGE = timedelta(seconds=1)  # of what is shown without looking again


class Desk:
    """Opened once for the process. Threads may share it."""

    def __init__(self, places: Places, events: EventStore) -> None:
        """Raises ConfigError: the log is in a store of an unknown kind."""
        self.places, self.events = places, events
        self.log = Store(places.log)
        self.history = History(places.verdicts)
        self.fleet = Fleet(places, self.history, events)
        self.pictures = ByteCache()
        self.learning = Learning(places.candidate)
        self._grids: dict[str, tuple[str, Grid | None]] = {}
        self._refreshed: datetime | None = None
        self._overview: tuple[datetime, Overview] | None = None
        self._marks: tuple[str, dict[str, int]] = "", {}
        self._lock, self._looking, self._counting = Lock(), Lock(), Lock()

    @property
    def zone(self) -> str:
        """In which times are shown that are of no camera."""
        return self.events.settings.time_zone

    @property
    def sources(self) -> Sources:
        """Where questions come from."""
        return Sources(self.events, self.log, self.places.active, self.fleet.masks_of, self.fleet.zone_of)

    def n_marks(self, camera: str = "") -> int:
        """How many events are marked and have features to learn from; counted again when there is a new mark."""
        version = self.events.version(datetime.now(UTC))
        with self._counting:
            if self._marks[0] != version:
                self._marks = version, {}
            counts = self._marks[1]
            if camera not in counts:
                filters = (EventFilter(camera=camera or None, state=state) for state in ANSWERED)
                marked = (event for which in filters for event in all_events(self.events, which))
                counts[camera] = sum(event.features for event in marked)
            return counts[camera]

    def refresh(self) -> None:
        """Read verdicts that are new; at most once a second, however many pages are asked for."""
        now = datetime.now(UTC)
        with self._lock:
            if self._refreshed is not None and timedelta(0) <= now - self._refreshed < AGE:
                return
            self._refreshed = now
            self.history.refresh()

    def overview(self) -> Overview:
        """How all cameras are; looked at once a second, however many pages are asked for."""
        now = datetime.now(UTC)
        with self._looking:
            if self._overview is None or not timedelta(0) <= now - self._overview[0] < AGE:
                self._overview = now, self.fleet.overview(now)
            return self._overview[1]

    def grid(self, days: str) -> Grid | None:
        """The charts of all cameras, drawn anew when there is a new verdict."""
        version = self.history.version
        drawn = self._grids.get(days)
        if drawn is None or drawn[0] != version:
            drawn = version, grid(self.history, SPANS[days], self.zone)
            self._grids[days] = drawn
        return drawn[1]

    def versions(self) -> Mapping[str, str]:
        """What changes when a page has to be shown anew, by subject."""
        self.refresh()
        now = datetime.now(UTC)
        events = self.events.version(now - timedelta(days=1))
        overview = self.overview()
        status = " ".join(f"{row.name}:{','.join(c.word for c in row.conditions)}" for row in overview.rows)
        return {
            "events": events,
            "drift": self.history.version,
            "learning": self.learning.version,
            "status": f"{status} {events} {self.history.version}",
        }
