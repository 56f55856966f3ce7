"""Cameras that change: a simulation with ground truth for the monitor, with real scores of the embedded model.

Every scene is rendered, changed in its pictures where its camera is (less light, another view), written as a video,
detected by the shipped detector and logged, under the template of the model or another one. Days are draws from that
pool of clips: 14 days of footage are far fewer pictures, and the same clip may return on another day. No scene is both
in a baseline and in a window.
"""

import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
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
from headhunt_svc.monitoring.drift import FLEET, CameraVerdict, Judge
from headhunt_svc.prediction_log.recording import Recorder
from headhunt_svc.prediction_log.schema import COLUMNS, About
from headhunt_svc.prediction_log.windows import Rows, Window, read_window
from headhunt_svc.prediction_log.writer import PredictionLog
from headhunt_svc.storage.files import write_json
from headhunt_svc.storage.store import Store
from headhunt_svc.video.opening import open_video

DONE = "done.json"
Pictures = UInt8[np.ndarray, "frame height width 3"]
CAMERAS = ("camera-1", "camera-2", "camera-3")
CHUNK = 6  # scenes that are made together
PROBED = 0.2  # of the segments: a simulated day is short
ANOMALOUS = 0.1  # of the clips
SYSTEM = (
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}"  # what a library's new template might add
)
START = datetime(2026, 3, 1, tzinfo=UTC)
DAYS = 14


def _less_light(pictures: Pictures) -> Pictures:
    return (pictures * 0.55).astype(np.uint8)


def _moved(pictures: Pictures) -> Pictures:
    """The camera turned and pulled nearer: four fifths of the picture, from below and to the right."""
    height, width = pictures.shape[1:3]
    rows = np.minimum((np.arange(height) * 0.8 + height * 0.18).astype(int), height - 1)
    columns = np.minimum((np.arange(width) * 0.8 + width * 0.2).astype(int), width - 1)
    return np.ascontiguousarray(pictures[:, rows][:, :, columns])


@dataclass(frozen=True, slots=True)
class Condition:
    """What is done to the pictures of a camera, which scenes it shows, and how many of them hold an anomaly."""

    name: str
    change: Callable[[Pictures], Pictures] | None = None
    scenes: str = "normal"
    anomalous: float = ANOMALOUS


NORMAL = Condition("normal")
DARK = Condition("dark", _less_light)
MOVED = Condition("moved", _moved)
BUSY = Condition("busy", None, "busy", 1.0)
CONDITIONS = {c.name: c for c in (NORMAL, DARK, MOVED, BUSY)}


@dataclass(frozen=True, slots=True)
class Batch:
    """CHUNK clips of one camera under one condition and template."""

    seed: int
    camera: str
    condition: str
    template: bool  # another template than the model's?
    number: int

    @property
    def name(self) -> str:
        """Its folder below the pool."""
        template = "-template" if self.template else ""
        return f"{self.seed}/{self.camera}-{self.condition}{template}-{self.number}"

    @property
    def scenes(self) -> str:
        """Names the scenes that it shows, as other batches may."""
        return f"{self.seed}/{self.camera}/{CONDITIONS[self.condition].scenes}/{self.number}"


def _pictures(batch: Batch, i: int) -> Pictures:
    """Scene i of a batch, before anything is done to it."""
    rng = np.random.default_rng(zlib.crc32(f"{batch.scenes}/{i}".encode()))
    kind = str(rng.choice(SEEN_KINDS)) if rng.random() < CONDITIONS[batch.condition].anomalous else None
    scene, t = surveillance(rng, kind, camera(CAMERAS.index(batch.camera)))
    return render(scene, t, 128)


def _make(folder: Path, bundle: Path, batches: Sequence[Batch]) -> None:
    """Render the scenes that some batches share once, and write, detect and log the clips of each."""
    torch.set_num_threads(1)
    with ExitStack() as stack:
        made: list[tuple[Batch, Detector, Recorder]] = []
        for batch in batches:
            if (folder / batch.name).exists():
                shutil.rmtree(folder / batch.name)  # it was interrupted
            detector = Detector.load(bundle)
            if batch.template:
                detector.extractor.tokenizer.chat_template = SYSTEM + detector.extractor.tokenizer.chat_template
            log = stack.enter_context(PredictionLog(str(folder / batch.name), retention_days=36_500))
            made.append((batch, detector, Recorder(log, probe_share=PROBED)))
        at = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headhunt-")))
        for i in range(CHUNK):
            pictures = _pictures(batches[0], i)
            for batch, detector, recorder in made:
                change = CONDITIONS[batch.condition].change
                write_mp4(at / "clip.mp4", pictures if change is None else change(pictures), FPS)
                recorded = START + timedelta(minutes=i)
                name = f"{batch.scenes}-{i}"
                with open_video(at / "clip.mp4", name) as video:
                    scored = detector.score(video, recorder.probing(detector))
                    scored = recorder.record(detector, name, scored, camera=batch.camera, recorded=recorded)
                    detector.report(video, scored)
    for batch, detector, _ in made:
        write_json(folder / batch.name / DONE, {"clips": CHUNK, "detector": detector.detector_id})


