"""Days of the prediction log under another scorer."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest

from headhunt_svc.events.rules import merged
from headhunt_svc.feedback.replay import LoggedFeatures, NoReplayError, last_days, replay_days
from headhunt_svc.prediction_log.schema import LogMetadata
from headhunt_svc.prediction_log.writer import PredictionLog
from headhunt_svc.storage.store import Store
from headhunt_svc.types import Scorer
from helpers.feedback import DAYS

N, EVERY = 400, 50
Log = Callable[..., Store]


@pytest.fixture
def log(marked_site: ModuleType, tmp_path: Path) -> Log:
    """Writes a log; changed: what is done to the metadata and the rows of each day."""

    def write(changed: Callable[[LogMetadata, pa.Table], tuple[LogMetadata, pa.Table]] | None = None) -> Store:
        folder = str(tmp_path / "log")
        rng = np.random.default_rng(2)
        if changed is None:
            marked_site.log_days(marked_site.SITE, folder, DAYS[:2], N, EVERY, rng)
        else:
            plain = marked_site.log_days(marked_site.SITE, str(tmp_path / "plain"), [], N, EVERY, rng)
            with PredictionLog(folder, retention_days=36_500) as writer:
                for day in DAYS[:2]:
                    rows = marked_site._day(marked_site.SITE, day, N, EVERY, rng, "yard")
                    assert writer.put(*changed(plain, rows))
        return Store(folder)

    return write


def which(site: ModuleType, **changed: object) -> LoggedFeatures:
    made = site.SITE
    usual = LoggedFeatures(frozenset({made.bundle.detector_id}), made.heads, made.scorer.n_features)
    return replace(usual, **changed)  # type: ignore[arg-type]


def deaf(site: ModuleType) -> Scorer:
    """A scorer that never alarms."""
    return replace(site.SITE.scorer, bias=-1e6)


def column(table: pa.Table, name: str, values: list[object]) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(name), pa.array(values, table.schema.field(name).type))


def test_events_a_day_before_and_after(marked_site: ModuleType, log: Log) -> None:
    scorers = marked_site.SITE.scorer, deaf(marked_site)
    rows = replay_days(log(), "yard", DAYS, which(marked_site), scorers, 10)
    assert [(row.day, row.before, row.after) for row in rows] == [(day, N // EVERY, 0) for day in DAYS[:2]]
    assert [row.hours for row in rows] == pytest.approx([N * 1.6 / 3600] * 2)


def test_the_events_are_those_that_were_logged(marked_site: ModuleType, log: Log) -> None:
    """Runs of `in_event` in the log, closer ones as one, are the events before."""
    store = log()
    rng = np.random.default_rng(2)
    table = marked_site._day(marked_site.SITE, DAYS[0], N, EVERY, rng, "yard")
    above, starts = np.array(table["in_event"]), np.array(table["start_s"])
    edges = np.flatnonzero(np.diff(above.astype(int), prepend=0, append=0)).reshape(-1, 2)
    runs = [(starts[a], starts[b - 1] + 1.6) for a, b in edges]
    scorers = marked_site.SITE.scorer, deaf(marked_site)
    for merge_s in (0, 10, 75, 1e6):
        first = replay_days(store, "yard", DAYS[:1], which(marked_site), scorers, merge_s)[0]
        expected = 1 + sum(b[0] - a[1] >= merge_s for a, b in pairwise(runs))
        assert first.before == expected, merge_s


def test_closer_runs_are_one_event() -> None:
    runs = [(30.0, 40.0), (0.0, 10.0), (15.0, 20.0), (16.0, 18.0)]
    assert merged(runs, 5) == [(0.0, 10.0), (15.0, 20.0), (30.0, 40.0)]
    assert merged(runs, 5.1) == [(0.0, 20.0), (30.0, 40.0)]
    assert merged(runs, 11) == [(0.0, 40.0)]
    assert merged([], 1) == []


def test_a_missing_segment_ends_an_event(marked_site: ModuleType, log: Log) -> None:
    def holes(metadata: LogMetadata, rows: pa.Table) -> tuple[LogMetadata, pa.Table]:
        kept = np.arange(len(rows)) % EVERY != EVERY - 2  # within every event
        return replace(metadata, sigma_segments=0.0), column(
            rows.filter(pa.array(kept)), "smoothed", list(np.array(rows["raw"])[kept])
        )

    scorers = marked_site.SITE.scorer, deaf(marked_site)
    rows = replay_days(log(holes), "yard", DAYS, which(marked_site), scorers, 1)
    assert [row.before for row in rows] == [2 * N // EVERY] * 2


def test_rows_that_were_logged_twice_count_once(marked_site: ModuleType, log: Log) -> None:
    def twice(metadata: LogMetadata, rows: pa.Table) -> tuple[LogMetadata, pa.Table]:
        return metadata, pa.concat_tables([rows, rows]).unify_dictionaries()

    scorers = marked_site.SITE.scorer, deaf(marked_site)
    rows = replay_days(log(twice), "yard", DAYS, which(marked_site), scorers, 10)
    assert [row.before for row in rows] == [N // EVERY] * 2
    assert rows[0].hours == pytest.approx(N * 1.6 / 3600)


def test_a_file_that_was_scored_at_once_has_the_times_of_its_footage(marked_site: ModuleType, log: Log) -> None:
    def at_once(metadata: LogMetadata, rows: pa.Table) -> tuple[LogMetadata, pa.Table]:
        return metadata, column(rows, "time", [rows["time"][0].as_py()] * len(rows))

    scorers = marked_site.SITE.scorer, deaf(marked_site)
    rows = replay_days(log(at_once), "yard", DAYS, which(marked_site), scorers, 10)
    assert [row.before for row in rows] == [N // EVERY] * 2


def test_what_cannot_be_replayed_says_why(marked_site: ModuleType, log: Log) -> None:
    scorers = marked_site.SITE.scorer, deaf(marked_site)
    store = log()
    for camera, logged, reason in (
        ("door", which(marked_site), "has no rows of door"),
        ("yard", which(marked_site, detectors=frozenset()), "whose features this bundle cannot use"),
        ("yard", which(marked_site, heads=marked_site.SITE.heads[::-1]), "whose features this bundle cannot use"),
        ("yard", which(marked_site, width=3), "rows of the prediction log have no whole features"),
    ):
        with pytest.raises(NoReplayError, match=reason):
            replay_days(store, camera, DAYS, logged, scorers, 10)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m, rows: (replace(m, features="projected"), rows), "set HEADHUNT_LOG_FEATURES=all"),
        (lambda m, rows: (m, column(rows, "smoothed", [0.5] * len(rows))), "cannot be computed again"),
    ],
)
def test_a_log_that_does_not_hold_what_it_takes(
    change: Callable[..., tuple[LogMetadata, pa.Table]], reason: str, marked_site: ModuleType, log: Log
) -> None:
    scorers = marked_site.SITE.scorer, deaf(marked_site)
    with pytest.raises(NoReplayError, match=reason):
        replay_days(log(change), "yard", DAYS, which(marked_site), scorers, 10)


def test_the_last_days() -> None:
    assert last_days(datetime(2026, 3, 1, 5, tzinfo=UTC), 2)[1].isoformat() == "2026-02-28"
