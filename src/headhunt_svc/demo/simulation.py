"""Simulates cameras that change, with known truth, for the monitor; the scores are the shipped detector's.

A scene is rendered, its pictures are changed where a condition asks for it (less light, another view), and the clip is
written as a video, scored and logged, with the model's chat template or a changed one. Each day is a random draw from
that pool of clips, so a clip may return on another day. No scene is both in a baseline and in a window.
"""

import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from jaxtyping import UInt8
from rich.console import Console
from rich.progress import track

from headhunt_svc.demo.corpus import write_mp4
from headhunt_svc.demo.rendering import render
from headhunt_svc.demo.scenes import FPS, SEEN_KINDS, camera, surveillance
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.monitoring.baselines import Baseline, Baselines
from headhunt_svc.monitoring.config import DriftParams, Kind
from headhunt_svc.monitoring.drift import Judge
from headhunt_svc.monitoring.verdicts import FLEET, CameraVerdict
from headhunt_svc.prediction_log.recording import Recorder
from headhunt_svc.prediction_log.schema import COLUMNS, LogMetadata
from headhunt_svc.prediction_log.windows import Rows, Window, WindowQuery, read_window
from headhunt_svc.prediction_log.writer import PredictionLog
from headhunt_svc.storage.files import write_json
from headhunt_svc.storage.scratch import scratch
from headhunt_svc.storage.store import Store
from headhunt_svc.video.opening import open_video

DONE = "done.json"
Pictures = UInt8[np.ndarray, "frame height width 3"]
CAMERAS = ("camera-1", "camera-2", "camera-3")
CHUNK = 6  # scenes of a batch
PROBED = 0.2  # share of the segments, more than in service, because a simulated day has few
ANOMALOUS = 0.1  # share of the clips
# a system prompt, as a library's next version might add one to the chat template
SYSTEM = "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}"
START = datetime(2026, 3, 1, tzinfo=UTC)
DAYS = 14


def _less_light(pictures: Pictures) -> Pictures:
    return (pictures * 0.55).astype(np.uint8)


def _moved(pictures: Pictures) -> Pictures:
    """The view of a camera that was turned and moved nearer: four fifths of the picture, at the lower right."""
    height, width = pictures.shape[1:3]
    rows = np.minimum((np.arange(height) * 0.8 + height * 0.18).astype(int), height - 1)
    columns = np.minimum((np.arange(width) * 0.8 + width * 0.2).astype(int), width - 1)
    return np.ascontiguousarray(pictures[:, rows][:, :, columns])


@dataclass(frozen=True, slots=True)
class Condition:
    """How a camera or its model differs.

    change: of the pictures. scenes: name of the set of scenes. anomalous: share of the clips with an anomaly.
    template: with a changed chat template?
    """

    name: str
    change: Callable[[Pictures], Pictures] | None = None
    scenes: str = "normal"
    anomalous: float = ANOMALOUS
    template: bool = False


NORMAL = Condition("normal")
DARK = Condition("dark", _less_light)
MOVED = Condition("moved", _moved)
BUSY = Condition("busy", scenes="busy", anomalous=1.0)
TEMPLATE = replace(NORMAL, template=True)


@dataclass(frozen=True, slots=True)
class Batch:
    """CHUNK clips of one camera under one condition."""

    seed: int
    camera: str
    condition: Condition
    number: int

    @property
    def name(self) -> str:
        """The batch's folder below the pool's."""
        template = "-template" if self.condition.template else ""
        return f"{self.seed}/{self.camera}-{self.condition.name}{template}-{self.number}"

    @property
    def scenes(self) -> str:
        """Name of the set of scenes; batches of the same scenes under other conditions share it."""
        return f"{self.seed}/{self.camera}/{self.condition.scenes}/{self.number}"


def _pictures(batch: Batch, i: int) -> Pictures:
    """Pictures of scene i of a batch, before the condition changes them."""
    rng = np.random.default_rng(zlib.crc32(f"{batch.scenes}/{i}".encode()))
    kind = str(rng.choice(SEEN_KINDS)) if rng.random() < batch.condition.anomalous else None
    scene, t = surveillance(rng, kind, camera(CAMERAS.index(batch.camera)))
    return render(scene, t, 128)