class Pool:
    """Clips on disk, made where they are missing."""

    def __init__(self, folder: Path, bundle: Path, seed: int, processes: int = 2) -> None:
        self.folder, self.bundle, self.seed, self.processes = folder, bundle, seed, processes
        self._read: dict[Batch, Rows] = {}
        self._clips: dict[Batch, list[pa.Table]] = {}

    def batches(self, camera: str, condition: Condition, template: bool, numbers: Iterable[int]) -> list[Batch]:
        """So many batches of a camera."""
        return [Batch(self.seed, camera, condition.name, template, i) for i in numbers]

    def make(self, batches: Iterable[Batch]) -> None:
        """Make all batches that are not there yet, on several cores; what is made is kept when this is stopped."""
        together: dict[str, list[Batch]] = {}
        for batch in dict.fromkeys(batches):
            if not (self.folder / batch.name / DONE).exists():
                together.setdefault(batch.scenes, []).append(batch)
        if not together:
            return
        console, n = Console(stderr=True), len(together)
        with ProcessPoolExecutor(self.processes) as executor:
            jobs = [executor.submit(_make, self.folder, self.bundle, shared) for shared in together.values()]
            done = track(as_completed(jobs), "scenes", n, console=console, disable=not console.is_terminal)
            for i, job in enumerate(done, 1):
                job.result()
                if not console.is_terminal:
                    console.print(f"scenes: {i * CHUNK} of {n * CHUNK}")

    def clips(self, batches: Sequence[Batch]) -> list[pa.Table]:
        """The rows of every clip, in the order in which they were made."""
        for batch in batches:
            if batch not in self._clips:
                self._clips[batch] = _by_clip(self._rows(batch).table)
        return [clip for b in batches for clip in self._clips[b]]

    def about(self, batch: Batch) -> About:
        """What the rows of a batch have in common."""
        return self._rows(batch).about

    def _rows(self, batch: Batch) -> Rows:
        if batch not in self._read:
            store, stop = Store(str(self.folder / batch.name)), START + timedelta(days=1)
            window = read_window(store, START, stop, detector_id=None, block_segments=1, sample_rows=sys.maxsize)
            self._read[batch] = window.cameras[batch.camera]
        return self._read[batch]


def _by_clip(table: pa.Table) -> list[pa.Table]:
    names = np.asarray(pc.cast(table["video"], pa.string()).to_pylist())
    numbers = np.array([int(n.rsplit("-", 1)[1]) for n in names])
    return [table.filter(pa.array(numbers == i)).sort_by("segment") for i in np.unique(numbers)]


def _rows(about: About, clips: Sequence[pa.Table]) -> Rows:
    table = pa.concat_tables(clips).unify_dictionaries().cast(COLUMNS)
    return Rows(about, table, len(table), int(pc.sum(table["in_event"]).as_py()))


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens to which cameras, and what the monitor should say of whom."""

    name: str
    conditions: Mapping[str, Condition]
    template: bool
    camera: str
    kind: Kind | None


SCENARIOS = (
    Scenario("undisturbed", {}, False, "", None),
    Scenario("lighting change", {"camera-2": DARK}, False, "camera-2", "lighting"),
    Scenario("moved camera", {"camera-3": MOVED}, False, "camera-3", "view"),
    Scenario("changed template", {}, True, FLEET, "model"),
    Scenario("more activity", {"camera-1": BUSY}, False, "camera-1", "activity"),
)
A_DAY = 20  # clips a day and camera
BASE = (*range(6), *range(16, 20))  # batches of scenes for a camera's baseline: three days
DAYS_OF = range(6, 16)  # batches that the table's days are drawn from
CHANGED = range(6, 11)  # batches that are also there changed, or under the other template


@dataclass(slots=True)
class Outcome:
    """How often a scenario was drawn, raised an alarm, on the right camera, of the right kind there."""

    windows: int = 0
    alarms: int = 0
    right_camera: int = 0
    right_kind: int = 0

    def add(self, scenario: Scenario, verdicts: Mapping[str, CameraVerdict]) -> None:
        """Count one window."""
        found = verdicts.get(scenario.camera)
        self.windows += 1
        self.alarms += any(v.kind for v in verdicts.values())
        self.right_camera += found is not None and found.kind is not None
        self.right_kind += found is not None and found.kind == scenario.kind is not None


class Draws:
    """Windows with ground truth, of one seed: baselines from some scenes of a pool, days from its others."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        wanted = [b for c in CAMERAS for b in self._batches(c, NORMAL, False)]
        wanted += [b for c in CAMERAS for b in pool.batches(c, NORMAL, False, BASE)]
        wanted += [b for c in CAMERAS for b in self._batches(c, NORMAL, True)]
        wanted += [b for s in SCENARIOS for c, k in s.conditions.items() for b in self._batches(c, k, False)]
        pool.make(wanted)
        self.about = pool.about(wanted[0])
        self.baselines = {c: self._baseline(c) for c in CAMERAS}

    def _batches(self, camera: str, condition: Condition, template: bool) -> list[Batch]:
        numbers = DAYS_OF if condition is NORMAL and not template else CHANGED
        return self.pool.batches(camera, condition, template, numbers)

    def _baseline(self, camera: str) -> Baseline:
        clips = self.pool.clips(self.pool.batches(camera, NORMAL, False, BASE))
        return Baseline(f"{self.pool.seed}", _rows(self.about, clips))

    def window(self, scenario: Scenario, rng: np.random.Generator) -> Window:
        """A day of all cameras."""
        window = Window(START, START + timedelta(days=1))
        for name in CAMERAS:
            clips = self.pool.clips(self._batches(name, scenario.conditions.get(name, NORMAL), scenario.template))
            chosen = rng.choice(len(clips), A_DAY, replace=False)
            window.cameras[name] = _rows(self.about, [clips[i] for i in chosen])
        return window


