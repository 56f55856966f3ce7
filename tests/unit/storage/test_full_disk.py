"""A disk that gets full in the middle of a file: whoever writes, the old file stays alone, the error has a name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.figure import Figure

from conftest import ROOT
from headhunt_svc.data.datasets import save_index, save_labels
from headhunt_svc.data.feature_store import FeatureStore, Source, VideoFeatures
from headhunt_svc.detector.batches import FeatureBatch, TimedSegment
from headhunt_svc.detector.bundle import load_bundle, save_bundle
from headhunt_svc.detector.deployments import Deployed
from headhunt_svc.detector.report import save_report, save_shares
from headhunt_svc.errors import OutputError
from headhunt_svc.jobs.rows import row, save_parquet
from headhunt_svc.jobs.store import ResultStore
from headhunt_svc.monitoring.baselines import Baselines, save_rows
from headhunt_svc.prediction_log.windows import Rows
from headhunt_svc.storage.audit import audit
from headhunt_svc.storage.files import write_file, write_json, write_text
from headhunt_svc.storage.store import Store
from headhunt_svc.storage.tables import parquet_bytes
from headhunt_svc.types import FrameSpan, HeadRef, Segment, VideoRecord
from headhunt_svc.video.source import VideoState
from helpers.disks import full_after
from helpers.log_rows import METADATA, rows
from helpers.reports import REPORT

DETECTOR = ROOT / "artifacts" / "detector"
HEADS = (HeadRef(0, 1),)
SEGMENT = Segment("v", 0, FrameSpan(0, 4), (0, 2))
BATCH = FeatureBatch((TimedSegment(SEGMENT, 0.0, 0.4),), np.zeros((1, 1, 3), np.float32))
VALUES = np.zeros((1, 1, 1, 3), np.float32)
FEATURES = VideoFeatures((SEGMENT,), np.array([[0.0, 0.4]]), HEADS, VALUES, VALUES[:, :, 0], VideoState(), 1)
RECORD = VideoRecord("a.mp4", Path("/a.mp4"), 40, 10.0, "test", label="fall", true_spans=(FrameSpan(0, 4),))


def _bundle(folder: Path) -> None:
    bundle, scorer = load_bundle(DETECTOR)
    save_bundle(folder, bundle, scorer, np.zeros((1, 8), np.float32))


WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda d: write_text(d / "a.txt", "x" * 100),
    "durable text": lambda d: write_text(d / "a.txt", "x" * 100, durable=True),
    "json": lambda d: write_json(d / "a.json", ["x" * 100]),
    "store": lambda d: Store(str(d)).write("a/b", b"x" * 100),
    "log": lambda d: Store(str(d)).write("day/a.parquet", parquet_bytes(pa.table({"x": [1]}))),
    "audit": lambda d: audit(d / "audit.jsonl", why="x" * 100),
    "report": lambda d: save_report(d / "a.json", REPORT),
    "shares": lambda d: save_shares(d / "a", REPORT, HEADS, np.zeros((2, 1)), np.zeros((2, 1, 2, 2))),
    "bundle": _bundle,
    "deployment": lambda d: Deployed(d).activate(DETECTOR, "x" * 100),
    "features": lambda d: FeatureStore(d).save("v", FEATURES, "k", Source("m", ("p",), "{}")),
    "features' index": lambda d: FeatureStore(d).finish([]),
    "index": lambda d: save_index(d / "index.parquet", [RECORD]),
    "labels": lambda d: save_labels(d / "labels.parquet", [RECORD]),
    "result": lambda d: ResultStore(d).save("key", REPORT),
    "checkpoint": lambda d: ResultStore(d).save_checkpoint("key", 0, [BATCH]),
    "scorings": lambda d: ResultStore(d).log_scoring("key", 0),
    "rows": lambda d: save_parquet(d / "a.parquet", [row("u", "v", "failed", "x" * 100)]),
    "reference": lambda d: save_rows(d / "a.parquet", Rows(METADATA, rows(3), 3, 0)),
    "baseline": lambda d: Baselines(d).add("yard", Rows(METADATA, rows(3), 3, 0), "why"),
    "picture": lambda d: write_file(d / "a.png", lambda p: Figure().savefig(p, format="png")),
}


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith("lock")
    }


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_leaves_the_old_files_alone_and_is_named(name: str, tmp_path: Path) -> None:
    write = WRITERS[name]
    write(tmp_path)
    before = _files(tmp_path)
    with full_after(20), pytest.raises(OutputError, match=r"cannot write .* \(.*[Ff]ile too large.*\)"):
        write(tmp_path)
    assert _files(tmp_path) == before
    write(tmp_path)  # there is room again
