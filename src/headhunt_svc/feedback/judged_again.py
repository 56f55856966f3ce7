"""Judges the window of an alarm again, as the monitor would with the scores of another detector.

Window and baseline are replayed (replay.py) and judged by the monitor's own judge, with its limits, once with the
logged scores and once with the new ones: the same rows, so that only the scorer differs. What does not depend on the
scorer (pictures, features of heads) stays as it is, and what the log does not hold is not judged (other prompts).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from headhunt_svc.errors import ArtifactError, ConfigError, UnreachableError
from headhunt_svc.feedback.proof import JudgedAgain, SignalAgain
from headhunt_svc.feedback.replay import LoggedFeatures, NoReplayError, replay_rows
from headhunt_svc.monitoring.baselines import Baseline, Baselines
from headhunt_svc.monitoring.config import DriftParams, load_drift
from headhunt_svc.monitoring.drift import Judge
from headhunt_svc.monitoring.remedies import LEARNT_FROM
from headhunt_svc.monitoring.verdicts import VERDICT, CameraVerdict, Verdict, read_verdict
from headhunt_svc.prediction_log.windows import Rows, Window, read_window
from headhunt_svc.storage.store import Store
from headhunt_svc.types import Scorer

NO_BASELINE = "it has no baseline of its own"
_WINDOW = re.compile(r"[0-9]{8}T[0-9]{6}")  # monitoring.verdicts.folder_name
_MOST_NAMED = 10


@dataclass(frozen=True, slots=True)
class Monitored:
    """What the monitor has said of a window, and what it takes to say it again. config: the file of the limits."""

    run: Verdict
    baselines: Baselines
    config: Path
    log: Store

    @classmethod
    def load(cls, folder: Path, window: str | None, config: Path, log: Store) -> "Monitored | None":
        """folder: of the monitor. window: the name of its folder; None: the latest. None: nothing was judged yet.

        Raises:
            ConfigError: `window` is no name of a window. ArtifactError: there is no such window, or its verdict
                cannot be read.
        """
        verdicts = folder / "verdicts"
        if window is None:
            path = verdicts / VERDICT
            if not path.is_file():
                return None
        else:
            path = verdicts / window / VERDICT
            if _WINDOW.fullmatch(window) is None:
                raise ConfigError(f"{window!r} is no window: its name is like 20260302T000000{_existing(verdicts)}")
            if not path.is_file():
                raise ArtifactError(
                    f"{verdicts} has no verdict of the window {window}{_existing(verdicts)}: run `headhunt monitor run`"
                )
        return cls(read_verdict(path), Baselines(folder / "baselines"), config, log)

    def alarms(self, cameras: Iterable[str]) -> Iterator[CameraVerdict]:
        """The verdicts of these cameras that marks could explain."""
        verdicts = (self.run.cameras.get(camera) for camera in cameras)
        return (verdict for verdict in verdicts if verdict is not None and verdict.kind in LEARNT_FROM)


def _existing(verdicts: Path) -> str:
    """The windows with a verdict, in words: the latest of them."""
    names = sorted(path.parent.name for path in verdicts.glob(f"*/{VERDICT}"))
    latest = ", ".join(reversed(names[-_MOST_NAMED:]))
    return f"; there are {len(names)}, the latest first: {latest}" if names else "; there is none yet"


def judged_again(monitored: Monitored, which: LoggedFeatures, scorers: Mapping[str, Scorer]) -> tuple[JudgedAgain, ...]:
    """The window's alarms of these cameras, judged with their new scorers."""
    return tuple(_judged(monitored, verdict, which, scorers[verdict.camera]) for verdict in monitored.alarms(scorers))


def _judged(monitored: Monitored, stored: CameraVerdict, which: LoggedFeatures, scorer: Scorer) -> JudgedAgain:
    run = monitored.run
    result = JudgedAgain(
        camera=stored.camera, start=run.start, stop=run.stop, kind=str(stored.kind), baseline=stored.baseline
    )
    try:
        params = load_drift(monitored.config)
        rows, baseline = _window(monitored, params, stored.camera), _baseline(monitored, stored)
        windows = replay_rows(rows, which, scorer, params.block_segments)
        baselines = replay_rows(baseline, which, scorer, params.block_segments)
    except (NoReplayError, ConfigError, ArtifactError, UnreachableError) as exc:
        return result.model_copy(update={"why": str(exc)})
    before, after = (_verdict(run, params, stored.camera, *pair) for pair in zip(windows, baselines, strict=True))
    if before.status != "drift":
        what = before.why or "the rows that can be replayed do not alarm with the scores of before either"
        return result.model_copy(update={"why": what})
    beyond = [name for name, signal in stored.signals.items() if signal.value > signal.limit]
    signals = {
        str(name): SignalAgain(
            before=before.signals[name].value, after=signal.value, limit=signal.limit, is_over=signal.over
        )
        for name, signal in after.signals.items()
        if name in before.signals
    }
    unknown = tuple(name for name in beyond if name not in signals)
    return result.model_copy(
        update={"status": after.status, "kind_after": after.kind, "signals": signals, "not_judged": unknown}
    )


def _window(monitored: Monitored, params: DriftParams, camera: str) -> Rows:
    run = monitored.run
    query = replace(params.query(run.start, run.stop, run.detector_id), camera=camera)
    rows = read_window(monitored.log, query).cameras.get(camera)
    if rows is None:
        raise NoReplayError(f"the prediction log has no rows of {camera} in that window any more")
    return rows


def _baseline(monitored: Monitored, stored: CameraVerdict) -> Rows:
    version = stored.baseline
    if version is None or version not in monitored.baselines.versions(stored.camera):
        raise NoReplayError(NO_BASELINE)
    return monitored.baselines.load(stored.camera, version)


def _verdict(run: Verdict, params: DriftParams, camera: str, rows: Rows, baseline: Rows) -> CameraVerdict:
    window = Window(run.start, run.stop, {camera: rows})
    judgement = Judge(params).judge(window, {camera: Baseline("replayed", baseline)})
    return judgement.cameras[camera]
