"""One run of the monitor: log and baselines in; verdict, pages, workspace and gauges out."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from headhunt_svc.core.drift import Sample, prompt_figures
from headhunt_svc.errors import ArtifactError, ConfigError
from headhunt_svc.monitoring.baselines import Baseline, Baselines, load_rows
from headhunt_svc.monitoring.config import DriftParams
from headhunt_svc.monitoring.diagnosis import REMEDY
from headhunt_svc.monitoring.drift import CameraVerdict, Comparison, Judge
from headhunt_svc.monitoring.metrics import ALARM, LAST_RUN, LIMIT, SIGNAL
from headhunt_svc.prediction_log.windows import Window, name_missing, read_window
from headhunt_svc.storage.files import read_json, write_json
from headhunt_svc.storage.store import Store

VERDICT, PAGE, RUN = "verdict.json", "drift.html", "run.json"


@dataclass(frozen=True, slots=True)
class Paths:
    """Where a monitor reads and writes; reference: for cameras that have no baseline of their own, if it is there."""

    log: str
    baselines: Path
    reference: Path
    out: Path
    workspace: Path


@dataclass(slots=True)
class Verdict:
    """What one run found; alarms: one line for every camera whose window drifted."""

    start: datetime
    stop: datetime
    detector_id: str | None
    cameras: dict[str, CameraVerdict]
    excluded: dict[str, int]
    missing: dict[str, list[str]]
    alarms: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def drifted(self) -> bool:
        """Is there an alarm?"""
        return bool(self.alarms)

    def as_json(self) -> dict[str, Any]:
        """For verdict.json: times as text."""
        found: dict[str, Any] = json.loads(json.dumps(asdict(self), default=_text))
        for name, verdict in self.cameras.items():
            found["cameras"][name]["over"] = list(verdict.over)
            found["cameras"][name]["remedy"] = REMEDY[verdict.kind] if verdict.kind else None
        return {"schema_version": 1, **found}


def _folder(stop: datetime) -> str:
    """Of the window that ends then, in UTC; the names are in the order of time."""
    return f"{stop:%Y%m%dT%H%M%S}"


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def load_baselines(
    paths: Paths, detector_id: str | None
) -> tuple[dict[str, Baseline], Baseline | None, str | None, list[str]]:
    """Baselines of one detector, the common reference, that detector, and what could not be used, by name.

    Without a detector_id it is that of the most baselines, or of the reference.
    """
    store, problems = Baselines(paths.baselines), []
    found: dict[str, Baseline] = {}
    for camera in store.versions():
        try:
            if baseline := store.load(camera):
                found[camera] = baseline
        except ArtifactError as exc:
            problems.append(str(exc))
    try:
        fleet = Baseline("reference", load_rows(paths.reference)) if paths.reference.exists() else None
    except ArtifactError as exc:
        fleet = None
        problems.append(str(exc))
    detectors = [b.rows.about.detector_id for b in (*found.values(), *([fleet] if fleet else []))]
    wanted = detector_id or max(detectors, key=detectors.count, default=None)
    for camera in [c for c, b in found.items() if b.rows.about.detector_id != wanted]:
        other = found.pop(camera).rows.about.detector_id
        problems.append(
            f"the baseline of {camera} is of detector {other}, not {wanted}: rebaseline, or activate {other}"
        )
    if fleet is not None and fleet.rows.about.detector_id != wanted:
        problems.append(f"{paths.reference} is of detector {fleet.rows.about.detector_id}: run `dvc repro reference`")
        fleet = None
    return found, fleet, wanted, problems


class Monitor:
    """Runs once, or again and again; keeps what it has computed about chance."""

    def __init__(self, paths: Paths, params: DriftParams, pages: bool = True, detector_id: str | None = None) -> None:
        """pages: also make Evidently's snapshots, pages and runs; without them a run takes a fraction of the time."""
        self.paths, self.params, self.pages, self.detector_id = paths, params, pages, detector_id
        self._made: Any = None
        self._stop, self._threshold = datetime.now(UTC), 0.5
        self._judge = Judge(params, self._measure if pages else None)

    def run(self, stop: datetime | None = None, now: datetime | None = None) -> Verdict:
        """Judge the window that ends at `stop` (now by default).

        Raises:
            OutputError: verdict or pages cannot be written.
        """
        self._stop = stop or datetime.now(UTC)
        self._made = None
        start = self._stop - timedelta(hours=self.params.window_h)
        baselines, fleet, wanted, problems = load_baselines(self.paths, self.detector_id)
        store = Store(self.paths.log)
        window = read_window(
            store,
            start,
            self._stop,
            detector_id=wanted,
            block_segments=self.params.block_segments,
            sample_rows=self.params.sample_rows,
            now=now,
        )
        name_missing(window, baselines, store)
        self._threshold = next((r.about.threshold for r in window.cameras.values()), 0.5)
        verdict = self._verdict(window, wanted, self._judge.judge(window, baselines, fleet), problems)
        self._write(verdict)
        return verdict

    def _measure(self, compared: Mapping[str, Comparison]) -> Mapping[str, Mapping[str, float]]:
        from headhunt_svc.monitoring.snapshot import snapshot

        figures = {camera: _figures(of.current, self._threshold) for camera, of in compared.items()}
        self._made, measured = snapshot(compared, figures, self._stop)
        return measured

    def _verdict(
        self, window: Window, wanted: str | None, cameras: dict[str, CameraVerdict], problems: list[str]
    ) -> Verdict:
        before = self._before()
        verdict = Verdict(
            window.start,
            window.stop,
            wanted,
            cameras,
            dict(window.excluded),
            {c: [d.isoformat() for d in days] for c, days in window.missing.items()},
            problems=problems,
        )
        for name, found in cameras.items():
            if found.kind is None:
                continue
            old = before.get(name, {})
            same = old.get("kind") == found.kind and old.get("since")
            found.since = datetime.fromisoformat(old["since"]) if same else window.start
            why = ", ".join(f"{n} {found.signals[n].value:.2f} > {found.signals[n].limit:.2f}" for n in found.over)
            since = f"{found.since:%Y-%m-%d %H:%M}"
            verdict.alarms.append(f"{name}: {found.kind} since {since} ({why or found.why}): {REMEDY[found.kind]}")
        others = {d: n for d, n in window.detectors.items() if d != wanted and n}
        if wanted and others and not window.cameras:
            names = ", ".join(sorted(others))
            verdict.alarms.append(f"all rows are of detector {names}, not {wanted}: rebaseline, or roll back")
        return verdict

    def _before(self) -> dict[str, Any]:
        """What was found of the cameras when it was last looked at an earlier window."""
        earlier = [name for name in self._judged() if name < _folder(self._stop)]
        try:
            path = self.paths.out / max(earlier) / VERDICT
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["cameras"]
            return found
        except (OSError, ValueError, KeyError):
            return {}

    def _judged(self) -> list[str]:
        return [path.parent.name for path in self.paths.out.glob(f"*/{VERDICT}")]

    def _write(self, verdict: Verdict) -> None:
        out = self.paths.out / _folder(verdict.stop)
        if self._made is not None:
            from headhunt_svc.monitoring.snapshot import add_run, save_page

            save_page(out / PAGE, self._made)
            before = out / RUN
            old = read_json(before, "headhunt monitor run")["id"] if before.exists() else None
            write_json(before, {"id": add_run(self.paths.workspace, self._made, old)})
        write_json(out / VERDICT, verdict.as_json())
        if out.name == max(self._judged()):  # an earlier window that is judged again is not the latest
            write_json(self.paths.out / VERDICT, verdict.as_json())
        _gauges(verdict)

    def every(self, minutes: float, each: Callable[[Verdict], object]) -> None:
        """Run every so many minutes, for ever."""
        while True:
            began = time.monotonic()
            each(self.run())
            time.sleep(max(minutes * 60 - (time.monotonic() - began), 0.0))


