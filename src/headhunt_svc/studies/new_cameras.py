"""new-cameras: what a normality of their own brings to cameras of which no video is labelled.

How strongly a camera is shrunk towards the fleet is looked at on calibration and validation videos alone: every camera
is left out in turn, and each of its videos is scored with the normality that its other videos give. The test videos of
new cameras are scored once with the fleet's normality, and once with that of the camera's normal clips.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64
from rich.console import Console
from rich.progress import track
from sklearn.metrics import average_precision_score, roc_auc_score

from headhunt_svc.core.camera_normality import NormalFootage, Shrinkage, camera_scorer
from headhunt_svc.core.event_metrics import false_alarms
from headhunt_svc.core.protocol import Figures, ScoredVideo, rank
from headhunt_svc.core.scoring import logits
from headhunt_svc.data.datasets import load_records
from headhunt_svc.data.feature_store import FeatureStore, Source
from headhunt_svc.detector.batches import FeatureBatch
from headhunt_svc.detector.bundle import model_key
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.errors import DatasetError
from headhunt_svc.params import FitParams, Params
from headhunt_svc.pipeline.conform import normal_footage
from headhunt_svc.pipeline.fit import fit_heads
from headhunt_svc.pipeline.labelled_features import LabelledFeatures, load_prompts
from headhunt_svc.pipeline.stored_scores import stored_batches
from headhunt_svc.storage.files import write_json
from headhunt_svc.types import LABELLED, HeadRef, Scorer, VideoRecord
from headhunt_svc.video.files import find_videos
from headhunt_svc.video.opening import open_video

MEAN_STRENGTHS = (5.0, 20.0, 80.0)
COVARIANCE_STRENGTHS = (20.0, 40.0, 160.0, 640.0)
FLEET = "fleet"


def _own_logits(
    z: np.ndarray, normal: Bool[np.ndarray, " segment"], videos: np.ndarray, fleet: Scorer, shrinkage: Shrinkage
) -> Float64[np.ndarray, " segment"]:
    """Logits of a camera's segments, each video with the normality of the normal segments of the camera's others."""
    values = logits(fleet, z)
    for video in sorted(set(videos.tolist())):
        others = normal & (videos != video)
        if others.any():
            scorer = camera_scorer(fleet, NormalFootage.measure(z[others]), shrinkage)
            values[videos == video] = logits(scorer, z[videos == video])
    return values


def leave_one_camera_out(
    data: LabelledFeatures, heads: tuple[HeadRef, ...], params: FitParams, shrinkages: Mapping[str, Shrinkage | None]
) -> dict[str, Figures]:
    """AUC and AP of segments of left-out cameras, together and (AUC) as a mean over cameras; None: the fleet's."""
    z, labels, names = data.inputs(heads, params.relative_to), data.labels, np.array(data.videos)
    camera_of = {r.video_id: str(r.camera) for r in data.records}
    cameras = np.array([camera_of[name] for name in names])
    values = {name: np.zeros(len(z)) for name in shrinkages}
    for camera in track(sorted(set(cameras.tolist())), "cameras", console=Console(stderr=True)):
        inside = cameras == camera
        rest = {video for video, name in camera_of.items() if name != camera}
        fleet = fit_heads(data.only(rest), heads, params).scorer
        for name, shrinkage in shrinkages.items():
            values[name][inside] = (
                logits(fleet, z[inside])
                if shrinkage is None
                else _own_logits(z[inside], ~labels[inside], names[inside], fleet, shrinkage)
            )
    both = [c for c in sorted(set(cameras.tolist())) if len(set(labels[cameras == c].tolist())) == 2]
    return {
        name: {
            "auc": float(roc_auc_score(labels, v)),
            "ap": float(average_precision_score(labels, v)),
            "auc_per_camera": [float(roc_auc_score(labels[cameras == c], v[cameras == c])) for c in both],
        }
        for name, v in values.items()
    }


