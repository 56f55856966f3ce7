"""A project of features that are made up, and what is made of them: no model, no videos."""

from pathlib import Path

import numpy as np

from conftest import ROOT
from headhunt_svc.data.datasets import save_index, save_labels
from headhunt_svc.data.feature_store import FeatureStore, Source, VideoFeatures
from headhunt_svc.detector.bundle import Bundle, load_operating_points, model_key, save_bundle
from headhunt_svc.detector.heads_file import load_selection
from headhunt_svc.detector.scorer_file import load_scorer
from headhunt_svc.model.identity import ModelLock, write_lock
from headhunt_svc.params import Params, load_params
from headhunt_svc.paths import MODEL_LOCK
from headhunt_svc.pipeline.calibrate import calibrate
from headhunt_svc.pipeline.fit import fit
from headhunt_svc.pipeline.identify import identify
from headhunt_svc.storage.files import sha256
from headhunt_svc.types import FrameSpan, HeadRef, Segment, VideoRecord, edges_of
from headhunt_svc.video.source import VideoState

HEADS = tuple(HeadRef(layer, head) for layer in range(3) for head in range(4))
KNOWS = 6
LENGTH, N_SEGMENTS = 16, 8


def record(name: str, split: str, anomalous: bool) -> VideoRecord:
    spans = (FrameSpan(3 * LENGTH, 6 * LENGTH),) if anomalous else ()
    label = "fall" if anomalous else "normal"
    return VideoRecord(name, Path(name), N_SEGMENTS * LENGTH, 10.0, split, label, spans)  # type: ignore[arg-type]


def lock(digest: str) -> None:
    """The project's model, of a hub."""
    write_lock(MODEL_LOCK, ModelLock(id="a/model", revision="abc", commit="0" * 40, digest=digest, files=()))


def project_params() -> Params:
    """Parameters of a project in the working directory, whose model is locked there."""
    defaults = load_params(ROOT / "params.yaml")
    lock("sha256:abc")
    update = {"top_k": 2, "few_videos": 0, "criteria": "robust", "subsamples": 8}
    mllm = defaults.mllm.model_copy(update={"id": "a/model", "revision": "abc"})
    return defaults.model_copy(update={"identify": defaults.identify.model_copy(update=update), "mllm": mllm})


def write_project(folder: Path, params: Params) -> None:
    """Index, labels and features: head KNOWS of 12 moves with the truth, the others do not."""
    rng = np.random.default_rng(0)
    records = [record(f"{s}/{i}.mp4", s, i % 2 == 1) for s in ("calibration", "validation", "test") for i in range(12)]
    save_index(folder / "index.parquet", records)
    save_labels(folder / "labels.parquet", records)
    store, texts = FeatureStore(folder / "features"), params.prompts.texts
    source = Source(model_key(params.mllm), texts, params.segmentation.model_dump_json())
    for r in records[:24]:
        segments = tuple(
            Segment(r.video_id, k, FrameSpan(k * LENGTH, (k + 1) * LENGTH), (k * LENGTH,)) for k in range(N_SEGMENTS)
        )
        values = np.repeat(rng.standard_normal((1, N_SEGMENTS, 12, 4)), len(texts), axis=0)
        values[:, 3:6, KNOWS] += 2.5 * r.is_anomalous
        values += 0.1 * rng.standard_normal(values.shape)
        hidden = np.zeros((len(texts), 8, 3), np.float32)
        times = edges_of([s.span for s in segments]) / 10.0
        features = VideoFeatures(segments, times, HEADS, values.astype(np.float32), hidden, VideoState(), N_SEGMENTS)
        store.save(r.video_id, features, "k", source)


def inputs_of(folder: Path) -> tuple[Path, Path, Path]:
    return folder / "index.parquet", folder / "labels.parquet", folder / "features"


def paths_of(folder: Path) -> dict[str, Path]:
    """The same as the commands name them."""
    return dict(zip(("INDEX", "LABELS", "FEATURES"), inputs_of(folder), strict=True))


def run(params: Params, folder: Path) -> None:
    inputs, heads = inputs_of(folder), folder / "heads.json"
    identify(params, *inputs, heads)
    fit(params, *inputs, heads, folder / "scorer.safetensors")
    calibrate(params, *inputs, heads, folder / "scorer.safetensors", folder / "locator.json")


def write_bundle(folder: Path, params: Params) -> Path:
    """What is made of them, as a bundle."""
    run(params, folder)
    selection, points = load_selection(folder / "heads.json"), load_operating_points(folder / "locator.json")
    detector = Bundle(
        mllm=params.mllm,
        mllm_is_local=False,
        mllm_revision="sha256:abc",
        mllm_commit="0" * 40,
        mllm_files=(),
        segmentation=params.segmentation,
        prompt=params.prompts.scoring_text,
        calibration_prompts=params.prompts.texts,
        heads=selection.heads,
        rss=selection.rss,
        scorer_sha256=sha256(folder / "scorer.safetensors"),
        **points.fields,
        confidence=selection.confidence,
        domain="parking lots",
        data={"index_sha256": "1", "videos": {"calibration": 12, "validation": 12, "test": 12}},
        fingerprint={},
        package_version="1",
    )
    save_bundle(folder / "bundle", detector, load_scorer(folder / "scorer.safetensors"), np.ones((2, 8), np.float32))
    return folder / "bundle"


def limited(params: Params, layer: int | None) -> Params:
    return params.model_copy(update={"identify": params.identify.model_copy(update={"deepest_layer": layer})})
