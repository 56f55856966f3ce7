"""From marks to a new bundle with its proof, in one call: what `headhunt recalibrate --from-events` does."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from headhunt_svc.errors import ArtifactError, FeatureError, UnreachableError
from headhunt_svc.events.store import EventStore
from headhunt_svc.feedback.judged_again import Monitored, judged_again
from headhunt_svc.feedback.marks import MarkQuery, known_detectors
from headhunt_svc.feedback.project import Project
from headhunt_svc.feedback.proof import DayEvents, JudgedAgain, Proof, TestSplit, save_proof
from headhunt_svc.feedback.proving import flips, held_out, scorers_of, test_of, verdict_of
from headhunt_svc.feedback.recalibrate import Recalibrated, recalibrate_from_events
from headhunt_svc.feedback.replay import LoggedFeatures, NoReplayError, last_days, replay_days
from headhunt_svc.params import Params
from headhunt_svc.storage.locks import sole_writer
from headhunt_svc.storage.store import Store
from headhunt_svc.types import HeadRef

NO_LOG = (
    "no prediction log is given: set HEADHUNT_PREDICTION_LOG and HEADHUNT_LOG_FEATURES=all where videos are scored, or "
    "name it with --log"
)
NO_WINDOW = "no window was judged: the monitor has no verdict yet (`headhunt monitor run`)"


@dataclass(frozen=True, slots=True)
class Replayed:
    """The prediction log, and how many of its last days the proof replays. now: without it, the present.

    monitored: the window whose alarms are judged again; None: there is none, and no_windows may say why. merging:
    seconds by camera, below which two events are one; None: as the settings of the store say.
    """

    log: Store | None
    days: int = 7
    now: datetime | None = None
    monitored: Monitored | None = None
    no_windows: str | None = None
    merging: Callable[[str], float] | None = None


def recalibrated_with_proof(
    params: Params,
    store: EventStore,
    project: Project,
    bundle: Path,
    out: Path,
    query: MarkQuery,
    replayed: Replayed,
    used: tuple[Path, ...] = (),
) -> Proof:
    """Write the new bundle with marks.json and proof.json to `out`; used: see recalibrate_from_events.

    Raises:
        ConfigError, ArtifactError, UnreachableError: see recalibrate_from_events.
        OutputError: it cannot be written, or another process writes there.
    """
    with sole_writer(out):  # bundle, marks.json and proof.json are of one run
        result = recalibrate_from_events(params, store, project, bundle, out, query, used)
        test, no_test = _test(params, project, result)
        heads = tuple(HeadRef(*head) for head in result.old.heads)
        which = LoggedFeatures(known_detectors(result.old, used), heads, result.fleet.n_features)
        days, no_days = _days(result, replayed, which, replayed.merging or (lambda _: store.settings.merge_s))
        windows: tuple[JudgedAgain, ...] = ()
        no_windows = NO_LOG if replayed.log is None else replayed.no_windows or NO_WINDOW
        if replayed.monitored is not None:
            scorers = {camera: scorers_of(result, camera)[1] for camera in result.changed}
            windows = judged_again(replayed.monitored, which, scorers)
            until = f"{replayed.monitored.run.stop:%Y-%m-%d %H:%M}"
            no_windows = f"no camera that learns has an alarm of activity or view in the window until {until}"
        marks = held_out(result)
        verdict, sentences, more = verdict_of(test, marks, len(result.changed), result.corrections)
        proof = Proof(
            detector_id=result.new.detector_id,
            from_detector_id=result.old.detector_id,
            marks_sha256=result.marks.file().digest,
            marks=result.marks.count,
            verdict=verdict,
            sentences=(*sentences, *_other_words(result, days), *(window.words for window in windows)),
            more_marks=more,
            test=tuple(test),
            no_test=no_test,
            held_out=marks.days,
            days=tuple(days),
            no_days=no_days,
            flips=flips(result, _pictures(store, result)),
            windows=windows,
            no_windows=None if windows else no_windows,
            outvoted=result.outvoted,
        )
        save_proof(out, proof)
    return proof


def _test(params: Params, project: Project, result: Recalibrated) -> tuple[list[TestSplit], str | None]:
    """Figures of the test videos, or why there are none."""
    point = result.old.operating_point(result.old.default_point)
    try:
        return test_of(project.test(params, result.old), result, point, params.evaluate), None
    except (ArtifactError, FeatureError) as exc:
        return [], str(exc)


def _days(
    result: Recalibrated, replayed: Replayed, which: LoggedFeatures, merging: Callable[[str], float]
) -> tuple[list[DayEvents], str | None]:
    """Events per day of the cameras whose scorer has changed, or why there are none."""
    if replayed.log is None:
        return [], NO_LOG
    days = last_days(replayed.now or datetime.now(UTC), replayed.days)
    rows: list[DayEvents] = []
    reasons: list[str] = []
    for camera in result.changed:
        try:
            rows += replay_days(replayed.log, camera, days, which, scorers_of(result, camera), merging(camera))
        except (NoReplayError, UnreachableError) as exc:
            reasons.append(str(exc))
    return rows, "; ".join(dict.fromkeys(reasons)) or None


def _pictures(store: EventStore, result: Recalibrated) -> dict[str, str]:
    """The files of the pictures of marked events."""
    events = [mark.record for marks in result.marks.cameras.values() for mark in marks if mark.record.picture]
    return {event.id: str(store.media.path(event.id, ".jpg")) for event in events}


def _other_words(result: Recalibrated, days: list[DayEvents]) -> list[str]:
    words = []
    before, after = sum(row.before for row in days), sum(row.after for row in days)
    if days:
        n_days = len({row.day for row in days})
        words.append(f"in the last {n_days} logged days: {before} events, {after} with the new bundle")
    if result.outvoted:
        words.append(f"outvoted by the other marks of their camera: {', '.join(result.outvoted)}")
    for reason, events in result.marks.left_out.items():
        words.append(f"{len(events)} marked events are left out: {reason}")
    quiet = sorted(result.corrections.keys() - {n for n, parts in result.after.items() if parts.margin is not None})
    if quiet:
        words.append(f"the marks of {', '.join(quiet)} change nothing: they contradict each other or what is known")
    return words
