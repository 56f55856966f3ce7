"""Days of the prediction log under another scorer."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest

from headhunt_svc.core.localization import smooth
from headhunt_svc.core.scoring import apply_scorer, novelty
from headhunt_svc.core.steady import without_steady
from headhunt_svc.events.rules import merged
from headhunt_svc.feedback.replay import LoggedFeatures, NoReplayError, last_days, replay_days, replay_rows
from headhunt_svc.prediction_log.schema import LogMetadata
from headhunt_svc.prediction_log.windows import WindowQuery, read_window
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


def standing(site: ModuleType, start: datetime, n: int) -> tuple[LogMetadata, pa.Table]:
    """n segments of a stream in which something strange stands all the time, as they are logged live."""
    made, rng = site.SITE, np.random.default_rng(5)
    rows = site._day(made, start.date(), n, 10**6, rng, "yard")
    towards = rng.normal(size=made.scorer.n_features)  # the regression does not know it
    towards -= (towards @ made.scorer.weight) / (made.scorer.weight @ made.scorer.weight) * made.scorer.weight
    z = (np.stack(rows["features"].to_pylist()) + 4 * towards).astype(np.float32)
    raw, new = apply_scorer(made.scorer, z), novelty(made.scorer, z)
    assert new is not None
    left = without_steady(raw, new, "causal")
    metadata = replace(site.log_days(made, str(made.folder / "unused"), [], 1, 1, rng), threshold=0.9)
    smoothed = smooth(left, metadata.sigma_segments, "causal")
    assert (raw > metadata.threshold).mean() > 0.9
    assert (smoothed[20:] < metadata.threshold).all()
    for name, values in (
        ("time", [start + timedelta(seconds=1.6 * i) for i in range(n)]),
        ("pass_id", ["stream"] * n),
        ("features", list(z)),
        ("raw", raw),
        ("novelty", new),
        ("smoothed", smoothed),
        ("in_event", smoothed > metadata.threshold),
    ):
        rows = column(rows, name, list(values))
    return metadata, rows


@pytest.mark.parametrize("days", [DAYS[:2], DAYS[1:2]])
def test_what_stands_there_since_the_day_before_is_no_event(
    marked_site: ModuleType, tmp_path: Path, days: list[date]
) -> None:
    midnight = datetime.combine(DAYS[1], time(), UTC)
    metadata, rows = standing(marked_site, midnight - timedelta(minutes=40), 1800)
    with PredictionLog(str(tmp_path), retention_days=36_500) as writer:
        assert writer.put(metadata, rows)
    scorers = marked_site.SITE.scorer, deaf(marked_site)
    counted = replay_days(Store(str(tmp_path)), "yard", days, which(marked_site), scorers, 10)
    learning = [(DAYS[0], 1)] if DAYS[0] in days else []  # when the stream began, nobody knew that it stands there
    assert [(row.day, row.before) for row in counted] == [*learning, (DAYS[1], 0)]
    assert counted[-1].hours == pytest.approx(300 * 1.6 / 3600)


def test_rows_after_lost_ones_are_no_reason_to_refuse_a_log(marked_site: ModuleType, tmp_path: Path) -> None:
    """The first rows of a stream are lost, so what is there all the time is not known for those that follow."""
    start = datetime.combine(DAYS[1], time(3), UTC)
    metadata, rows = standing(marked_site, start, 1200)
    with PredictionLog(str(tmp_path), retention_days=36_500) as writer:
        assert writer.put(metadata, rows.slice(400))
    scorers = marked_site.SITE.scorer, deaf(marked_site)
    [day] = replay_days(Store(str(tmp_path)), "yard", DAYS[1:2], which(marked_site), scorers, 10)
    assert day.before <= 1


def test_drawn_blocks_of_a_stream_in_which_something_stands_say_what_is_missing(
    marked_site: ModuleType, tmp_path: Path
) -> None:
    start = datetime.combine(DAYS[0], time(3), UTC)
    metadata, rows = standing(marked_site, start, 1600)
    with PredictionLog(str(tmp_path), retention_days=36_500) as writer:
        assert writer.put(metadata, rows)
    for n_drawn, raises in ((400, True), (1600, False)):
        query = WindowQuery(start, start + timedelta(days=1), None, 16, n_drawn)
        drawn = read_window(Store(str(tmp_path)), query).cameras["yard"]
        outcome = pytest.raises(NoReplayError, match="a larger sample_rows") if raises else nullcontext()
        with outcome:
            replay_rows(drawn, which(marked_site), marked_site.SITE.scorer, 16)


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
