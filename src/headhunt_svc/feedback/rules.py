"""Automatic promotion of a candidate and automatic rollback, as deployed/rules.yaml allows; without it there is none.

rollback: {min_marks: 5, level: 0.95}   # when the detector in use has more false-alarm marks than the one before it
promotion: {days: 3, events: 20}        # when the proof of the candidate says `better` and so much was compared
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from scipy.stats import poisson

from headhunt_svc.core.rates import poisson_interval
from headhunt_svc.detector.deployments import Version
from headhunt_svc.errors import ConfigError
from headhunt_svc.feedback.proof import Proof, Verdict
from headhunt_svc.sections import Section, first_problem, read_mapping

FILE = "rules.yaml"  # beside the links


class RollbackRule(Section):
    """min_marks: false alarms at least. level: of the old detector's bound, and of what it lets expect."""

    min_marks: int = Field(default=5, ge=1)
    level: float = Field(default=0.95, gt=0.5, lt=1)


class PromotionRule(Section):
    """days: on which both have scored something; events: of either detector, that were compared."""

    days: int = Field(default=3, ge=1)
    events: int = Field(default=20, ge=0)


class Rules(Section):
    """What happens without a person; None: nothing."""

    rollback: RollbackRule | None = None
    promotion: PromotionRule | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What a rule says: whether to act, and why or why not."""

    act: Literal["rollback", "promote"] | None
    why: str


def load_rules(folder: Path) -> Rules:
    """Read rules.yaml beside the links; no file, no rules. Raises ConfigError: it cannot be used."""
    path = folder / FILE
    if not path.exists():
        return Rules()
    try:
        return Rules.model_validate(read_mapping(path, "--deployed", tuple(Rules.model_fields)))
    except ValidationError as exc:
        raise ConfigError(f"{path}: {first_problem(exc)}") from exc


def judge_rollback(
    history: Sequence[Version], marks: Callable[[str], int], now: datetime, rule: RollbackRule
) -> Decision:
    """Has the detector in use more false-alarm marks than the bound of the one before lets expect?

    history: see Deployed.history. marks: false alarms among the stored events of a detector. The old one's rate is its
    marks over the days that it was in use; the bound is the upper end of its exact Poisson interval.
    """
    places = [i for i, version in enumerate(history) if version.active]
    if not places:
        return Decision(None, "rollback: nothing is in use")
    active = history[places[-1]]
    older = [version for version in history[: places[-1]] if version.detector_id != active.detector_id]
    if not older:
        return Decision(None, f"rollback: no detector was in use before {active.detector_id}")
    old = older[-1]
    days, old_days = (_days_in_use(history, version.detector_id, now) for version in (active, old))
    if not old_days:
        return Decision(None, f"rollback: detector {old.detector_id} was not in use for a moment, it has no bound")
    n, old_n = marks(active.detector_id), marks(old.detector_id)
    bound = poisson_interval(old_n, old_days, 2 * rule.level - 1)[1]
    most = int(poisson.ppf(rule.level, bound * days))
    figures = (
        f"detector {active.detector_id} has {n} false-alarm marks in {days:.2f} days; {old.detector_id} had {old_n} in "
        f"{old_days:.2f} days, at most {bound:.2f} a day, which lets expect no more than {most}"
    )
    if n >= rule.min_marks and n > most:
        return Decision("rollback", f"automatic: {figures}")
    return Decision(None, f"rollback: no, {figures}")


def _days_in_use(history: Sequence[Version], detector_id: str, now: datetime) -> float:
    """How long a detector was, and is, in use."""
    times = [*(datetime.fromisoformat(version.time) for version in history), now]
    spans = zip(history, times, times[1:], strict=False)
    return sum((stop - start).total_seconds() for one, start, stop in spans if one.detector_id == detector_id) / 86_400


def judge_promotion(
    history: Sequence[Version],
    candidate: str,
    proof: Proof | None,
    compared: Callable[[], tuple[int, int]],
    rule: PromotionRule,
) -> Decision:
    """May the candidate take over? compared: days and events that both have; asked for only where the rest is fine."""
    if any(version.detector_id == candidate for version in history):
        return Decision(None, f"promotion: no, detector {candidate} was in use before and is not any more")
    if proof is None or proof.detector_id != candidate:
        return Decision(None, f"promotion: no, detector {candidate} has no proof")
    if proof.verdict is not Verdict.BETTER:
        return Decision(None, f"promotion: no, detector {candidate} is `{proof.verdict}` by its proof")
    days, events = compared()
    figures = f"{days} of {rule.days} days and {events} of {rule.events} events compared"
    if days < rule.days or events < rule.events:
        return Decision(None, f"promotion: not yet, {figures}")
    return Decision("promote", f"automatic: `better` by its proof, {figures}")