def _make(folder: Path, bundle: Path, batches: Sequence[Batch]) -> None:
    """Render the scenes that these batches share, once; write, score and log the clips of each batch."""
    torch.set_num_threads(1)
    with ExitStack() as stack:
        recorders: list[tuple[Batch, Detector, Recorder]] = []
        for batch in batches:
            if (folder / batch.name).exists():
                shutil.rmtree(folder / batch.name)  # left by an interrupted run
            detector = Detector.load(bundle)
            if batch.condition.template:
                detector.extractor.tokenizer.chat_template = SYSTEM + detector.extractor.tokenizer.chat_template
            log = stack.enter_context(PredictionLog(str(folder / batch.name), retention_days=36_500))
            recorders.append((batch, detector, Recorder(log, probe_share=PROBED)))
        clip = stack.enter_context(scratch()) / "clip.mp4"
        for i in range(CHUNK):
            pictures = _pictures(batches[0], i)
            for batch, detector, recorder in recorders:
                change = batch.condition.change
                write_mp4(clip, pictures if change is None else change(pictures), FPS)
                recorded = START + timedelta(minutes=i)
                name = f"{batch.scenes}-{i}"
                with open_video(clip, name) as video:
                    scored = detector.score(video, recorder.probing(detector))
                    scored = recorder.record(detector, name, scored, camera=batch.camera, recorded=recorded)
                    detector.report(video, scored)
    for batch, detector, _ in recorders:
        write_json(folder / batch.name / DONE, {"clips": CHUNK, "detector": detector.detector_id})


class Pool:
    """The simulated clips of one seed on disk; missing ones are made on request."""

    def __init__(self, folder: Path, bundle: Path, seed: int, processes: int = 2) -> None:
        self.folder, self.bundle, self.seed, self.processes = folder, bundle, seed, processes
        self._clips: dict[Batch, list[pa.Table]] = {}

    def batches(self, camera: str, condition: Condition, numbers: Iterable[int]) -> list[Batch]:
        """Batches of a camera, one for each number."""
        return [Batch(self.seed, camera, condition, i) for i in numbers]

    def make(self, batches: Iterable[Batch]) -> None:
        """Make the missing ones of these batches on several cores; complete batches are kept when this is stopped."""
        missing: dict[str, list[Batch]] = {}  # by the scenes that they share
        for batch in dict.fromkeys(batches):
            if not (self.folder / batch.name / DONE).exists():
                missing.setdefault(batch.scenes, []).append(batch)
        if not missing:
            return
        with ProcessPoolExecutor(self.processes) as executor:
            jobs = [executor.submit(_make, self.folder, self.bundle, shared) for shared in missing.values()]
            for job in track(as_completed(jobs), "scenes", len(jobs), console=Console(stderr=True)):
                job.result()

    def clips(self, batches: Sequence[Batch]) -> list[pa.Table]:
        """The rows of every clip, in the order of the scenes."""
        for batch in batches:
            if batch not in self._clips:
                table = self._rows(batch).table
                videos = pc.cast(table["video"], pa.string())
                names = sorted(pc.unique(videos).to_pylist())
                self._clips[batch] = [table.filter(pc.equal(videos, name)).sort_by("segment") for name in names]
        return [clip for b in batches for clip in self._clips[b]]

    def metadata(self, batch: Batch) -> LogMetadata:
        """What the rows of a batch have in common."""
        return self._rows(batch).metadata

    def _rows(self, batch: Batch) -> Rows:
        query = WindowQuery(START, START + timedelta(days=1))
        return read_window(Store(str(self.folder / batch.name)), query).cameras[batch.camera]


def _rows(metadata: LogMetadata, clips: Sequence[pa.Table]) -> Rows:
    table = pa.concat_tables(clips).unify_dictionaries().cast(COLUMNS)
    return Rows(metadata, table, len(table), int(pc.sum(table["in_event"]).as_py()))


@dataclass(frozen=True, slots=True)
class Scenario:
    """Which cameras change and how, and the verdict that is right: this kind on this camera (None: no alarm)."""

    name: str
    conditions: Mapping[str, Condition]
    camera: str
    kind: Kind | None


SCENARIOS = (
    Scenario("undisturbed", {}, "", None),
    Scenario("lighting change", {"camera-2": DARK}, "camera-2", "lighting"),
    Scenario("moved camera", {"camera-3": MOVED}, "camera-3", "view"),
    Scenario("changed template", dict.fromkeys(CAMERAS, TEMPLATE), FLEET, "model"),
    Scenario("more activity", {"camera-1": BUSY}, "camera-1", "activity"),
)
A_DAY = 20  # clips a day and camera
BASE = (*range(6), *range(16, 20))  # batches of a camera's baseline: three days
DAYS_OF = range(6, 16)  # batches from which the days of `detections` are drawn
CHANGED = range(6, 11)  # those of them that exist also under the changes


@dataclass(slots=True)
class Outcome:
    """Counts of a scenario: windows, those with an alarm, on the right camera, of the right kind there."""

    windows: int = 0
    alarms: int = 0
    right_camera: int = 0
    right_kind: int = 0

    def add(self, scenario: Scenario, verdicts: Mapping[str, CameraVerdict]) -> None:
        """Count one window."""
        verdict = verdicts.get(scenario.camera)
        self.windows += 1
        self.alarms += any(v.kind for v in verdicts.values())
        self.right_camera += verdict is not None and verdict.kind is not None
        self.right_kind += verdict is not None and verdict.kind == scenario.kind is not None


