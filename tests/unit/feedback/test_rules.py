"""Automatic rollback and promotion: what the rules say, and that nothing happens without them."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from scipy.stats import poisson

from conftest import headhunt
from headhunt_svc.detector.bundle import load_bundle
from headhunt_svc.detector.deployments import Deployed, Version
from headhunt_svc.errors import ConfigError
from headhunt_svc.events.records import EventState
from headhunt_svc.events.store import EventStore
from headhunt_svc.feedback.proof import Proof, Verdict, save_proof
from headhunt_svc.feedback.rules import PromotionRule, RollbackRule, Rules, judge_promotion, judge_rollback, load_rules
from headhunt_svc.settings import EventSettings
from helpers.bundles import bundle, rebiased
from helpers.events import NOON, new

OLD, NEW = "a" * 12, "b" * 12


def version(detector_id: str, days: float, active: bool = False) -> Version:
    time = (NOON + timedelta(days=days)).isoformat()
    return Version(detector_id, Path("x"), time, "me", "", active, None)


HISTORY = [version(OLD, 0), version(NEW, 10, active=True)]


@pytest.mark.parametrize(
    ("old_marks", "new_marks", "days", "act"),
    [
        (10, 40, 5.0, "rollback"),  # 1 a day before, 8 since
        (10, 5, 5.0, None),
        (0, 4, 5.0, None),  # too few marks to say anything
        (0, 5, 0.1, "rollback"),  # never before, five within hours
        (10, 0, 0.0, None),
    ],
)
def test_more_false_alarms_than_the_one_before_lets_expect(
    old_marks: int, new_marks: int, days: float, act: str | None
) -> None:
    marks = {OLD: old_marks, NEW: new_marks}
    decision = judge_rollback(HISTORY, marks.__getitem__, NOON + timedelta(days=10 + days), RollbackRule())
    assert decision.act == act, decision.why
    assert f"{NEW} has {new_marks} false-alarm marks in {days:.2f} days" in decision.why


def test_a_detector_as_good_as_the_one_before_is_rarely_rolled_back() -> None:
    rng, acts = poisson(2 * 5.0), 0
    for seed in range(300):
        old_marks = int(poisson(2 * 10.0).rvs(random_state=seed))
        marks = {OLD: old_marks, NEW: int(rng.rvs(random_state=1000 + seed))}
        decision = judge_rollback(HISTORY, marks.__getitem__, NOON + timedelta(days=15), RollbackRule())
        acts += decision.act is not None
    assert acts <= 15  # 5 %


def test_nothing_to_go_back_to() -> None:
    now = NOON + timedelta(days=1)
    assert "nothing is in use" in judge_rollback([], lambda _: 9, now, RollbackRule()).why
    decision = judge_rollback([version(NEW, 0, True)], lambda _: 9, now, RollbackRule())
    assert (decision.act, "no detector was in use before" in decision.why) == (None, True)


def proof(detector_id: str, verdict: Verdict) -> Proof:
    return Proof(
        detector_id=detector_id, from_detector_id=OLD, marks_sha256="m", marks=12, verdict=verdict, sentences=()
    )


@pytest.mark.parametrize(
    ("verdict", "days", "events", "act"),
    [
        (Verdict.BETTER, 3, 20, "promote"),
        (Verdict.BETTER, 2, 20, None),
        (Verdict.BETTER, 3, 19, None),
        (Verdict.SAME, 9, 99, None),
        (None, 9, 99, None),
    ],
)
def test_promotion_takes_a_proof_days_and_events(
    verdict: Verdict | None, days: int, events: int, act: str | None
) -> None:
    given = None if verdict is None else proof("c" * 12, verdict)
    decision = judge_promotion(HISTORY, "c" * 12, given, lambda: (days, events), PromotionRule())
    assert decision.act == act, decision.why


def test_what_was_in_use_before_or_has_the_proof_of_another_is_not_promoted() -> None:
    again = judge_promotion(HISTORY, OLD, proof(OLD, Verdict.BETTER), lambda: (9, 99), PromotionRule())
    assert (again.act, "was in use before" in again.why) == (None, True)
    other = judge_promotion(HISTORY, "c" * 12, proof("e" * 12, Verdict.BETTER), lambda: (9, 99), PromotionRule())
    assert (other.act, "has no proof" in other.why) == (None, True)


def test_a_file_of_rules_is_off_by_default_and_checked(tmp_path: Path) -> None:
    assert load_rules(tmp_path) == Rules()
    (tmp_path / "rules.yaml").write_text("rollback: {min_marks: 3}\n")
    assert load_rules(tmp_path) == Rules(rollback=RollbackRule(min_marks=3))
    (tmp_path / "rules.yaml").write_text("rollback: {marks: 3}\n")
    with pytest.raises(ConfigError, match=r"rules.yaml: .*marks"):
        load_rules(tmp_path)


def test_the_command_promotes_and_rolls_back_as_the_rules_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = EventSettings(folder=tmp_path / "events")
    monkeypatch.setenv("HEADHUNT_EVENTS_FOLDER", str(events.folder))
    deployed = Deployed(tmp_path / "deployed")
    check = ("bundles", "check", "--log", tmp_path / "log", "--deployed", tmp_path / "deployed")
    old, better = bundle(tmp_path, "old", 1), rebiased(tmp_path, "better", 1)
    old_id = deployed.activate(old, "first")
    better_id = deployed.shadow(better, "")
    save_proof(better, proof(better_id, Verdict.BETTER))
    idle = headhunt(*check)
    assert (idle.returncode, idle.stdout, "nothing happens by itself" in idle.stderr) == (0, "", True)
    rules = tmp_path / "deployed" / "rules.yaml"
    rules.write_text("promotion: {days: 1, events: 0}\nrollback: {min_marks: 2}\n")
    waiting = headhunt(*check)
    assert (waiting.stdout, "not yet, 0 of 1 days" in waiting.stderr) == ("", True)

    # operators mark the candidate's events, once it is in use
    assert headhunt("bundles", "activate", "--candidate", "--deployed", tmp_path / "deployed").returncode == 0
    with EventStore.open(events) as store:
        for i in range(3):
            event = store.add(new(100.0 * i, 100.0 * i + 8, detector_id=better_id, key=str(i)), merge_s=None)
            store.mark(event.id, EventState.FALSE_ALARM, "me")
    lines = [json.loads(line) for line in deployed.log.read_text().splitlines()]
    lines[0]["time"] = (datetime.now(UTC) - timedelta(days=30)).isoformat(timespec="seconds")
    deployed.log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert headhunt(*check, "--dry-run").stdout == ""
    assert load_bundle(deployed.current)[0].detector_id == better_id
    done = headhunt(*check)
    assert (done.returncode, done.stdout.strip()) == (0, old_id), done.stderr
    assert load_bundle(deployed.current)[0].detector_id == old_id
    last = deployed.history()[-1]
    assert last.why.startswith(f"automatic: detector {better_id} has 3 false-alarm marks in ")