def detections(pools: Iterable[Pool], params: DriftParams, windows: int = 30, runs: int = 20) -> dict[str, Outcome]:
    """For each pool that many undisturbed windows; and that many runs of each disturbance, in turn over all pools."""
    found: dict[str, Outcome] = {}
    draws = [Draws(pool) for pool in pools]
    judges = [Judge(params) for _ in draws]
    for number, scenario in enumerate(SCENARIOS):
        for i in range(windows * len(draws) if scenario.kind is None else runs):
            at = i % len(draws)
            rng = np.random.default_rng([draws[at].pool.seed, number, i])
            window = draws[at].window(scenario, rng)
            name = f"{scenario.name}, seed {draws[at].pool.seed}" if scenario.kind is None else scenario.name
            found.setdefault(name, Outcome()).add(scenario, judges[at].judge(window, draws[at].baselines))
    return found


# -- fourteen days ----------------------------------------------------------------------------------------------------
LIGHT_FROM, MOVED_FROM, TEMPLATE_FROM = 6, 8, 10  # days, from 1
FEW_BASE, FEW = range(4), range(6, 10)  # batches: fewer than the table's, so that a newcomer waits for minutes


def _of_day(pool: Pool, camera_name: str, day: int) -> list[Batch]:
    condition = NORMAL
    if camera_name == "camera-2" and day >= LIGHT_FROM:
        condition = DARK
    if camera_name == "camera-3" and day >= MOVED_FROM:
        condition = MOVED
    return pool.batches(camera_name, condition, day >= TEMPLATE_FROM, FEW)


def fortnight(pool: Pool, log: str, baselines: Path) -> Iterator[datetime]:
    """Write baselines and 14 days into a log; yields the end of each day once it is logged."""
    days = range(1, DAYS + 1)
    base = {name: pool.batches(name, NORMAL, False, FEW_BASE) for name in CAMERAS}
    pool.make(
        [b for batches in base.values() for b in batches]
        + [b for c in CAMERAS for d in days for b in _of_day(pool, c, d)]
    )
    about = pool.about(base[CAMERAS[0]][0])
    store = Baselines(baselines)
    for name, batches in base.items():
        store.add(name, _rows(about, pool.clips(batches)), "simulated footage that is known to be good")
    with PredictionLog(log, retention_days=36_500) as writer:
        for day in days:
            rng = np.random.default_rng([pool.seed, day])
            start = START + timedelta(days=day - 1)
            for name in CAMERAS:
                clips = pool.clips(_of_day(pool, name, day))
                for number, i in enumerate(rng.choice(len(clips), A_DAY, replace=False)):
                    began = start + timedelta(hours=1 + number * 22 / A_DAY)
                    writer.put(about, restamped(clips[i], began, f"day-{day}-{number}"))
            writer.flush()
            yield start + timedelta(days=1)


def restamped(clip: pa.Table, began: datetime, pass_id: str, camera_name: str | None = None) -> pa.Table:
    """The same rows at another time, in another pass, and of another camera if one is named."""
    columns = {
        "time": [began + timedelta(seconds=s) for s in clip["start_s"].to_pylist()],
        "pass_id": [pass_id] * len(clip),
        **({"camera": [camera_name] * len(clip)} if camera_name else {}),
    }
    for name, values in columns.items():
        of = COLUMNS.field(name)
        coded = pa.types.is_dictionary(of.type)
        array = pa.array(values, of.type.value_type if coded else of.type)
        clip = clip.set_column(clip.schema.get_field_index(name), of, array.dictionary_encode() if coded else array)
    return clip