class Draws:
    """Draws windows with known truth from the pool of one seed: baselines from some scenes, days from the others."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        base = {c: pool.batches(c, NORMAL, BASE) for c in CAMERAS}
        batches = [b for c in CAMERAS for b in base[c] + self._batches(c, NORMAL)]
        pool.make(batches + [b for s in SCENARIOS for c, k in s.conditions.items() for b in self._batches(c, k)])
        self.metadata = pool.metadata(batches[0])
        self.baselines = {c: Baseline(f"{pool.seed}", _rows(self.metadata, pool.clips(base[c]))) for c in CAMERAS}

    def _batches(self, camera: str, condition: Condition) -> list[Batch]:
        return self.pool.batches(camera, condition, DAYS_OF if condition == NORMAL else CHANGED)

    def window(self, scenario: Scenario, rng: np.random.Generator) -> Window:
        """One day of all cameras under a scenario."""
        window = Window(START, START + timedelta(days=1))
        for name in CAMERAS:
            clips = self.pool.clips(self._batches(name, scenario.conditions.get(name, NORMAL)))
            chosen = rng.choice(len(clips), A_DAY, replace=False)
            window.cameras[name] = _rows(self.metadata, [clips[i] for i in chosen])
        return window


def detections(pools: Iterable[Pool], params: DriftParams, windows: int = 30, runs: int = 20) -> dict[str, Outcome]:
    """Judge `windows` undisturbed days of each pool, and `runs` days of each disturbance, over all pools in turn."""
    outcomes: dict[str, Outcome] = {}
    draws = [(Draws(pool), Judge(params)) for pool in pools]
    for number, scenario in enumerate(SCENARIOS):
        for i in range(windows * len(draws) if scenario.kind is None else runs):
            draw, judge = draws[i % len(draws)]
            window = draw.window(scenario, np.random.default_rng([draw.pool.seed, number, i]))
            name = f"{scenario.name}, seed {draw.pool.seed}" if scenario.kind is None else scenario.name
            outcomes.setdefault(name, Outcome()).add(scenario, judge.judge(window, draw.baselines).cameras)
    return outcomes


# -- fourteen days ----------------------------------------------------------------------------------------------------
CHANGES = {"camera-2": (6, DARK), "camera-3": (8, MOVED)}  # from which day on, counted from 1
TEMPLATE_FROM = 10
FEW_BASE, FEW = range(4), range(6, 10)  # batches: fewer than for `detections`, so that the demo takes minutes


def _source(camera_name: str) -> str:
    """The camera whose clips a camera shows: beyond the first three, those of the first, drawn anew."""
    return camera_name if camera_name in CAMERAS else CAMERAS[0]


def _of_day(pool: Pool, camera_name: str, day: int) -> list[Batch]:
    first_day, change = CHANGES.get(camera_name, (1, NORMAL))
    condition = change if day >= first_day else NORMAL
    return pool.batches(_source(camera_name), replace(condition, template=day >= TEMPLATE_FROM), FEW)


def fortnight(pool: Pool, log: str, baselines: Path, n_cameras: int = len(CAMERAS)) -> Iterator[datetime]:
    """Write baselines, then 14 days into a log; yields the end of each day after it was logged."""
    days, names = range(1, DAYS + 1), [f"camera-{i + 1}" for i in range(n_cameras)]
    base = {name: pool.batches(_source(name), NORMAL, FEW_BASE) for name in names}
    pool.make([b for c in names for b in base[c] + [b for d in days for b in _of_day(pool, c, d)]])
    metadata = pool.metadata(base[names[0]][0])
    store = Baselines(baselines)
    for name, batches in base.items():
        clips = pool.clips(batches)
        if name not in CAMERAS:
            clips = [restamped(clip, START, f"base-{i}", name) for i, clip in enumerate(clips)]
        store.add(name, _rows(metadata, clips), "simulated footage that is known to be good")
    with PredictionLog(log, retention_days=36_500) as writer:
        for day in days:
            rng = np.random.default_rng([pool.seed, day])
            start = START + timedelta(days=day - 1)
            for name in names:
                clips = pool.clips(_of_day(pool, name, day))
                for number, i in enumerate(rng.choice(len(clips), A_DAY, replace=False)):
                    clip_start = start + timedelta(hours=1 + number * 22 / A_DAY)
                    writer.put(metadata, restamped(clips[i], clip_start, f"day-{day}-{number}", name))
            while not writer.flush():  # a busy machine takes its time; a day is judged when it is in the log
                pass
            yield start + timedelta(days=1)


def restamped(clip: pa.Table, start: datetime, pass_id: str, camera_name: str | None = None) -> pa.Table:
    """Copy the rows of a clip to another start, pass and, if one is named, camera."""
    columns = {
        "time": [start + timedelta(seconds=s) for s in clip["start_s"].to_pylist()],
        "pass_id": [pass_id] * len(clip),
        **({"camera": [camera_name] * len(clip)} if camera_name else {}),
    }
    for name, values in columns.items():
        field = COLUMNS.field(name)
        clip = clip.set_column(clip.schema.get_field_index(name), field, pa.array(values, field.type))
    return clip
