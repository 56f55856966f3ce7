"""The last row of a camera in the prediction log: since when it is silent."""

import glob
from datetime import UTC, datetime

import pyarrow as pa

from headhunt_svc.errors import ArtifactError, UnreachableError
from headhunt_svc.names import CameraName
from headhunt_svc.prediction_log.schema import LogMetadata
from headhunt_svc.prediction_log.windows import is_part, seconds_of
from headhunt_svc.storage.store import Store
from headhunt_svc.storage.tables import open_parquet, read_table


def last_row(store: Store, camera: str, before: datetime, detector_id: str | None = None) -> datetime | None:
    """When a camera's last row before a time was recorded, whatever detector or that one has scored it; None: never.

    Files that cannot be read are left out, as in windows.
    """
    days: dict[str, list[str]] = {}
    for name in store.glob(f"day=*/camera={glob.escape(CameraName(camera).folder)}/*.parquet"):
        if is_part(name) and name.partition("/")[0] <= f"day={before.date().isoformat()}":
            days.setdefault(name.partition("/")[0], []).append(name)
    for day in sorted(days, reverse=True):
        times = [time for name in days[day] if (time := _last_of(store, name, before, detector_id)) is not None]
        if times:
            return datetime.fromtimestamp(max(times), UTC)
    return None


def _last_of(store: Store, name: str, before: datetime, detector_id: str | None) -> float | None:
    """The last time before another in a file, Unix time."""
    try:
        with store.open(name) as file:
            parquet = open_parquet(file)
            metadata = LogMetadata.from_parquet(parquet.schema_arrow.metadata, name)
            seconds = seconds_of(read_table(parquet, ["time"]))
    except (ArtifactError, OSError, UnreachableError, ValueError, KeyError, pa.ArrowException):
        return None
    earlier = seconds[seconds < before.timestamp()]
    return float(earlier.max()) if len(earlier) and detector_id in (None, metadata.detector_id) else None
