"""recalibrate: new labels of some segments -> scorer and operating points from stored features, as a new bundle.

The model is not run: heads, prompt and features stay, so a correction takes seconds. Segments that the file does not
name keep the labels of the index, so a file holds all corrections, not only the latest. Scorer and operating points
come from calibration and validation videos, as in `fit` and `calibrate`.
"""

import shlex
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from headhunt_svc.core.fitting import FittedScorer
from headhunt_svc.core.splitting import check_no_leak
from headhunt_svc.data.datasets import load_records
from headhunt_svc.data.feature_store import FeatureStore, Source, VideoFeatures
from headhunt_svc.data.labels import read_labels
from headhunt_svc.detector.bundle import (
    Bundle,
    StoredPoints,
    check_model,
    load_bundle,
    load_golden,
    load_operating_points,
    model_key,
    save_bundle,
    save_operating_points,
)
from headhunt_svc.detector.cameras import StoredCamera, load_camera, save_camera
from headhunt_svc.detector.scorer_file import save_scorer
from headhunt_svc.errors import ConfigError, DatasetError
from headhunt_svc.params import Params
from headhunt_svc.pipeline.calibrate import calibrate_scorer
from headhunt_svc.pipeline.changes import check_unchanged, only_writer
from headhunt_svc.pipeline.fit import fit_heads
from headhunt_svc.pipeline.labelled_features import load_labelled
from headhunt_svc.storage.files import sha256
from headhunt_svc.types import NORMAL, FrameSpan, HeadRef, VideoRecord

RELABELLED = "anomalous"  # label of a video that was normal before


def relabelled(record: VideoRecord, features: VideoFeatures, labels: Mapping[int, bool]) -> VideoRecord:
    """The video with all frames of some segments labelled anew."""
    truth, spans = record.truth(), {s.index: s.span for s in features.segments}
    for index, anomalous in labels.items():
        if index not in spans:
            raise DatasetError(f"{record.video_id}:{index} is labelled, but the video has segments 0 to {max(spans)}")
        truth[spans[index].start : spans[index].stop] = anomalous
    edges = np.flatnonzero(np.diff(truth.astype(int), prepend=0, append=0)).reshape(-1, 2)
    spans_now = tuple(FrameSpan(*edge) for edge in edges.tolist())
    label = NORMAL if not spans_now else RELABELLED if record.label == NORMAL else record.label
    starts_s = None
    if record.span_starts_s is not None:  # a new span begins where a segment or an old one does
        at_frame = dict(zip([span.start for span in record.true_spans], record.span_starts_s, strict=True))
        at_frame |= {s.span.start: t for s, t in zip(features.segments, features.times[:, 0].tolist(), strict=True)}
        starts_s = tuple(at_frame[span.start] for span in spans_now)
    return replace(record, true_spans=spans_now, label=label, span_starts_s=starts_s)


def _to_conform_again(old: Bundle, points: StoredPoints) -> dict[str, str]:
    """Operating points of `bundle conform`, whose thresholds are of the scorer before, and what to do about each."""
    names = {*old.operating_points, *(old.unavailable or {})} - {*points.points, *points.unavailable}
    return {
        name: "calibrated for the scorer before: run `headhunt bundle conform --again --name "
        f"{shlex.quote(name)}` on normal videos of the camera"
        for name in sorted(names)
    }


def _without_marks(bundle: Path, out: Path, old: Bundle) -> dict[str, StoredCamera] | None:
    """Write the cameras of a bundle anew; weights from marks are relative to the scorer before, and are left out."""
    parts = {name: load_camera(bundle, name, camera).unmarked for name, camera in (old.cameras or {}).items()}
    cameras = {name: save_camera(out, name, camera) for name, camera in parts.items() if camera is not None}
    return cameras or None


def recalibrate(
    params: Params, corrections: Path, index: Path, labels: Path, features: Path, bundle: Path, out: Path
) -> FittedScorer:
    """Write a new bundle whose lineage names the old one and the corrections, a file of segments and labels.

    Raises:
        DatasetError: labels of unknown videos, of test videos, or of segments that do not exist.
        ArtifactError: features of another model, other prompts or segments than the bundle's; or another process has
            changed the bundle meanwhile.
        ConfigError: params.yaml has another method than the bundle, or another background than its cameras.
        OutputError: it cannot be written, or another process writes to `out` for long.
    """
    old, old_scorer = load_bundle(bundle)
    if old.cameras and old_scorer.background != params.fit.relative_to:
        raise ConfigError(
            f"the bundle's cameras have fit.background: {old_scorer.background or 'none'}, params.yaml has "
            f"{params.fit.background}: keep it, or make a new bundle and run `headhunt bundle conform` for each camera"
        )
    new, records = read_labels(corrections), load_records(index, labels)
    splits = {r.video_id: r.split for r in records}
    if unknown := sorted(new.keys() - splits.keys()):
        raise DatasetError(f"{corrections} labels videos that are not in {index}: {', '.join(unknown)}")
    check_no_leak(
        {"labels for calibration": set(new)} | {s: {v for v in splits if splits[v] == s} for s in ("test", "hard")}
    )
    if old.method not in (None, params.method):
        raise ConfigError(f"{bundle} was made with method {old.method}, params.yaml has method: {params.method}")
    if old.mllm_is_local:
        check_model(old, bundle)
    mllm, store = old.mllm_at(bundle), FeatureStore(features)
    labelled = [r for r in records if r.split in ("calibration", "validation")]
    cut = old.segmentation.model_dump_json()
    source = Source(model_key(mllm, old.mllm_revision), old.calibration_prompts, cut)
    store.check([r.video_id for r in labelled], source)
    labelled = [relabelled(r, store.load(r.video_id), new[r.video_id]) if r.video_id in new else r for r in labelled]
    prompt, share = old.calibration_prompts.index(old.prompt), params.label.min_anomalous_share
    data = {
        s: load_labelled(store, [r for r in labelled if r.split == s], prompt, share)
        for s in ("calibration", "validation")
    }
    fitted = fit_heads(data["calibration"], tuple(HeadRef(*h) for h in old.heads), params.fit)
    chosen = calibrate_scorer(data["validation"], fitted.scorer, params.calibrate)
    with only_writer(out):
        check_unchanged(bundle, old)
        save_operating_points(out / "locator.json", chosen)
        save_scorer(out / "scorer.safetensors", fitted.scorer)
        cameras = _without_marks(bundle, out, old) if fitted.scorer.normality else None  # else they have no effect
        points = load_operating_points(out / "locator.json")
        step = {
            "from": old.detector_id,
            "labels_sha256": sha256(corrections)[:16],
            "labels": sum(map(len, new.values())),
        }
        recalibrated = old.relocated(bundle, out).model_copy(
            update={
                "scorer_sha256": sha256(out / "scorer.safetensors"),
                **points._replace(unavailable=points.unavailable | _to_conform_again(old, points)).fields,
                "cameras": cameras,
                "data": {**old.data, "recalibrated": [*old.data.get("recalibrated", []), step]},
                "package_version": version("headhunt-svc"),
            }
        )
        save_bundle(out, recalibrated, fitted.scorer, load_golden(bundle))
    return fitted
