"""One run of the monitor: reads log and baselines; writes verdict, page, workspace and gauges."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np

from headhunt_svc.core.drift import prompt_figures
from headhunt_svc.errors import ArtifactError, ConfigError
from headhunt_svc.monitoring.baselines import Baseline, Baselines, load_rows
from headhunt_svc.monitoring.config import DriftParams
from headhunt_svc.monitoring.drift import Comparison, Judge, Judgement
from headhunt_svc.monitoring.heading import title_of
from headhunt_svc.monitoring.metrics import LAST_RUN, show
from headhunt_svc.monitoring.silence import Expected, with_silence
from headhunt_svc.monitoring.since import dated
from headhunt_svc.monitoring.verdicts import PAGE, VERDICT, CameraVerdict, Verdict, folder_name, read_verdict
from headhunt_svc.names import CameraName
from headhunt_svc.prediction_log.last_rows import last_row
from headhunt_svc.prediction_log.windows import Rows, Window, WindowQuery, note_missing_days, read_window
from headhunt_svc.storage.files import write_json
from headhunt_svc.storage.locks import exclusive
from headhunt_svc.storage.store import Store

ROWS = "day=*/camera=*/*.parquet"  # the files of a prediction log


@dataclass(frozen=True, slots=True)
class Paths:
    """Where the monitor reads and writes; reference: for cameras without a baseline of their own, if it exists."""

    log: str
    baselines: Path
    reference: Path
    out: Path
    workspace: Path


@dataclass(frozen=True, slots=True)
class UsableBaselines:
    """The baselines of one detector by camera, the common reference, and why others cannot be used."""

    cameras: dict[str, Baseline]
    reference: Baseline | None
    detector_id: str | None
    problems: tuple[str, ...]


def load_baselines(paths: Paths, detector_id: str | None = None) -> UsableBaselines:
    """Load the active baselines and the reference.

    Without a detector_id, the detector of the most baselines counts.
    """
    store, problems = Baselines(paths.baselines), []

    def load(version: str, read: Callable[[], Rows]) -> Baseline | None:
        try:
            return Baseline(version, read())
        except ArtifactError as exc:
            problems.append(str(exc))
            return None

    loaded = {camera: load(version, partial(store.load, camera, version)) for camera, version in store.active().items()}
    cameras = {camera: baseline for camera, baseline in loaded.items() if baseline}
    reference = load("reference", partial(load_rows, paths.reference)) if paths.reference.exists() else None
    detectors = [b.rows.metadata.detector_id for b in (*cameras.values(), *([reference] if reference else []))]
    detector_id = detector_id or max(detectors, key=detectors.count, default=None)
    for camera, baseline in list(cameras.items()):
        if (other := baseline.rows.metadata.detector_id) != detector_id:
            del cameras[camera]
            problems.append(
                f"the baseline of {camera} is of detector {other}, not {detector_id}: rebaseline, or activate {other}"
            )
    if reference is not None and (other := reference.rows.metadata.detector_id) != detector_id:
        problems.append(f"{paths.reference} is of detector {other}: run `dvc repro reference`")
        reference = None
    return UsableBaselines(cameras, reference, detector_id, tuple(problems))


class Monitor:
    """Runs once or repeatedly; keeps what the judge has measured of chance between runs."""

    def __init__(
        self,
        paths: Paths,
        params: DriftParams,
        pages: bool = True,
        detector_id: str | None = None,
        expected: Callable[[], Mapping[str, Expected]] = dict,
    ) -> None:
        """pages: also write Evidently's pages and runs; without them a run takes a fraction of the time.

        expected: the cameras that must have rows, and how often, as each run begins.
        """
        self.paths, self.params, self.pages, self.detector_id = paths, params, pages, detector_id
        self._expected = expected
        self._judge = Judge(params)

    def run(self, stop: datetime | None = None, now: datetime | None = None) -> Verdict:
        """Judge the window that ends at `stop` (default: now); the same window again replaces what is there.

        The verdict is written first: it needs neither page nor workspace.

        Raises:
            OutputError: something cannot be written.
            ArtifactError: the workspace cannot be read.
        """
        clock = now or datetime.now(UTC)
        stop = stop or clock
        start = stop - timedelta(hours=self.params.window_h)
        baselines = load_baselines(self.paths, self.detector_id)
        store = Store(self.paths.log)
        window = read_window(store, self.params.query(start, stop, baselines.detector_id, now))
        expected = self._expected()
        logged = note_missing_days(window, sorted({*baselines.cameras, *expected}), store)
        known = {*logged, *Baselines(self.paths.baselines).cameras(), *expected}
        judgement = self._judge.judge(window, baselines.cameras, baselines.reference, expected)

        def last_before(camera: str) -> datetime | None:
            return last_row(store, camera, start, baselines.detector_id)

        cameras = with_silence(judgement.cameras, window, expected, last_before)
        earlier, damaged = self._earlier(stop)
        verdict = self._verdict(window, baselines, cameras, {} if earlier is None else earlier.cameras)
        verdict = replace(
            verdict,
            problems=(*verdict.problems, *damaged),
            known=tuple(sorted(known)),
            expected=tuple(sorted(expected or (() if earlier is None else earlier.expected))),
            once_known=tuple(sorted((set() if earlier is None else earlier.names) - known - cameras.keys())),
        )
        self._write_verdict(verdict, clock)
        LAST_RUN.set(datetime.now(UTC).timestamp())
        show(verdict.cameras)
        if self.pages and judgement.comparisons:
            self._write_page(judgement, verdict)
        return verdict

    def run_every(self, minutes: float, report: Callable[[Verdict], object]) -> None:
        """Run at this interval until interrupted, and pass each verdict to `report`."""
        while True:
            began = time.monotonic()
            report(self.run())
            time.sleep(max(minutes * 60 - (time.monotonic() - began), 0.0))

    def _verdict(
        self,
        window: Window,
        baselines: UsableBaselines,
        cameras: Mapping[str, CameraVerdict],
        earlier: Mapping[str, CameraVerdict],
    ) -> Verdict:
        cameras = {name: dated(verdict, earlier.get(name)) for name, verdict in cameras.items()}
        alarms = [_alarm(name, verdict) for name, verdict in cameras.items() if verdict.kind]
        others: list[str] = []
        if baselines.detector_id and not window.cameras:
            others = sorted(d for d, n in window.detectors.items() if d != baselines.detector_id and n)
        verdict = Verdict(
            start=window.start,
            stop=window.stop,
            detector_id=baselines.detector_id,
            cameras=dict(cameras),
            excluded=dict(window.excluded),
            missing={camera: [d.isoformat() for d in days] for camera, days in window.missing.items()},
            problems=baselines.problems,
            other_detectors=tuple(others),
        )
        return replace(verdict, alarms=(*alarms, *verdict.general))

    def _earlier(self, stop: datetime) -> tuple[Verdict | None, list[str]]:
        """The latest verdict on an earlier window that can be read, and what is wrong with those after it."""
        problems: list[str] = []
        for name in sorted((name for name in self._windows() if name < folder_name(stop)), reverse=True):
            try:
                return read_verdict(self.paths.out / name / VERDICT), problems
            except ArtifactError as exc:
                problems.append(f"{exc}; since when alarms go on is taken from the window before")
        return None, problems

    def _windows(self) -> list[str]:
        """The folders of the windows with a verdict."""
        return [path.parent.name for path in self.paths.out.glob(f"*/{VERDICT}")]

    def _write_page(self, judgement: Judgement, verdict: Verdict) -> None:
        from headhunt_svc.monitoring.snapshot import MOST_CHARTS, add_run, save_page, take_snapshot, worst_of

        figures = {camera: _figures(comparison) for camera, comparison in judgement.comparisons.items()}
        snapshot = take_snapshot(judgement.comparisons, figures, verdict.stop, title_of(verdict))
        folder = self.paths.out / folder_name(verdict.stop)
        page = take_snapshot(worst_of(judgement.comparisons, MOST_CHARTS), {}, verdict.stop, title_of(verdict))
        save_page(folder / PAGE, page, verdict)
        add_run(self.paths.workspace, snapshot, verdict.stop)

    def _write_verdict(self, verdict: Verdict, now: datetime) -> None:
        """now: a window that ends later was judged while a clock was wrong, and is not the latest for ever."""
        folder = folder_name(verdict.stop)
        until = max(folder, folder_name(now))
        with exclusive(self.paths.out / f".{VERDICT}.lock"):  # or a monitor of an earlier window would write after us
            write_json(self.paths.out / folder / VERDICT, verdict.as_json())
            if folder == max(name for name in self._windows() if name <= until):  # and no earlier one, judged again
                write_json(self.paths.out / VERDICT, verdict.as_json())


def _alarm(name: str, verdict: CameraVerdict) -> str:
    return f"{name}: {verdict.word} since {verdict.since:%Y-%m-%d %H:%M} ({verdict.reason}): {verdict.remedy}"


def _figures(comparison: Comparison) -> dict[str, float]:
    """Plain figures of the window itself, for the dashboard."""
    current = comparison.current
    figures = {"share_in_event": current.event_rate, "mean_score": float(current.raw.mean())}
    for name in ("brightness", "sharpness"):
        values = getattr(current, name)
        if np.isfinite(values).any():
            figures[f"mean_{name}"] = float(np.nanmean(values))
    if len(current.probed) > 1:
        figures |= {f"mean_{name}": value for name, value in prompt_figures(current, comparison.threshold).items()}
    return {name: value for name, value in figures.items() if np.isfinite(value)}


def require_log(log: str) -> None:
    """Refuse a log that cannot be the right one, instead of calling it fine.

    Raises:
        ConfigError: there is no such log, or it holds no rows.
    """
    if not Store(log).glob(ROWS):
        raise ConfigError(
            f"{log} does not exist or holds no rows: name the log with --log or HEADHUNT_PREDICTION_LOG, "
            "and set HEADHUNT_PREDICTION_LOG where videos are scored"
        )


def rebaseline(log: str, baselines: Baselines, camera: str, query: WindowQuery, min_segments: int, reason: str) -> str:
    """Save a camera's rows as its new active baseline; returns the version.

    Raises:
        ConfigError: no log, or not enough rows of this camera.
    """
    require_log(log)
    camera, window = CameraName(camera), read_window(Store(log), query)
    rows = window.cameras.get(camera)
    n = 0 if rows is None else len(rows.table)
    if rows is None or n < min_segments:
        left_out = "; ".join(f"{count} left out: {why}" for why, count in window.excluded.items())
        raise ConfigError(
            f"{log} holds {n} segments of {camera} between {query.start:%Y-%m-%d %H:%M} and "
            f"{query.stop:%Y-%m-%d %H:%M}, {min_segments} are needed{f' ({left_out})' if left_out else ''}: "
            f"{_advice(camera, window)}"
        )
    return baselines.add(camera, rows, reason)


def _advice(camera: str, window: Window) -> str:
    """What to do where a camera has too few rows: its name may be mistyped."""
    if camera in window.cameras or not window.cameras:
        return "choose a longer time"
    return f"choose a longer time, or one of the cameras with rows: {', '.join(sorted(window.cameras))}"
