"""Rows of a window beside those of its baseline, for an alarm's page: histograms, and when pictures were taken."""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup

from headhunt_svc.console import charts
from headhunt_svc.console.places import Places
from headhunt_svc.errors import ArtifactError
from headhunt_svc.monitoring.baselines import Baselines, load_rows
from headhunt_svc.prediction_log.stretches import between, days_between, read_stretch
from headhunt_svc.storage.store import Store

COLUMNS = {"raw": "scores", "brightness": "light", "sharpness": "sharpness"}


@dataclass(frozen=True, slots=True)
class Compared:
    """Histograms by title. start, stop: of the baseline's rows. problem: why there is nothing to show."""

    histograms: tuple[tuple[str, Markup], ...] = ()
    n_window: int = 0
    n_baseline: int = 0
    start: datetime | None = None
    stop: datetime | None = None
    problem: str = ""


@lru_cache(maxsize=64)
def compare(
    places: Places, camera: str, start: datetime, stop: datetime, detector_id: str, baseline: str, written: str
) -> Compared:
    """A camera's window beside its baseline. written: when the verdict was; a window that is judged again is new.

    Raises:
        UnreachableError: the log's store does not answer.
    """
    try:
        rows = (
            load_rows(places.reference)
            if baseline == "reference"
            else Baselines(places.baselines).load(camera, baseline)
        )
    except ArtifactError as exc:
        return Compared(problem=str(exc))
    stretch = read_stretch(Store(places.log), camera, days_between(start, stop), ["detector_id", *COLUMNS])
    table = between(stretch.table, start, stop)
    table = table.filter(pc.equal(pc.cast(table["detector_id"], pa.string()), detector_id))
    if len(table) == 0:
        return Compared(problem=f"{places.log} holds no rows of this window any more")
    histograms = []
    for column, title in COLUMNS.items():
        window, base = (np.asarray(t[column].to_numpy(), np.float64) for t in (table, rows.table))
        data = charts.histogram_of(window, base)
        if data is not None:
            label = f"{title}: mean {np.nanmean(window):.3g} in the window, {np.nanmean(base):.3g} in the baseline"
            histograms.append((title, charts.histogram(data, label)))
    times = rows.table["time"]
    return Compared(tuple(histograms), len(table), len(rows.table), pc.min(times).as_py(), pc.max(times).as_py())
