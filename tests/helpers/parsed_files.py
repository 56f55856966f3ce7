"""Every parser of a file that comes from outside or lies where others write, with a file that it reads."""

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from conftest import ROOT
from headhunt_svc.data.benchmarks import SPANS, read_benchmark
from headhunt_svc.data.datasets import load_index, load_records, read_annotations
from headhunt_svc.data.feature_store import FeatureStore, Source, VideoFeatures
from headhunt_svc.data.labels import read_labels
from headhunt_svc.data.score_files import load_scores, match_scores
from headhunt_svc.detector.bundle import load_bundle, load_golden, load_operating_points
from headhunt_svc.detector.cameras import StoredCamera, camera_file, load_camera
from headhunt_svc.detector.cautions import domain_of
from headhunt_svc.detector.deployments import Deployed
from headhunt_svc.detector.heads_file import load_selection
from headhunt_svc.detector.report import load_report
from headhunt_svc.detector.scorer_file import load_scorer
from headhunt_svc.jobs.inputs import expand
from headhunt_svc.jobs.store import ResultStore
from headhunt_svc.model.checkpoint import check_whole, read_config
from headhunt_svc.model.identity import read_lock, weight_files
from headhunt_svc.monitoring.baselines import Baselines, load_rows
from headhunt_svc.monitoring.config import load_drift
from headhunt_svc.monitoring.verdicts import VERDICT, CameraVerdict, SignalResult, Verdict, read_verdict
from headhunt_svc.params import ExportParams, load_params
from headhunt_svc.prediction_log.windows import WindowQuery, read_window, sample_of
from headhunt_svc.serve import api
from headhunt_svc.settings import Settings
from headhunt_svc.storage.audit import audited
from headhunt_svc.storage.files import read_json, text_id
from headhunt_svc.storage.store import Store
from headhunt_svc.storage.tables import parquet_bytes
from headhunt_svc.storage.tensors import load_facts, load_tensors, save_tensors, tensor_bytes
from headhunt_svc.types import FrameSpan, HeadRef, Segment
from headhunt_svc.video.source import VideoState
from headhunt_svc.web.keys import Keys
from helpers.exports import Labelled, cvat_project, label_studio_task, timeline
from helpers.log_rows import METADATA, START, rows
from helpers.reports import REPORT

ARTIFACTS = ROOT / "artifacts"
SHIPPED = ARTIFACTS / "detector"


@dataclass(frozen=True)
class Target:
    """A parser: the path of its file below a folder, what the file may hold, and how it is read from that folder."""

    name: str
    seed: Callable[[], bytes]
    read: Callable[[Path], object]


def _shipped(path: str) -> Callable[[], bytes]:
    return (ARTIFACTS / path).read_bytes


@cache
def _log_file() -> bytes:
    table = rows(20)
    return parquet_bytes(table.replace_schema_metadata(METADATA.as_parquet()))


def _window(folder: Path) -> None:
    window = read_window(Store(str(folder)), WindowQuery(START, START + timedelta(days=1)))
    for of_camera in window.cameras.values():
        sample_of(of_camera, 4)


def _tensors(folder: Path) -> None:
    load_facts(folder / "a.safetensors")
    load_tensors(folder / "a.safetensors")


@cache
def _tensor_file() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        save_tensors(path, {"values": np.zeros(4, np.float32)}, {"key": "a", "heads": [[0, 1]]})
        return path.read_bytes()


def _scores(folder: Path) -> None:
    records = load_records(ARTIFACTS / "index.parquet", ARTIFACTS / "labels.parquet", "test")
    match_scores(folder, load_scores(folder), records, 16)


def _keys(folder: Path) -> None:
    (folder / "keys").chmod(0o600)
    Keys.load(Settings(api_keys_file=folder / "keys"))


def _benchmark(folder: Path) -> None:
    (folder / "test_frame_counts.txt").write_text("Abuse028_x264 0 1411 Abuse\n")
    read_benchmark("ucf_crime", folder).records("inclusive")


