"""The window of an alarm under a candidate that has learnt from marks, by the monitor's own judge."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest
import yaml
from numpy.testing import assert_allclose

from conftest import ROOT
from headhunt_svc import paths
from headhunt_svc.core.localization import smooth
from headhunt_svc.core.scoring import apply_scorer, novelty
from headhunt_svc.core.steady import without_steady
from headhunt_svc.errors import ArtifactError, ConfigError
from headhunt_svc.events.records import EventState
from headhunt_svc.events.store import EventStore
from headhunt_svc.feedback.judged_again import NO_BASELINE, Monitored, judged_again
from headhunt_svc.feedback.proof import JudgedAgain, load_proof
from headhunt_svc.feedback.proving import scorers_of
from headhunt_svc.feedback.replay import LoggedFeatures, replay_rows
from headhunt_svc.monitoring.baselines import Baselines
from headhunt_svc.monitoring.config import load_drift
from headhunt_svc.monitoring.run import Monitor, Paths, rebaseline
from headhunt_svc.prediction_log.windows import WindowQuery, read_window
from headhunt_svc.prediction_log.writer import PredictionLog
from headhunt_svc.settings import EventSettings
from headhunt_svc.storage.store import Store
from headhunt_svc.types import Scorer, Smoothing
from helpers.commands import command
from helpers.feedback import DAYS, lay_out, learn, mark

N, NEVER, SELDOM, OFTEN = 600, 10**6, 40, 10  # every so many segments, something goes on for four
STOP = datetime(2026, 3, 3, tzinfo=UTC)  # of the window: all of the second day


@pytest.fixture
def folder(marked_site: ModuleType, tmp_path: Path) -> Path:
    lay_out(marked_site, tmp_path)
    (tmp_path / "monitoring").mkdir()
    (tmp_path / paths.DRIFT).write_text((ROOT / paths.DRIFT).read_text())
    return tmp_path


def watch(site: ModuleType, folder: Path, anomalous: bool = False, **changed: int) -> str | None:
    """A day with a few anomalies, which becomes the baseline, and one on which something also goes on more often.

    Returns the kind of the monitor's alarm. anomalous: is it an anomaly? changed: of drift.yaml.
    """
    rng, made, log = np.random.default_rng(4), site.SITE, str(folder / "log")
    shown = replace(made, harmless=made.anomaly)
    metadata = site.log_days(made, log, [], N, NEVER, rng)
    with PredictionLog(log, retention_days=36_500) as writer:
        for day, every in zip(DAYS[:2], (NEVER, OFTEN), strict=True):
            usual = site._day(shown, day, N, SELDOM, rng, "yard")
            also = site._day(shown if anomalous else made, day, N, every, rng, "yard")
            place = also.schema.get_field_index("pass_id")
            passes = pa.array([f"also {day}"] * N).dictionary_encode()
            assert writer.put(metadata, usual)
            assert writer.put(metadata, also.set_column(place, also.schema.field(place), passes))
    config = folder / paths.DRIFT
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | changed))
    params, root = load_drift(config), folder / paths.MONITOR
    baselines = Baselines(root / "baselines")
    rebaseline(log, baselines, "yard", params.query(STOP - timedelta(days=2), STOP - timedelta(days=1)), 100, "good")
    places = Paths(log, baselines.folder, root / "no", root / "verdicts", root / "workspace")
    return Monitor(places, params, pages=False).run(STOP).cameras["yard"].kind


def learnt(site: ModuleType, folder: Path, *options: str) -> JudgedAgain:
    with EventStore.open(EventSettings(folder=folder / "data" / "events", database=None)) as store:
        mark(site, store)
        mark(site, store, DAYS[:1], 1, EventState.CONFIRMED, anomalous=True, hour=15)
    done = command("recalibrate", "--from-events", "--out", "new", "--log", "log", *options, cwd=folder)
    assert done.code == 0, done.err
    proof = load_proof(folder / "new")
    assert proof is not None
    assert proof.windows[0].words in done.out
    return proof.windows[0]


def test_an_alarm_that_marks_explain_is_over_with_the_candidate(marked_site: ModuleType, folder: Path) -> None:
    assert watch(marked_site, folder, draws=10) == "activity"
    window = learnt(marked_site, folder, "--window", "20260303T000000")
    assert (window.camera, window.kind, window.stop, window.status) == ("yard", "activity", STOP, "fine")
    assert window.is_over
    assert window.signals["event_rate"].before > window.signals["event_rate"].limit
    assert window.signals["event_rate"].after < 0.05
    assert window.signals["heads"].after == window.signals["heads"].before  # the features are the same
    assert window.words == "yard, activity in the window until 2026-03-03 00:00: fine with the new bundle"


def which(site: ModuleType) -> LoggedFeatures:
    made = site.SITE
    return LoggedFeatures(frozenset({made.bundle.detector_id}), made.heads, made.scorer.n_features)


def again(site: ModuleType, folder: Path, scorer: Scorer) -> JudgedAgain:
    monitored = Monitored.load(folder / paths.MONITOR, None, folder / paths.DRIFT, Store(str(folder / "log")))
    assert monitored is not None
    return judged_again(monitored, which(site), {"yard": scorer, "door": scorer})[0]


def test_an_alarm_that_marks_do_not_explain_stays(marked_site: ModuleType, folder: Path) -> None:
    assert watch(marked_site, folder, anomalous=True, draws=10) == "activity"
    with EventStore.open(EventSettings(folder=folder / "data" / "events", database=None)) as store:
        mark(marked_site, store, DAYS[:2], 1)
        result = learn(marked_site, store, folder / "new")
    window = again(marked_site, folder, scorers_of(result, "yard")[1])
    assert (window.status, window.kind_after, window.is_over) == ("drift", "activity", False)
    assert "activity with the new bundle: " in window.words
    assert f"event_rate 0.20, now {window.signals['event_rate'].after:.2f} > 0.15" in window.words


def test_what_is_missing_is_named(marked_site: ModuleType, folder: Path) -> None:
    places = folder / paths.MONITOR, None, folder / paths.DRIFT, Store(str(folder / "log"))
    assert Monitored.load(*places) is None
    with pytest.raises(ArtifactError, match="run `headhunt monitor run`"):
        Monitored.load(places[0], "20200101T000000", *places[2:])
    assert watch(marked_site, folder, draws=10) == "activity"
    with pytest.raises(ArtifactError, match="there are 1, the latest first: 20260303T000000"):
        Monitored.load(places[0], "20200101T000000", *places[2:])
    for name in ("", "../../x", "20260303T000000/", "20260303T000000\n"):
        with pytest.raises(ConfigError, match=r"is no window: .*20260303T000000"):
            Monitored.load(places[0], name, *places[2:])
    verdict = folder / paths.MONITOR / "verdicts" / "verdict.json"
    document = json.loads(verdict.read_text())
    yard = document["cameras"]["yard"]
    for change, words in (
        ({"baseline": "reference"}, NO_BASELINE),
        ({"signals": {"flip_rate": {"value": 1, "limit": 0.2, "chance": 0}}}, "flip_rate cannot be replayed"),
    ):
        verdict.write_text(json.dumps(document | {"cameras": {"yard": yard | change}}))
        assert words in again(marked_site, folder, marked_site.SITE.scorer).words
    verdict.write_text(json.dumps(document | {"start": "2026-02-01T00:00Z", "stop": "2026-02-02T00:00Z"}))
    window = again(marked_site, folder, marked_site.SITE.scorer)
    assert "not judged again: the prediction log has no rows of yard in that window" in window.words


@pytest.mark.parametrize("smoothing", ["causal", "offline"])
def test_rows_at_the_ends_of_drawn_blocks_are_left_out(
    marked_site: ModuleType, tmp_path: Path, smoothing: Smoothing
) -> None:
    """The others are scored and smoothed as the whole day is."""
    made, block = marked_site.SITE, 16
    rows = marked_site._day(made, DAYS[0], N, OFTEN, np.random.default_rng(4), "yard")
    metadata = replace(
        marked_site.log_days(made, str(tmp_path), [], 1, 1, np.random.default_rng(0)), sigma_segments=1.5
    )
    place = rows.schema.get_field_index("smoothed")
    logged = smooth(np.array(rows["raw"]), 1.5, smoothing)
    rows = rows.set_column(place, rows.schema.field(place), pa.array(logged))
    with PredictionLog(str(tmp_path), retention_days=36_500) as writer:
        assert writer.put(metadata, rows)
    day = datetime(2026, 3, 1, tzinfo=UTC)
    query = WindowQuery(day, day + timedelta(days=1), None, block, N // 2)
    drawn = read_window(Store(str(tmp_path)), query).cameras["yard"]
    lower = replace(made.scorer, bias=made.scorer.bias - 2)
    assert lower.normality is not None
    other = replace(lower, normality=replace(lower.normality, ignores_steady=False))
    before, after = replay_rows(drawn, which(marked_site), other, block)
    z = np.stack(rows["features"].to_pylist())
    whole = smooth(apply_scorer(other, z), 1.5, smoothing)
    kept = np.array(after.table["segment"])
    assert 0 < len(kept) < len(drawn.table) < N
    assert_allclose(np.array(after.table["smoothed"]), whole[kept], atol=1e-9)
    assert_allclose(np.array(before.table["smoothed"]), logged[kept])
    assert after.events == int((whole[kept] > metadata.threshold).sum())
    assert after.total == before.total == len(kept)
    _, after = replay_rows(drawn, which(marked_site), lower, block)  # all the time: as far as it is drawn
    left = smooth(without_steady(apply_scorer(lower, z), novelty(lower, z), smoothing), 1.5, smoothing)
    assert_allclose(np.array(after.table["smoothed"]), left[kept], atol=0.05)
