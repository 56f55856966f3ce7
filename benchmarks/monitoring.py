"""What monitoring costs: logging and the prompt probe beside scoring, and a run of the monitor on many rows.

    python benchmarks/monitoring.py                       # minutes on 2 cores
    python benchmarks/monitoring.py --json out.json       # logging_share, probe_share, run_1m_s, run_1m_gib, ...

Scoring is that of the `small` engine of benchmarks/extraction.py (random weights). Scoring, probe and logging take
turns, in processor time; shares are medians of the turns' ratios. Each run of the monitor is in a process of its own,
with the imports in its time and memory.
"""

import argparse
import importlib.util
import json
import multiprocessing
import shutil
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pairs import Ratio, in_turn
from peak import peak_bytes
from rich.console import Console
from rich.table import Table

from headhunt_svc.core.quality import picture_quality
from headhunt_svc.detector.batches import FeatureBatch, TimedSegment
from headhunt_svc.detector.scores import VideoScores
from headhunt_svc.monitoring.baselines import Baselines
from headhunt_svc.monitoring.config import load_drift
from headhunt_svc.monitoring.run import Monitor, Paths, rebaseline
from headhunt_svc.monitoring.verdicts import FLEET
from headhunt_svc.prediction_log.rows import PassRows
from headhunt_svc.prediction_log.schema import COLUMNS, PROJECTED, LogMetadata
from headhunt_svc.prediction_log.writer import PredictionLog
from headhunt_svc.types import FrameSpan, HeadRef, OperatingPoint, Scorer, Segment

ROOT = Path(__file__).parent.parent
START = datetime(2026, 3, 1, tzinfo=UTC)
K, TILES, M = 10, 36, 4
HEADS = tuple(HeadRef(22 - i, i % 8) for i in range(K))
METADATA = LogMetadata("benchmark000", "none", HEADS, ("a?", "b?", "c?", "d?"), "a?", 0.5, 0.75, "projected")
CAMERAS = 10
SHARE = 0.02