def _npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([0.1, 0.5]))
    return buffer.getvalue()


def _bundle(folder: Path) -> None:
    (folder / "scorer.safetensors").write_bytes((SHIPPED / "scorer.safetensors").read_bytes())
    load_bundle(folder)


def _label_studio() -> bytes:
    return json.dumps([label_studio_task(1, "yard/0412.mp4", timeline("fight", [(10, 20)]))]).encode()


LOG_FILE = f"day={START:%Y-%m-%d}/camera=yard/20260301T000000-aaaaaa-000-000000-000019.parquet"


def _file(write: Callable[[Path], object]) -> bytes:
    """The one file that is written."""
    with TemporaryDirectory() as folder:
        write(Path(folder))
        return next(path for path in Path(folder).rglob("*") if path.is_file()).read_bytes()


def _video_features() -> VideoFeatures:
    segments = (Segment("a", 0, FrameSpan(0, 4), (0, 2)),)
    values = np.zeros((1, 1, 2, 3), np.float32)
    state = VideoState(fps=10.0, n_frames=4, duration_s=0.4)
    hidden = np.zeros((1, 1, 4), np.float32)
    return VideoFeatures(segments, np.array([[0.0, 0.4]]), (HeadRef(0, 0), HeadRef(0, 1)), values, hidden, state, 1)


SOURCE = Source("model", ("what?",), "{}")


@cache
def _features() -> bytes:
    return _file(lambda f: FeatureStore(f).save("a", _video_features(), "key", SOURCE))


def _load_features(folder: Path) -> None:
    store = FeatureStore(folder)
    store.key("a")
    store.check(["a"], SOURCE)
    store.times(["a"])
    store.under_prompt(["a"], 0)
    store.under_prompt(["a"], 0, hidden=True)
    store.finish(["a"])


def _camera() -> bytes:
    return tensor_bytes({"mean": np.zeros(3, np.float32), "factor": np.zeros((2, 3), np.float32)})


def _load_camera(folder: Path) -> None:
    path = folder / "cameras" / "yard-x.safetensors"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.rename(camera_file(folder, "yard", digest))
    load_camera(folder, "yard", StoredCamera(sha256=digest, segments=5, mean_strength=1, covariance_strength=1))


def _verdict() -> bytes:
    camera = CameraVerdict("yard", "drift", signals={"view": SignalResult(2.0, 1.0, 0.1)}, kind="view", since=START)
    verdict = Verdict(START - timedelta(days=1), START, "d", {"yard": camera}, {"late": 1}, {"yard": ["2026-03-01"]})
    return json.dumps(verdict.as_json()).encode()


