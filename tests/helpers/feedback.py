"""Marks and recalibrations of the made-up site, as tests of feedback need them."""

import shutil
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from types import ModuleType

import numpy as np

from conftest import ROOT
from headhunt_svc.events.records import EventRecord, EventState
from headhunt_svc.events.store import EventStore
from headhunt_svc.feedback.marks import MarkQuery
from headhunt_svc.feedback.project import Project
from headhunt_svc.feedback.recalibrate import Recalibrated, recalibrate_from_events
from headhunt_svc.params import Params, load_params

DAYS = [date(2026, 3, day) for day in (1, 2, 3, 4)]
EVERY = MarkQuery()
PARAMS: Params = load_params(ROOT / "params.yaml")


def project(site: ModuleType) -> Project:
    folder = site.SITE.folder
    return Project(
        folder / "artifacts/index.parquet",
        folder / "artifacts/labels.parquet",
        folder / "data/features",
        folder / "data/test_features",
    )


def bundle(site: ModuleType) -> Path:
    return Path(site.SITE.folder / "artifacts" / "detector")


def lay_out(site: ModuleType, folder: Path) -> None:
    """Make a working folder of the site's project: commands that are run in it find everything where it is expected."""
    for name in ("artifacts/index.parquet", "artifacts/labels.parquet", "data/features", "data/test_features"):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).symlink_to(site.SITE.folder / name)
    (folder / "artifacts" / "detector").symlink_to(bundle(site))
    shutil.copy(ROOT / "params.yaml", folder)


def mark(
    site: ModuleType,
    store: EventStore,
    days: Sequence[date] = DAYS,
    per_day: int = 2,
    state: EventState | None = EventState.FALSE_ALARM,
    anomalous: bool = False,
    seed: int = 0,
    camera: str = "yard",
    hour: int = 12,
) -> list[EventRecord]:
    """Events of the harmless activity (or of an anomaly), so many a day."""
    rng, made = np.random.default_rng(seed), site.SITE
    move = made.anomaly if anomalous else made.harmless
    times = [datetime(d.year, d.month, d.day, hour, 10 * i, tzinfo=UTC) for d in days for i in range(per_day)]
    return [site.add_event(made, store, time, move, state, rng, camera=camera) for time in times]


def learn(
    site: ModuleType, store: EventStore, out: Path, query: MarkQuery = EVERY, of: Path | None = None
) -> Recalibrated:
    return recalibrate_from_events(PARAMS, store, project(site), of or bundle(site), out, query)
