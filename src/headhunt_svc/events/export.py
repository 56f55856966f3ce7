"""Writes events into a table, or into a folder with their pictures, clips and features."""

import csv
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from headhunt_svc.errors import ConfigError
from headhunt_svc.events.media import copy_if_there
from headhunt_svc.events.places import SUFFIX as PLACES
from headhunt_svc.events.records import EventFilter, EventRecord
from headhunt_svc.events.store import EventStore, NoSuchEventError
from headhunt_svc.storage.files import write_file, write_text

logger = logging.getLogger(__name__)
TABLE = "events.jsonl"
_PAGE = 500
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # spreadsheets run cells that begin so
_KINDS: dict[str, pa.DataType] = {
    **dict.fromkeys(
        ("start", "stop", "peak", "created", "marked", "described", "clip_start"), pa.timestamp("us", "UTC")
    ),
    **dict.fromkeys(("score", "threshold", "start_s"), pa.float64()),
    **dict.fromkeys(("picture", "clip", "features", "places", "interrupted"), pa.bool_()),
    "contributions": pa.list_(pa.float64()),
}
SCHEMA = pa.schema([(name, _KINDS.get(name, pa.string())) for name in EventRecord.model_fields])


def all_events(store: EventStore, which: EventFilter) -> Iterator[EventRecord]:
    """All events, the latest first, page by page."""
    after: str | None = None
    while page := store.list(which, after, _PAGE):
        yield from page
        after = page[-1].cursor


def export_events(store: EventStore, which: EventFilter, out: Path) -> int:
    """Write events; returns their number. One that is deleted meanwhile is not among them, and the log names it.

    out: a .csv, .jsonl or .parquet file; any other name is that of a folder, which also gets the files of the events.

    Raises:
        ConfigError: another ending. OutputError: it cannot be written.
    """
    events = list(all_events(store, which))
    if not out.suffix or out.is_dir():
        events = [event for event in events if _copy_files(store, event, out)]
        out = out / TABLE
    if out.suffix == ".jsonl":
        write_text(out, "".join(f"{event.model_dump_json()}\n" for event in events))
    elif out.suffix == ".csv":
        write_text(out, _csv(events))
    elif out.suffix == ".parquet":
        table = pa.Table.from_pylist([event.model_dump() for event in events], SCHEMA)
        write_file(out, lambda path: pq.write_table(table, path))
    else:
        raise ConfigError(f"{out}: events are written as .csv, .jsonl or .parquet, or into a folder")
    return len(events)


def _copy_files(store: EventStore, event: EventRecord, folder: Path) -> bool:
    """Copy the files of an event; returns whether there still is one."""
    try:
        picture, clip = store.picture(event.id), store.clip(event.id)
    except NoSuchEventError:
        logger.warning("%s is not in the export: it was deleted, or made a part of another event, meanwhile", event.id)
        return False
    features = store.media.path(event.id, ".safetensors") if event.features else None
    places = store.media.path(event.id, PLACES) if event.places else None
    for path in (picture, clip, features, places):
        if path is not None and not copy_if_there(path, folder / path.name):
            logger.warning("%s is not in the export: somebody has deleted it", path)
    return True


def _csv(events: list[EventRecord]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(EventRecord.model_fields), lineterminator="\n")
    writer.writeheader()
    for event in events:
        writer.writerow({name: _cell(value) for name, value in event.model_dump(mode="json").items()})
    return text.getvalue()


def _cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return json.dumps(value) if isinstance(value, list) else value