FIGHT = Labelled("yard/0412.mp4", "test", 100, ((10, 20), (90, 100)))
AUDIT = b'{"time": "t", "by": "me", "folder": "/x", "detector_id": "a", "why": "so", "camera": "yard", "to": "v"}\n'
TARGETS = {
    "parameters": Target("params.yaml", (ROOT / "params.yaml").read_bytes, lambda f: load_params(f / "params.yaml")),
    "limits of drift": Target(
        "drift.yaml", (ROOT / "monitoring" / "drift.yaml").read_bytes, lambda f: load_drift(f / "drift.yaml")
    ),
    "annotations as JSON lines": Target(
        "a.jsonl",
        lambda: b'{"video": "a.mp4", "split": "test", "label": "fall", "spans": [[1, 2]], "unit": "frames"}\n',
        lambda f: read_annotations(f / "a.jsonl"),
    ),
    "annotations as CSV": Target(
        "a.csv",
        lambda: b"video,split,label,start,stop,unit\na.mp4,test,fall,1,2,seconds\nb.mp4,test,normal,,,seconds\n",
        lambda f: read_annotations(f / "a.csv"),
    ),
    "export of CVAT": Target("a.xml", lambda: cvat_project([FIGHT]).encode(), lambda f: read_annotations(f / "a.xml")),
    "export of Label Studio": Target(
        "a.json", _label_studio, lambda f: read_annotations(f / "a.json", ExportParams(split="test"))
    ),
    "benchmark": Target(SPANS["ucf_crime"], lambda: b"Abuse028_x264.mp4  Abuse  165  240  -1  -1\n", _benchmark),
    "labels of segments": Target(
        "l.csv", lambda: b"segment,label\na.mp4:7,anomalous\n", lambda f: read_labels(f / "l.csv")
    ),
    "manifest": Target("m.csv", lambda: b"uri,video_id\na.mp4,a\n", lambda f: expand([str(f / "m.csv")])),
    "scores as JSON": Target("a.json", lambda: b"[0.1, 0.5]", _scores),
    "scores as CSV": Target("a.csv", lambda: b"frame,score\n0,0.5\n16,0.1\n", _scores),
    "scores as an array": Target("a.npy", _npy, _scores),
    "index": Target("index.parquet", _shipped("index.parquet"), lambda f: load_index(f / "index.parquet")),
    "labels of videos": Target(
        "labels.parquet",
        _shipped("labels.parquet"),
        lambda f: load_records(ARTIFACTS / "index.parquet", f / "labels.parquet"),
    ),
    "prediction log": Target(LOG_FILE, _log_file, _window),
    "baseline": Target("b.parquet", _shipped("reference.parquet"), lambda f: load_rows(f / "b.parquet")),
    "active baselines": Target("active.json", lambda: b'{"yard": "v"}', lambda f: Baselines(f).active()),
    "audit log": Target("audit.jsonl", lambda: AUDIT, lambda f: [*Deployed(f).history(), *audited(f / "audit.jsonl")]),
    "bundle": Target("bundle.json", _shipped("detector/bundle.json"), _bundle),
    "scorer": Target(
        "scorer.safetensors", _shipped("scorer.safetensors"), lambda f: load_scorer(f / "scorer.safetensors")
    ),
    "golden features": Target("golden.safetensors", _shipped("detector/golden.safetensors"), load_golden),
    "heads": Target("heads.json", _shipped("heads.json"), lambda f: load_selection(f / "heads.json")),
    "operating points": Target("l.json", _shipped("locator.json"), lambda f: load_operating_points(f / "l.json")),
    "tensors with facts": Target("a.safetensors", _tensor_file, _tensors),
    "any JSON": Target("metrics.json", _shipped("metrics.json"), lambda f: read_json(f / "metrics.json", "x")),
    "report": Target("r.json", lambda: REPORT.model_dump_json().encode(), lambda f: load_report(f / "r.json")),
    "result of a job": Target(
        "results/ke/key.json",
        lambda: REPORT.model_dump_json().encode() + b"\n",
        lambda f: ResultStore(f).result("key", "a.mp4"),
    ),
    "configuration of a model": Target("config.json", _shipped("demo_mllm/config.json"), read_config),
    "weights of a model": Target("w.safetensors", _tensor_file, lambda f: check_whole(f, ["w.safetensors"])),
    "index of weights": Target(
        "model.safetensors.index.json",
        lambda: b'{"weight_map": {"a": "w.safetensors"}}',
        lambda f: weight_files(["w.safetensors", "model.safetensors.index.json"], f, "m"),
    ),
    "lock of a model": Target("model.json", _shipped("model.json"), lambda f: read_lock(f / "model.json")),
    "training record": Target("pretraining.json", _shipped("demo_mllm/pretraining.json"), domain_of),
    "features of a video": Target(f"{text_id('a')}.safetensors", _features, _load_features),
    "camera of a bundle": Target("cameras/yard-x.safetensors", _camera, _load_camera),
    "figures of the service's detector": Target(
        "metrics.json", _shipped("metrics.json"), lambda f: api._test_metrics(f, "none")
    ),
    "verdict of a window": Target(
        f"20260301T000000/{VERDICT}", _verdict, lambda f: read_verdict(next(f.rglob(VERDICT)))
    ),
    "file of keys": Target("keys", lambda: b"gate:0123456789abcdef0123\n", _keys),
}
