"""Rows of a prediction log, made up; and those of a log that was written."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headhunt_svc.prediction_log.schema import COLUMNS, LogMetadata
from headhunt_svc.prediction_log.writer import PredictionLog, unmerged_files
from headhunt_svc.storage.store import Store
from headhunt_svc.types import HeadRef

START = datetime(2026, 3, 1, tzinfo=UTC)
K, P, M = 2, 3, 2
METADATA = LogMetadata(
    detector_id="aaaaaaaaaaaa",
    code="c0de",
    heads=(HeadRef(0, 1), HeadRef(2, 0)),
    prompts=("what?", "who?"),
    prompt="what?",
    threshold=0.5,
    sigma_segments=0.0,
    features="projected",
)


def rows(
    n: int,
    camera: str = "yard",
    video: str = "a.mp4",
    start: datetime = START,
    seed: int = 0,
    step_s: float = 1.6,
    probed: float = 0.5,
    **columns: Any,
) -> pa.Table:
    """n segments of one pass over one video; `columns` replace what is drawn."""
    rng = np.random.default_rng(seed)
    raw = rng.beta(1, 6, n)
    probe = rng.random(n) < probed
    drawn: dict[str, Any] = {
        "time": [start + timedelta(seconds=step_s * i) for i in range(n)],
        "camera": [camera] * n,
        "video": [video] * n,
        "pass_id": [f"{camera}-{video}-{seed}"] * n,
        "detector_id": [METADATA.detector_id] * n,
        "segment": np.arange(n),
        "start_s": 1.6 * np.arange(n),
        "stop_s": 1.6 * np.arange(1, n + 1),
        "raw": raw,
        "novelty": [None] * n,
        "smoothed": raw,
        "in_event": raw > 0.5,
        "brightness": rng.normal(0.5, 0.05, n),
        "sharpness": rng.normal(0.1, 0.01, n),
        "dropped_frames": np.zeros(n, int),
        "layout": list(1 + 0.3 * np.sin(np.arange(36)) + rng.normal(0, 0.02, (n, 36))),
        "contributions": list(rng.normal(0, 1, (n, K))),
        "features": list(rng.normal(0, 1, (n, K * P))),
        "prompt_scores": [
            np.clip(r + rng.normal(0, 0.02, M), 0, 1) if p else None for r, p in zip(raw, probe, strict=True)
        ],
        "prompt_contributions": [rng.normal(0, 1, M * K) if p else None for p in probe],
    } | columns
    arrays = []
    for field in COLUMNS:
        values = drawn[field.name]
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        array = pa.array(list(values), kind)
        arrays.append(array.dictionary_encode() if pa.types.is_dictionary(field.type) else array)
    return pa.Table.from_arrays(arrays, schema=COLUMNS)


def write(log: str, *tables: pa.Table, metadata: LogMetadata = METADATA) -> Store:
    """Tables in a log."""
    with PredictionLog(log, retention_days=36_500) as writer:
        for table in tables:
            assert writer.put(metadata, table)
    return Store(log)


def read_rows(log: Path) -> pa.Table:
    """All rows of a log."""
    store = Store(str(log))
    names = unmerged_files(store.glob("day=*/camera=*/*.parquet"))
    return pa.concat_tables([pq.read_table(log / n).cast(COLUMNS) for n in names]).unify_dictionaries()