def _read_clips(detector: Detector, folder: Path) -> NormalFootage:
    """What is normal for a camera, from clips of it."""
    videos: list[list[FeatureBatch]] = []
    for path in find_videos([folder]):
        with open_video(path) as video, closing(detector.score(video)) as batches:
            videos.append([FeatureBatch(batch.segments, batch.features) for batch in batches])
    return normal_footage(videos, detector.scorer.background)


def _scored(
    store: FeatureStore, records: Sequence[VideoRecord], scorers: Mapping[str, Scorer], fleet: Scorer, sigma: float
) -> Iterator[ScoredVideo]:
    """Smoothed scores of videos, each with the scorer of its camera, or the fleet's."""
    for record in records:
        features = store.load(record.video_id)
        raw = [batch.raw for batch in stored_batches(features, scorers.get(str(record.camera), fleet))]
        spans = tuple(segment.span for segment in features.segments)
        yield ScoredVideo(record, spans, np.concatenate(raw), features.times).smoothed(sigma, "offline")


def _row(videos: Sequence[ScoredVideo], threshold: float, params: Params) -> Figures:
    """Rank metrics, and the alarms in normal videos at a threshold."""
    normal = [v.events(threshold) for v in videos if not v.record.is_anomalous]
    figures = rank(videos, params.evaluate.bootstrap, params.evaluate.seed)
    return figures | {"false_alarms": false_alarms(normal) if normal else None}


def new_cameras(
    params: Params, clips: Path, index: Path, labels: Path, features: Path, tests: Path, bundle: Path, out: Path
) -> dict[str, Any]:
    """Write and return the figures; clips: CAMERA/*.mp4, normal footage of cameras of the test videos.

    Raises:
        DatasetError: the annotations do not name the cameras, or no folder is named as a new camera of the test videos.
        VideoError: a clip cannot be read.
    """
    labelled = [r for split in LABELLED for r in load_records(index, labels, split)]
    seen = {r.camera for r in labelled}
    if None in seen or len(seen) < 2:
        raise DatasetError("the annotations do not name the camera of every labelled video, or all are of one camera")
    records = load_records(index, labels, "test")
    names = sorted({str(r.camera) for r in records if r.camera not in seen} & {p.name for p in clips.glob("*")})
    if not names:
        raise DatasetError(f"{clips} has no folder that is named as a camera of test videos alone")
    detector = Detector.load(bundle)
    fleet, point = detector.scorer, detector.bundle.operating_point(detector.bundle.default_point)
    (data,) = load_prompts(params, FeatureStore(features), labelled, [params.prompts.scoring])
    shrinkages = {
        FLEET: None,
        **{f"{a:g}, {b:g}": Shrinkage(a, b) for a in MEAN_STRENGTHS for b in COVARIANCE_STRENGTHS},
    }
    left_out = leave_one_camera_out(data, fleet.heads, params.fit, shrinkages)

    store, sigma = FeatureStore(tests, "headhunt detect --split test"), point.sigma_segments
    cut = detector.bundle.segmentation.model_dump_json()
    key = model_key(detector.bundle.mllm, detector.bundle.mllm_revision)
    store.check([r.video_id for r in records], Source(key, (detector.bundle.prompt,), cut))
    footage = {
        name: _read_clips(detector, clips / name) for name in track(names, "clips", console=Console(stderr=True))
    }
    own = {name: camera_scorer(fleet, normal) for name, normal in footage.items()}
    new = [r for r in records if r.camera in footage]
    rows = {
        "seen cameras, fleet": _scored(store, [r for r in records if r.camera in seen], {}, fleet, sigma),
        "new cameras, fleet": _scored(store, new, {}, fleet, sigma),
        "new cameras, own": _scored(store, new, own, fleet, sigma),
    }
    result = {
        "detector_id": detector.detector_id,
        "shrinkage": {"mean": Shrinkage().mean, "covariance": Shrinkage().covariance},
        "leave_one_camera_out": left_out,
        "segments": {name: normal.segments for name, normal in footage.items()},
        "test": {name: _row(list(videos), point.threshold, params) for name, videos in rows.items()},
    }
    write_json(out, result)
    return result