def _figures(current: Sample, threshold: float) -> dict[str, float]:
    """What the window itself is like, for the dashboard."""
    found = {
        "share_in_event": current.events / current.total,
        "mean_score": float(current.raw.mean()),
        "mean_brightness": float(np.nanmean(current.brightness)) if np.isfinite(current.brightness).any() else np.nan,
        "mean_sharpness": float(np.nanmean(current.sharpness)) if np.isfinite(current.sharpness).any() else np.nan,
    }
    if len(current.probed) > 1:
        found |= {f"mean_{name}": value for name, value in prompt_figures(current, threshold).items()}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _gauges(verdict: Verdict) -> None:
    LAST_RUN.set(datetime.now(UTC).timestamp())
    for camera, found in verdict.cameras.items():
        for name, signal in found.signals.items():
            SIGNAL.labels(camera, name).set(signal.value)
            LIMIT.labels(camera, name).set(signal.limit)
        for kind in REMEDY:
            ALARM.labels(camera, kind).set(float(found.kind == kind))


def rebaseline(
    log: str,
    baselines: Path,
    params: DriftParams,
    camera: str,
    start: datetime,
    stop: datetime,
    version: str | None,
    why: str,
    detector_id: str | None,
) -> str:
    """Freeze a camera's rows between two times, or activate an earlier version; returns the version that counts now.

    Raises:
        ConfigError: no such version, or not enough rows.
    """
    store = Baselines(baselines)
    if version is not None:
        store.activate(camera, version, why)
        return version
    block, n = params.block_segments, params.sample_rows
    window = read_window(Store(log), start, stop, detector_id=detector_id, block_segments=block, sample_rows=n)
    rows = window.cameras.get(camera)
    if rows is None or len(rows.table) < params.min_segments:
        there = f"{0 if rows is None else len(rows.table)} segments of {camera}"
        out = "; ".join(f"{n} left out: {w}" for w, n in window.excluded.items())
        raise ConfigError(
            f"{log} holds {there} between {start:%Y-%m-%d %H:%M} and {stop:%Y-%m-%d %H:%M}, "
            f"{params.min_segments} are needed{f' ({out})' if out else ''}: choose a longer time"
        )
    return store.add(camera, rows, why)
