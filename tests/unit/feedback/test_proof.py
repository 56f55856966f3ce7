"""Proofs are read as they were written."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from headhunt_svc.errors import ArtifactError
from headhunt_svc.events.records import EventState
from headhunt_svc.feedback.proof import (
    PROOF_FILE,
    Change,
    DayEvents,
    Flip,
    HeldOutDay,
    Proof,
    TestSplit,
    Verdict,
    load_proof,
    save_proof,
)

DAY = date(2026, 3, 4)
PROOF = Proof(
    detector_id="b" * 12,
    from_detector_id="a" * 12,
    marks_sha256="c" * 64,
    marks=3,
    verdict=Verdict.BETTER,
    sentences=("the false alarms of yard fall",),
    test=(
        TestSplit(
            camera="yard",
            videos=4,
            bound=0.01,
            found_bound=0.05,
            roc_auc=Change(before=0.75, after=0.5, low=-0.5, high=0.0),
            average_precision=Change(before=0.25, after=0.5),
            found=Change(before=1.0, after=0.9),
            kinds={"fire": Change(before=0.5, after=0.5)},
            kinds_found={"fire": Change(before=1.0, after=1.0)},
            is_worse=True,
        ),
    ),
    held_out=(
        HeldOutDay(
            camera="yard",
            day=DAY,
            anomalous=False,
            events=1,
            segments=4,
            above_before=4,
            above_after=0,
            alarms_before=1,
            alarms_after=0,
        ),
    ),
    days=(DayEvents(camera="yard", day=DAY, hours=2.0, before=5, after=1),),
    flips=(
        Flip(
            event_id="e1",
            camera="yard",
            state=EventState.FALSE_ALARM,
            start=datetime(2026, 3, 4, 5, tzinfo=UTC),
            peak_before=0.9,
            peak_after=0.1,
            alarms_before=True,
            alarms_after=False,
            picture="data/events/e1.jpg",
        ),
    ),
    outvoted=("e2",),
)


def test_a_proof_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert load_proof(tmp_path) is None
    save_proof(tmp_path, PROOF)
    assert load_proof(tmp_path) == PROOF


def test_a_damaged_proof_is_named(tmp_path: Path) -> None:
    (tmp_path / PROOF_FILE).write_text('{"verdict": "splendid"}')
    with pytest.raises(ArtifactError, match=r"proof\.json.*recalibrate --from-events"):
        load_proof(tmp_path)


def test_the_difference_of_a_figure() -> None:
    assert Change(before=0.75, after=0.5).difference == -0.25
