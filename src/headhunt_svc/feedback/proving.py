"""Measures what a recalibrated bundle changes, and gives the verdict: see proof.py."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from jaxtyping import Bool, Float64
from scipy.stats import binomtest

from headhunt_svc.core.correction import CameraCorrection, corrected_scorer
from headhunt_svc.core.event_metrics import in_time
from headhunt_svc.core.metrics import COVERAGE, Counts, rank_figures, resamples
from headhunt_svc.core.protocol import ScoredVideo, counts_of
from headhunt_svc.core.scoring import apply_scorer
from headhunt_svc.detector.cameras import CameraParts, scorer_of
from headhunt_svc.errors import FeatureError
from headhunt_svc.events.records import EventState
from headhunt_svc.feedback.marks import Marked
from headhunt_svc.feedback.proof import Change, Flip, HeldOutDay, TestSplit, Verdict
from headhunt_svc.feedback.recalibrate import Recalibrated
from headhunt_svc.params import EvaluateParams
from headhunt_svc.pipeline.labelled_features import LabelledFeatures, videos_scored_by
from headhunt_svc.types import OperatingPoint, Scorer

BOUND = 0.01  # by so much ROC-AUC and AP of the test videos may fall
FOUND_BOUND = 0.05  # by so much the share of their true spans with an alarm
MOST_FOLDS = 10  # of days, for held-out marks
LEVEL = 0.05  # of the one-sided sign test over held-out marks
LEAST = math.ceil(math.log(LEVEL) / math.log(0.5))  # marks that all speak for one side tell it from chance


def scorer(fleet: Scorer, parts: CameraParts | None) -> Scorer:
    """The scorer of a camera."""
    return fleet if parts is None else scorer_of(fleet, parts)


# test videos


def compare_on_test(
    data: LabelledFeatures,
    camera: str,
    scorers: tuple[Scorer, Scorer],
    point: OperatingPoint,
    params: EvaluateParams,
) -> TestSplit:
    """Test videos scored as if they were of this camera, before and after, with paired intervals over videos.

    Raises:
        FeatureError: the test videos hold one class only.
    """
    before, after = (
        [v.smoothed(point.sigma_segments, point.smoothing) for v in videos_scored_by(s, data)] for s in scorers
    )
    auc, ap = _changes(counts_of(before), counts_of(after), params)
    kinds = sorted({kind for v in before for kind in v.record.kinds})
    of_kind = {kind: [i for i, v in enumerate(before) if kind in v.record.kinds] for kind in kinds}
    normal = [i for i, v in enumerate(before) if not v.record.is_anomalous]
    found = _found(before, after, point.threshold, range(len(before)))
    is_worse = min(auc.difference, ap.difference) < -BOUND or found.difference < -FOUND_BOUND
    return TestSplit(
        camera=camera,
        videos=len(before),
        bound=BOUND,
        found_bound=FOUND_BOUND,
        roc_auc=auc,
        average_precision=ap,
        found=found,
        kinds={kind: _auc(before, after, [*rows, *normal]) for kind, rows in of_kind.items()},
        kinds_found={kind: _found(before, after, point.threshold, rows) for kind, rows in of_kind.items()},
        is_worse=is_worse,
    )


def _found(
    before: Sequence[ScoredVideo], after: Sequence[ScoredVideo], threshold: float, rows: Iterable[int]
) -> Change:
    """The share of the true spans with an alarm."""
    shares = []
    for videos in (before, after):
        alarms = np.concatenate([in_time(videos[i].events(threshold), math.inf).any(0) for i in rows])
        shares.append(float(alarms.mean()))
    return Change(before=shares[0], after=shares[1])


def _changes(before: Counts, after: Counts, params: EvaluateParams) -> tuple[Change, Change]:
    """ROC-AUC and average precision; the resamples of videos are the same before and after."""
    whole = [rank_figures(*counts.totals())[:2] for counts in (before, after)]
    draws = []
    for weights in resamples(before.anomalous.shape[0], params.bootstrap, params.seed):
        pair = [rank_figures(*counts.totals(weights))[:2] for counts in (before, after)]
        draws.append(np.subtract(pair[1], pair[0]))
    differences = np.array(draws).reshape(-1, 2)
    differences = differences[np.isfinite(differences).all(1)]
    bounds = np.quantile(differences, COVERAGE, axis=0).T.tolist() if len(differences) else [(None, None)] * 2
    auc, ap = (Change(before=whole[0][i], after=whole[1][i], low=bounds[i][0], high=bounds[i][1]) for i in range(2))
    return auc, ap


def _auc(before: Sequence[ScoredVideo], after: Sequence[ScoredVideo], rows: Sequence[int]) -> Change:
    figures = [rank_figures(*counts_of([videos[i] for i in rows]).totals()).roc_auc for videos in (before, after)]
    return Change(before=figures[0], after=figures[1])


# held-out marks


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Marks judged by corrections that were learnt on other days.

    improved, worsened: events that the correction judges as their mark says and the scorer before did not, and the
    other way round. judged: events of cameras with marks on two days.
    """

    days: tuple[HeldOutDay, ...]
    judged: int
    improved: int
    worsened: int


