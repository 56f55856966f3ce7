"""Changes an event that was just stored, also where another process makes it a part of another event meanwhile.

Then its id is gone, and only the key under which it was stored leads to the event that it belongs to now.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from headhunt_svc.events.records import EventRecord
from headhunt_svc.events.store import EventStore, NoSuchEventError


def change_part(
    store: EventStore, event: EventRecord, key: str, change: Callable[[EventRecord], EventRecord]
) -> EventRecord:
    """Change the event that was stored under a key, or the one that it has become a part of.

    Raises:
        NoSuchEventError: it was deleted meanwhile. OutputError, UnreachableError: see EventStore.
    """
    while True:
        try:
            return change(event)
        except NoSuchEventError:
            whole = store.found(key)
            if whole is None or whole.id == event.id:
                raise
            event = whole


def attach_part_clip(store: EventStore, event: EventRecord, key: str, path: Path, begins: datetime) -> EventRecord:
    """EventStore.attach_clip; the event that it has become a part of keeps its own clip, if it has one.

    Raises: as `change_part`.
    """

    def attach(now: EventRecord) -> EventRecord:
        return now if now.id != event.id and now.clip else store.attach_clip(now.id, path, begins)

    return change_part(store, event, key, attach)
