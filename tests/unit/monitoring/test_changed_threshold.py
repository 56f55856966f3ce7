"""A camera's own threshold: a change in the middle of a day touches no baseline and no other camera."""

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from conftest import ROOT
from headhunt_svc.monitoring.baselines import Baselines
from headhunt_svc.monitoring.config import load_drift
from headhunt_svc.monitoring.run import Monitor, Paths, rebaseline
from headhunt_svc.monitoring.verdicts import FLEET
from helpers.log_rows import METADATA, START, rows, write

PARAMS = load_drift(ROOT / "monitoring" / "drift.yaml").model_copy(update={"draws": 12})
DAY = timedelta(days=1)


def day(number: int, camera: str, hours: range = range(20)) -> list[pa.Table]:
    start = START + number * DAY
    return [
        rows(16, camera, f"{number}-{h}.mp4", start + timedelta(hours=h), 100 * number + h, probed=1.0) for h in hours
    ]


def test_a_changed_threshold_leaves_baselines_and_other_cameras_as_they_are(tmp_path: Path) -> None:
    places = [
        Paths(str(folder / "log"), tmp_path / "b", folder / "none", folder / "out", folder / "workspace")
        for folder in (tmp_path / "same", tmp_path / "changed")
    ]
    write(places[0].log, *(table for n in range(2) for camera in ("yard", "dock") for table in day(n, camera)))
    for camera in ("yard", "dock"):
        query = PARAMS.query(START, START + DAY)
        rebaseline(places[0].log, Baselines(places[0].baselines), camera, query, PARAMS.min_segments, "")
    shutil.copytree(places[0].log, places[1].log)
    shutil.rmtree(Path(places[1].log) / f"day={(START + DAY).date()}" / "camera=yard")
    write(places[1].log, *day(1, "yard", range(12)))
    low = [
        table.set_column(table.schema.get_field_index("in_event"), "in_event", pc.greater(table["smoothed"], 0.1))
        for table in day(1, "yard", range(12, 20))
    ]
    write(places[1].log, *low, metadata=replace(METADATA, threshold=0.1))
    before, after = (Monitor(paths, PARAMS, pages=False).run(START + 2 * DAY) for paths in places)
    assert not after.excluded
    assert not after.problems
    assert after.cameras["dock"] == before.cameras["dock"]
    own, same = after.cameras["yard"], before.cameras["yard"]
    assert (own.segments, own.baseline, own.status) == (same.segments, same.baseline, same.status)
    assert own.event_rate > 5 * same.event_rate  # as it was logged
    assert own.signals["event_rate"].value < own.signals["event_rate"].limit
    assert (own.segments, own.status, after.cameras[FLEET].status) == (320, "fine", "fine")