def extraction() -> Any:
    """benchmarks/extraction.py as a module."""
    spec = importlib.util.spec_from_file_location("extraction", Path(__file__).with_name("extraction.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def logging_cpu_s(segments: int = 2000) -> float:
    """CPU seconds of all threads for a segment of 16 pictures of 720p, from decoded pictures to parquet."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (16, 720, 1280, 3), dtype=np.uint8)
    scorer = Scorer(HEADS, rng.normal(0, 0.1, K * 64), 0.0)
    with tempfile.TemporaryDirectory() as folder, PredictionLog(folder, flush_s=1.0) as log:
        names = {"camera": "yard", "video": "a.mp4", "pass_id": "one"}
        rows = PassRows(log, METADATA, OperatingPoint(0.75, 0.5), names, None)
        start = time.process_time()
        for first in range(0, segments, 16):
            timed = tuple(
                TimedSegment(
                    Segment("a.mp4", i, FrameSpan(16 * i, 16 * i + 16), (16 * i,)),
                    1.6 * i,
                    1.6 * i + 1.6,
                    picture_quality(pictures),
                )
                for i in range(first, first + 16)
            )
            z = rng.normal(0, 1, (16, K, 64)).astype(np.float32)
            rows.add(VideoScores(scorer).add(FeatureBatch(timed, z)))
        rows.finish()
        log.flush()
        return (time.process_time() - start) / segments


def shares(repeats: int) -> dict[str, float]:
    """Logging and probe as shares of scoring."""
    module = extraction()
    extractor, pixels = module.build(module.SIZES["small"], "cpu")
    one = pixels[:1]

    def read(prompts: list[str]) -> None:
        extractor.features(one, prompts, list(HEADS))

    def log() -> None:
        logging.append(logging_cpu_s())

    logging: list[float] = []
    prompts = (lambda n=n: read(module.PROMPTS[:n]) for n in (1, 4, 8))
    scoring, four, eight, _ = zip(*in_turn([*prompts, log], repeats), strict=True)
    logging = logging[1:]
    return {
        "scoring_s": statistics.median(scoring),
        "logging_s": statistics.median(logging),
        "logging_share": Ratio.of(zip(logging, scoring, strict=True)).median,
        "probe_s": statistics.median(four),
        "probe_share": SHARE * Ratio.of(zip(four, scoring, strict=True)).median,
        "probe_share_8_prompts": SHARE * Ratio.of(zip(eight, scoring, strict=True)).median,
    }


def vectors(values: np.ndarray) -> pa.Array:
    """float32[n, width] as lists."""
    n, width = values.shape
    return pa.ListArray.from_arrays(
        np.arange(0, (n + 1) * width, width, dtype=np.int32), values.ravel().astype(np.float32)
    )


def table(camera: str, n: int, start: datetime, seed: int) -> pa.Table:
    """n rows of one camera within a day, as one stream in passes of 1000 segments; every 50th is probed."""
    rng = np.random.default_rng(seed)
    raw = rng.beta(1, 6, n)
    seconds = np.arange(n) * (86_000 / n)
    probed = np.arange(n) % 50 == 0
    scores = vectors(np.clip(raw[:, None] + rng.normal(0, 0.02, (n, M)), 0, 1))
    contributions = vectors(rng.normal(0, 1, (n, M * K)))

    def name(values: list[str], codes: np.ndarray) -> pa.Array:
        return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(values))

    def some(lists: pa.Array) -> pa.Array:
        return pa.compute.if_else(pa.array(probed), lists, pa.scalar(None, lists.type))

    same = np.zeros(n)
    columns = {
        "time": pa.array((start.timestamp() * 1e6 + seconds * 1e6).astype(np.int64)).cast(COLUMNS.field("time").type),
        "camera": name([camera], same),
        "video": name([f"{camera}.mp4"], same),
        "pass_id": name([f"{camera}-{seed}-{i}" for i in range(n // 1000 + 1)], np.arange(n) // 1000),
        "detector_id": name([METADATA.detector_id], same),
        "segment": np.arange(n) % 1000,
        "start_s": seconds,
        "stop_s": seconds + 1,
        "raw": raw,
        "smoothed": raw,
        "in_event": raw > 0.5,
        "brightness": rng.normal(0.5, 0.05, n),
        "sharpness": rng.normal(0.1, 0.01, n),
        "dropped_frames": np.zeros(n),
        "layout": vectors(1 + 0.3 * np.sin(np.arange(TILES)) + rng.normal(0, 0.02, (n, TILES))),
        "contributions": vectors(rng.normal(0, 1, (n, K))),
        "features": vectors(rng.normal(0, 1, (n, K * PROJECTED))),
        "prompt_scores": some(scores),
        "prompt_contributions": some(contributions),
    }
    arrays = [
        c if isinstance(c, pa.Array) else pa.array(c).cast(f.type) for f, c in ((f, columns[f.name]) for f in COLUMNS)
    ]
    return pa.Table.from_arrays(arrays, schema=COLUMNS)


def fill(folder: Path, rows: int) -> Paths:
    """Baselines of a day of 6000 rows a camera, and a day of `rows` rows of all cameras after it."""
    paths = Paths(str(folder / "log"), folder / "baselines", folder / "none", folder / "out", folder / "workspace")
    params = load_drift(ROOT / "monitoring" / "drift.yaml")
    with PredictionLog(paths.log, held_rows=10**9, retention_days=36_500) as log:
        for i in range(CAMERAS):
            log.put(METADATA, table(f"camera-{i}", 6000, START, i))
            per_file = min(20_000, rows // CAMERAS)
            whole = table(f"camera-{i}", rows // CAMERAS, START + timedelta(days=1), 100 + i)
            for first in range(0, len(whole), per_file):
                log.put(METADATA, whole.slice(first, per_file))
                log.flush(600)
    for i in range(CAMERAS):
        query = params.query(START, START + timedelta(days=1))
        rebaseline(paths.log, Baselines(paths.baselines), f"camera-{i}", query, params.min_segments, "")
    return paths


def run(paths: Paths, queue: Any) -> None:
    """One run, with Evidently's page and snapshot: seconds, GiB at the peak, alarms."""
    start = time.perf_counter()
    monitor = Monitor(paths, load_drift(ROOT / "monitoring" / "drift.yaml"))
    verdict = monitor.run(START + timedelta(days=2))
    seen = verdict.cameras[FLEET].segments
    gib = peak_bytes() / 2**30
    queue.put((time.perf_counter() - start, gib, seen, len(verdict.alarms)))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    figures: dict[str, float] = shares(args.repeats) if args.repeats else {}
    console = Console(width=100)
    if figures:
        costs = Table("what", "s/segment", "share of scoring", title="the `small` engine, one segment a pass")
        costs.add_row("scoring", f"{figures['scoring_s']:.3f}", "")
        costs.add_row("logging (CPU, 720p)", f"{figures['logging_s']:.5f}", f"{figures['logging_share']:.2%}")
        costs.add_row(
            f"probe of {SHARE:.0%}, 4 prompts", f"{SHARE * figures['probe_s']:.4f}", f"{figures['probe_share']:.2%}"
        )
        costs.add_row(f"probe of {SHARE:.0%}, 8 prompts", "", f"{figures['probe_share_8_prompts']:.2%}")
        console.print(costs)
    runs = Table("rows", "seconds", "peak GiB", "alarms", title=f"headhunt monitor run, {CAMERAS} cameras")
    context = multiprocessing.get_context("spawn")
    for rows in args.rows:
        folder = Path(tempfile.mkdtemp())
        try:
            paths, queue = fill(folder, rows), context.Queue()
            process = context.Process(target=run, args=(paths, queue))
            process.start()
            seconds, gib, seen, alarms = queue.get()
            process.join()
        finally:
            shutil.rmtree(folder)
        if seen != rows:
            raise SystemExit(f"{seen} of {rows} rows were evaluated")
        name = f"{rows // 1_000_000}m" if rows >= 1_000_000 else f"{rows // 1000}k"
        figures |= {f"run_{name}_s": seconds, f"run_{name}_gib": gib}
        runs.add_row(str(rows), f"{seconds:.1f}", f"{gib:.2f}", str(alarms))
    console.print(runs)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