def held_out(result: Recalibrated) -> HeldOut:
    """Leave out one day of marks after the other (or some days together, where there are many)."""
    rows: list[HeldOutDay] = []
    pairs: list[tuple[bool, bool]] = []
    for camera, marks in result.marks.cameras.items():
        for days in _folds(sorted({mark.event.day for mark in marks})):
            outside = [mark for mark in marks if mark.event.day in days]
            inside = tuple(mark for mark in marks if mark.event.day not in days)
            unmarked = result.unmarked[camera]
            correction = result.learner.correct(unmarked, inside)
            after = corrected_scorer(result.fleet, correction)
            before = scorer(result.fleet, unmarked)
            rows += _days(camera, outside, before, after)
            pairs += [(_is_right(mark, before), _is_right(mark, after)) for mark in outside]
    improved = sum(after and not before for before, after in pairs)
    worsened = sum(before and not after for before, after in pairs)
    return HeldOut(tuple(rows), len(pairs), improved, worsened)


def _folds(days: Sequence[date]) -> list[set[date]]:
    """Days that are left out together; none where there is one day only."""
    if len(days) < 2:
        return []
    n = min(MOST_FOLDS, len(days))
    return [set(days[i::n]) for i in range(n)]


def _above(mark: Marked, of: Scorer) -> Bool[np.ndarray, " segment"]:
    """Which of its segments are above the threshold that it was found with (single segments, not smoothed)."""
    return np.asarray(apply_scorer(of, mark.z) > mark.record.threshold)


def _is_right(mark: Marked, of: Scorer) -> bool:
    """Does the event alarm exactly if it was marked as an anomaly?"""
    return bool(_above(mark, of).any()) == mark.event.anomalous


def _days(camera: str, marks: Sequence[Marked], before: Scorer, after: Scorer) -> list[HeldOutDay]:
    rows = []
    for day in sorted({mark.event.day for mark in marks}):
        for anomalous in (False, True):
            of_day = [m for m in marks if m.event.day == day and m.event.anomalous == anomalous]
            if of_day:
                above = [[_above(mark, of) for mark in of_day] for of in (before, after)]
                segments = [sum(int(a.sum()) for a in side) for side in above]
                alarms = [sum(bool(a.any()) for a in side) for side in above]
                rows.append(
                    HeldOutDay(
                        camera=camera,
                        day=day,
                        anomalous=anomalous,
                        events=len(of_day),
                        segments=sum(mark.event.segments for mark in of_day),
                        above_before=segments[0],
                        above_after=segments[1],
                        alarms_before=alarms[0],
                        alarms_after=alarms[1],
                    )
                )
    return rows


# flips


def flips(result: Recalibrated, pictures: Mapping[str, str]) -> tuple[Flip, ...]:
    """Marked events that alarm before and not after, or the other way round; pictures: files by event."""
    rows = []
    for camera, marks in result.marks.cameras.items():
        before, after = scorers_of(result, camera)
        for mark in marks:
            flip = _flip(mark, before, after, pictures.get(mark.event.event_id))
            rows += [flip] if flip.alarms_before != flip.alarms_after else []
    return tuple(rows)


def _flip(mark: Marked, before: Scorer, after: Scorer, picture: str | None) -> Flip:
    peaks: list[Float64[np.ndarray, " segment"]] = [apply_scorer(of, mark.z) for of in (before, after)]
    return Flip(
        event_id=mark.event.event_id,
        camera=mark.event.camera,
        state=EventState(mark.event.state),
        start=mark.record.start,
        peak_before=float(peaks[0].max()),
        peak_after=float(peaks[1].max()),
        alarms_before=bool(_above(mark, before).any()),
        alarms_after=bool(_above(mark, after).any()),
        picture=picture,
    )


# the verdict


