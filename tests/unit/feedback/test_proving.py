"""Figures before and after, and the verdict."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from headhunt_svc.core.correction import CameraCorrection
from headhunt_svc.core.scoring import apply_scorer
from headhunt_svc.detector.cameras import CameraParts
from headhunt_svc.events.records import EventState
from headhunt_svc.events.store import EventStore
from headhunt_svc.feedback.marks import Marked, MarkQuery
from headhunt_svc.feedback.proof import Change, TestSplit, Verdict
from headhunt_svc.feedback.proving import (
    BOUND,
    FOUND_BOUND,
    LEAST,
    MOST_FOLDS,
    HeldOut,
    _folds,
    flips,
    held_out,
    more_marks,
    scorers_of,
    verdict_of,
)
from headhunt_svc.feedback.proving import (
    test_of as compare_test,
)
from headhunt_svc.feedback.recalibrate import Learner
from headhunt_svc.settings import EventSettings
from headhunt_svc.types import OperatingPoint
from helpers.feedback import DAYS, PARAMS, learn, mark, project


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    with EventStore.open(EventSettings(folder=tmp_path / "events", database=None)) as opened:
        yield opened


def test_test_videos_are_scored_as_the_camera_is(marked_site: ModuleType, store: EventStore, tmp_path: Path) -> None:
    mark(marked_site, store)
    result, data = (
        learn(marked_site, store, tmp_path / "new"),
        project(marked_site).test(PARAMS, marked_site.SITE.bundle),
    )
    (split,) = compare_test(data, result, OperatingPoint(0.0, 0.5), PARAMS.evaluate)
    scores = [apply_scorer(of, data.features.select(marked_site.SITE.heads)) for of in scorers_of(result, "yard")]
    # all segments are equally long, so frames weigh as segments do
    assert split.roc_auc.before == pytest.approx(roc_auc_score(data.labels, scores[0]))
    assert split.roc_auc.after == pytest.approx(roc_auc_score(data.labels, scores[1]))
    assert split.average_precision.after == pytest.approx(average_precision_score(data.labels, scores[1]))
    assert (split.camera, split.videos, split.bound, split.is_worse) == ("yard", 24, BOUND, False)
    assert split.kinds == {"fall": Change(before=split.roc_auc.before, after=split.roc_auc.after)}
    assert (split.found, split.kinds_found) == (Change(before=1, after=1), {"fall": Change(before=1, after=1)})
    assert split.roc_auc.low is not None
    assert split.roc_auc.high is not None
    assert split.roc_auc.low <= split.roc_auc.difference <= split.roc_auc.high


def test_marks_that_call_anomalies_harmless_are_worse_on_test_videos(
    marked_site: ModuleType, store: EventStore, tmp_path: Path
) -> None:
    mark(marked_site, store, anomalous=True)
    result, data = (
        learn(marked_site, store, tmp_path / "new"),
        project(marked_site).test(PARAMS, marked_site.SITE.bundle),
    )
    splits = compare_test(data, result, OperatingPoint(0.75, 0.5), PARAMS.evaluate)
    assert [split.is_worse for split in splits] == [True]
    assert splits[0].found.before == 1 > splits[0].found.after + FOUND_BOUND
    verdict, words, more = verdict_of(splits, held_out(result), 1, {})
    assert (verdict, more) == (Verdict.WORSE, None)
    assert any("on yard fall would be found worse" in word for word in words)


def test_each_day_is_judged_by_the_marks_of_other_days(
    marked_site: ModuleType, store: EventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark(marked_site, store)
    mark(marked_site, store, DAYS[:1], 1, EventState.CONFIRMED, anomalous=True, hour=15)
    result = learn(marked_site, store, tmp_path / "new")
    learnt: list[set[date]] = []
    correct = Learner.correct

    def spy(self: Learner, unmarked: CameraParts | None, marks: tuple[Marked, ...]) -> CameraCorrection:
        learnt.append({mark.event.day for mark in marks})
        return correct(self, unmarked, marks)

    monkeypatch.setattr(Learner, "correct", spy)
    judged = held_out(result)
    assert learnt == [set(DAYS) - {day} for day in DAYS]
    false_alarms = [row for row in judged.days if not row.anomalous]
    assert [(row.day, row.events, row.segments) for row in false_alarms] == [(day, 2, 8) for day in DAYS]
    assert all(row.alarms_before == 2 for row in false_alarms)
    left = sum(row.alarms_after for row in false_alarms)
    assert left == 0
    (confirmed,) = [row for row in judged.days if row.anomalous]
    assert (confirmed.day, confirmed.alarms_before, confirmed.alarms_after) == (DAYS[0], 1, 1)
    assert (judged.judged, judged.improved, judged.worsened) == (9, 8 - left, 0)
    assert verdict_of([], judged, 1, {})[0] == Verdict.BETTER


def test_marks_of_one_day_cannot_be_judged(marked_site: ModuleType, store: EventStore, tmp_path: Path) -> None:
    mark(marked_site, store, DAYS[:1])
    result = learn(marked_site, store, tmp_path / "new", MarkQuery())
    judged = held_out(result)
    assert judged == HeldOut((), 0, 0, 0)
    verdict, words, more = verdict_of([], judged, 1, {})
    assert (verdict, more) == (Verdict.TOO_FEW, LEAST)
    assert any("all of a camera are of one day" in word for word in words)
    assert any("marks of a second day" in word for word in words)


def test_no_day_is_left_out_twice_and_none_stays() -> None:
    days = [date(2026, 3, day) for day in range(1, 30)]
    folds = _folds(days)
    assert len(folds) == MOST_FOLDS
    assert sorted(day for fold in folds for day in fold) == days
    assert _folds(days[:1]) == []


def test_flips_are_marked_events_that_alarm_no_more(marked_site: ModuleType, store: EventStore, tmp_path: Path) -> None:
    events = mark(marked_site, store)
    mark(marked_site, store, DAYS[:1], 1, EventState.CONFIRMED, anomalous=True, hour=15)
    result = learn(marked_site, store, tmp_path / "new")
    rows = flips(result, {events[0].id: "a.jpg"})
    flipped = [row.event_id for row in rows]
    assert flipped == [event.id for event in events if event.id in flipped]
    assert len(flipped) == 8
    assert {row.picture for row in rows if row.event_id == events[0].id} <= {"a.jpg"}
    assert {row.picture for row in rows if row.event_id != events[0].id} == {None}
    threshold = marked_site.SITE.bundle.operating_point("f1").threshold
    assert all(row.alarms_before and row.peak_before > threshold >= row.peak_after for row in rows)
    assert all(row.state == "false_alarm" for row in rows)


def split(fall: float) -> TestSplit:
    change, same = Change(before=0.9, after=0.9 - fall), Change(before=0.5, after=0.5)
    return TestSplit(
        camera="yard",
        videos=9,
        bound=BOUND,
        found_bound=FOUND_BOUND,
        roc_auc=same,
        average_precision=change,
        found=same,
        kinds={},
        kinds_found={},
        is_worse=fall > BOUND,
    )


@pytest.mark.parametrize(
    ("fall", "judged", "improved", "worsened", "changed", "verdict", "more"),
    [
        (0.0, 9, 5, 0, 1, Verdict.BETTER, None),
        (0.02, 9, 9, 0, 1, Verdict.WORSE, None),
        (0.0, 9, 0, 5, 1, Verdict.WORSE, None),
        (0.0, 4, 4, 0, 1, Verdict.TOO_FEW, 1),
        (0.0, 3, 0, 0, 1, Verdict.TOO_FEW, 2),
        (0.0, 20, 0, 0, 1, Verdict.SAME, None),
        (0.0, 20, 3, 3, 1, Verdict.SAME, None),
        (0.0, 0, 0, 0, 0, Verdict.SAME, None),
    ],
)
def test_the_verdict(
    fall: float, judged: int, improved: int, worsened: int, changed: int, verdict: Verdict, more: int | None
) -> None:
    found, _, needed = verdict_of([split(fall)], HeldOut((), judged, improved, worsened), changed, {})
    assert (found, needed) == (verdict, more)


def test_so_many_more_marks_as_the_sign_test_takes() -> None:
    """With a share of a fifth improved and none worsened, five improved ones take 23 marks (4.5 is rounded up)."""
    more = more_marks(HeldOut((), 10, 2, 0))
    assert round((10 + more) * 0.2) == LEAST == 5
    assert round((9 + more) * 0.2) < LEAST
    assert more_marks(HeldOut((), 50, 4, 4)) == 0


def correction_of(overlooked: int, loss: float) -> CameraCorrection:
    cv = {"before": {"overlooked": loss + 1}, "0.5": {"overlooked": loss}}
    return CameraCorrection(np.zeros(1), 0.0, None, 0.5, (), cv, overlooked)


@pytest.mark.parametrize(("overlooked", "loss", "hunts"), [(5, 0.8, True), (5, 0.6, False), (4, 0.8, False)])
def test_where_marks_cannot_help_the_proof_says_to_hunt_again(overlooked: int, loss: float, hunts: bool) -> None:
    """The logarithm of 2 is the loss of what is on the fence."""
    corrections = {"yard": correction_of(overlooked, loss), "gate": correction_of(0, 0.1)}
    _, words, _ = verdict_of([], HeldOut((), 9, 0, 0), 1, corrections)
    assert any(word.startswith("of yard, 5") and "hunt heads again" in word for word in words) == hunts


def test_a_kind_that_fell_is_named_also_where_all_together_did_not() -> None:
    fell = Change(before=0.9, after=0.8)
    alone = split(0).model_copy(update={"kinds": {"fight": fell}, "kinds_found": {"fight": Change(before=1, after=1)}})
    _, words, _ = verdict_of([alone], HeldOut((), 9, 5, 0), 1, {})
    assert "of single kinds of anomaly, fight fell by more than that" in words
