"""The last row of a camera in the prediction log: since when it is silent."""

from datetime import UTC, date, datetime
from functools import partial

import pyarrow as pa

from headhunt_svc.errors import ArtifactError, UnreachableError
from headhunt_svc.names import CameraName
from headhunt_svc.prediction_log.reading import partitions, read_partition
from headhunt_svc.prediction_log.schema import LogMetadata
from headhunt_svc.prediction_log.windows import seconds_of
from headhunt_svc.storage.store import Store
from headhunt_svc.storage.tables import open_parquet, read_table


def last_row(store: Store, camera: str, before: datetime, detector_id: str | None = None) -> datetime | None:
    """When a camera's last row before a time was recorded, whatever detector or that one has scored it; None: never.

    Files that cannot be read are left out, as in windows.

    Raises:
        UnreachableError: the store does not answer.
    """
    camera = CameraName(camera)
    for day in reversed(partitions(store, date.min, before.date(), camera).get(camera, [])):
        last = read_partition(store, day, partial(_last_of, store, before, detector_id))
        if times := [time for time in last if time is not None]:
            return datetime.fromtimestamp(max(times), UTC)
    return None


def _last_of(store: Store, before: datetime, detector_id: str | None, name: str) -> float | None:
    """The last time before another in a file, Unix time; None if there is none. Raises FileNotFoundError."""
    try:
        with store.open(name) as file:
            parquet = open_parquet(file)
            metadata = LogMetadata.from_parquet(parquet.schema_arrow.metadata, name)
            seconds = seconds_of(read_table(parquet, ["time"]))
    except FileNotFoundError:
        raise
    except (ArtifactError, OSError, UnreachableError, ValueError, KeyError, pa.ArrowException):
        return None
    earlier = seconds[seconds < before.timestamp()]
    return float(earlier.max()) if len(earlier) and detector_id in (None, metadata.detector_id) else None