def verdict_of(
    test: Sequence[TestSplit], marks: HeldOut, changed: int, corrections: Mapping[str, CameraCorrection]
) -> tuple[Verdict, tuple[str, ...], int | None]:
    """The verdict, its words, and how many more marks are needed.

    changed: cameras with another scorer than before. corrections: what was learnt for each camera with marks.
    """
    words = [*_test_words(test), *_mark_words(marks), *_other_heads_words(corrections)]
    if not changed:
        return Verdict.SAME, (*words, "no camera's scores change"), None
    if any(split.is_worse for split in test):
        return Verdict.WORSE, tuple(words), None
    discordant = marks.improved + marks.worsened
    if discordant:
        p = [binomtest(n, discordant, alternative="greater").pvalue for n in (marks.improved, marks.worsened)]
        if p[1] <= LEVEL:
            return Verdict.WORSE, tuple(words), None
        if p[0] <= LEVEL:
            return Verdict.BETTER, tuple(words), None
    more = more_marks(marks)
    if more:
        words.append(
            f"about {more} more marks are needed to tell a gain from chance"
            + ("; marks of a second day, so that each day can be judged by the others" if not marks.judged else "")
        )
        return Verdict.TOO_FEW, tuple(words), more
    return Verdict.SAME, tuple(words), None


def more_marks(marks: HeldOut) -> int:
    """How many more marks, with the present share of improved ones, would tell a gain from chance; 0: none would."""
    n, net = marks.judged, marks.improved - marks.worsened
    if n < LEAST:
        return LEAST - n if net == n else max(LEAST - n, 1)
    if net <= 0:
        return 0
    for total in range(n + 1, 20 * n):
        improved = round(total * marks.improved / n)
        worsened = round(total * marks.worsened / n)
        if binomtest(improved, improved + worsened, alternative="greater").pvalue <= LEVEL:
            return total - n
    return 0


def _test_words(test: Sequence[TestSplit]) -> list[str]:
    words = []
    for split in test:
        change = (
            f"ROC-AUC {split.roc_auc.difference:+.3f}, AP {split.average_precision.difference:+.3f}, found spans "
            f"{split.found.difference:+.3f}"
        )
        fall = f"{'a' if split.is_worse else 'no'} fall of more than {split.bound:g} (spans: {split.found_bound:g})"
        words.append(f"test videos scored as {split.camera}: {change}, {fall}")
        lost = [kind for kind, found in split.kinds_found.items() if found.difference < -split.found_bound]
        lost += [kind for kind, auc in split.kinds.items() if auc.difference < -split.bound]
        if lost and split.is_worse:
            words.append(
                f"on {split.camera} {', '.join(sorted(set(lost)))} would be found worse: where that is what the marks "
                "call harmless there, `headhunt bundles activate --anyway`; else look at the marks, or hunt heads again"
            )
        elif lost:
            words.append(f"of single kinds of anomaly, {', '.join(sorted(set(lost)))} fell by more than that")
    return words


def _mark_words(marks: HeldOut) -> list[str]:
    if not marks.judged:
        return ["no mark could be judged by other days: all of a camera are of one day"]
    words = [
        f"of {marks.judged} marked events, each judged by marks of other days alone, {marks.improved} are as marked "
        f"and were not without marks, {marks.worsened} were and are not any more"
    ]
    anomalous = [row for row in marks.days if row.anomalous]
    confirmed, alarms = sum(row.events for row in anomalous), sum(row.alarms_after for row in anomalous)
    if confirmed:
        words.append(f"{alarms} of {confirmed} confirmed or missed events would raise an alarm then")
    return words


def _other_heads_words(corrections: Mapping[str, CameraCorrection]) -> list[str]:
    cameras = [camera for camera, correction in corrections.items() if correction.needs_other_heads]
    if not cameras:
        return []
    n = sum(corrections[camera].overlooked for camera in cameras)
    return [
        f"of {', '.join(cameras)}, {n} confirmed or missed events are mostly taken for normal, however much the others "
        "count: the heads do not hold what they show, so that more marks will not help; hunt heads again (`headhunt "
        "hunt-again`)"
    ]


def test_of(
    data: LabelledFeatures, result: Recalibrated, point: OperatingPoint, params: EvaluateParams
) -> list[TestSplit]:
    """Test videos under every camera whose scorer has changed.

    Raises:
        FeatureError: the test videos hold one class only.
    """
    if not data.labels.any() or data.labels.all():
        raise FeatureError("the test videos hold one class only")
    return [compare_on_test(data, camera, scorers_of(result, camera), point, params) for camera in result.changed]


def scorers_of(result: Recalibrated, camera: str) -> tuple[Scorer, Scorer]:
    """The scorers of a camera in the bundle before, and in the new one."""
    return (
        scorer(result.fleet, result.before.get(camera)),
        scorer(result.fleet, result.after.get(camera)),
    )
