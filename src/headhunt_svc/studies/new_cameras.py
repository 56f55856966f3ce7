"""new-cameras: what a normality of their own brings to cameras of which no video is labelled.

How strongly a camera is shrunk towards the fleet is looked at on calibration and validation videos alone: every camera
is left out in turn, and each of its videos is scored with the normality that its other videos give. The test videos of
new cameras are scored once with the fleet's normality, and once with that of the camera's normal clips.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64
from rich.console import Console
from rich.progress import track
from scipy.special import expit
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from headhunt_svc.core.camera_normality import SHRINKAGE, NormalFootage, Shrinkage, camera_scorer, learn_camera
from headhunt_svc.core.event_metrics import false_alarms
from headhunt_svc.core.protocol import Figures, ScoredVideo, rank
from headhunt_svc.core.scoring import logits
from headhunt_svc.data.datasets import load_records
from headhunt_svc.data.feature_store import FeatureStore, Source
from headhunt_svc.detector.batches import FeatureBatch, novelty_of
from headhunt_svc.detector.bundle import model_key
from headhunt_svc.detector.cameras import FLEET
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.errors import DatasetError
from headhunt_svc.params import FitParams, Params
from headhunt_svc.pipeline.conform import inputs_to
from headhunt_svc.pipeline.fit import fit_heads
from headhunt_svc.pipeline.labelled_features import LabelledFeatures, load_prompts
from headhunt_svc.pipeline.stored_scores import stored_batches
from headhunt_svc.storage.files import write_json
from headhunt_svc.types import LABELLED, HeadRef, Scorer, VideoRecord
from headhunt_svc.video.files import find_videos
from headhunt_svc.video.opening import open_video

MEAN_STRENGTHS = (5.0, 20.0, 80.0)
COVARIANCE_STRENGTHS = (40.0, 160.0, 640.0, 2560.0)


@dataclass(frozen=True, slots=True)
class Arm:
    """A way to make a camera's normality; rescaled: are its distances in the unit of typical ones?"""

    shrinkage: Shrinkage
    rescaled: bool = True


def _own_logits(
    z: np.ndarray, normal: Bool[np.ndarray, " segment"], videos: np.ndarray, fleet: Scorer, arm: Arm
) -> Float64[np.ndarray, " segment"]:
    """Logits of a camera's segments, each video with the normality of the normal segments of the camera's others."""
    values = logits(fleet, z)
    for video in sorted(set(videos.tolist())):
        others = [z[normal & (videos == other)] for other in sorted(set(videos.tolist())) if other != video]
        camera = learn_camera(fleet, [rows for rows in others if len(rows)], arm.shrinkage)
        if camera is not None:
            footage = camera.footage if arm.rescaled else replace(camera.footage, typical=None)
            values[videos == video] = logits(camera_scorer(fleet, footage, arm.shrinkage), z[videos == video])
    return values


def leave_one_camera_out(
    data: LabelledFeatures, heads: tuple[HeadRef, ...], params: FitParams, arms: Mapping[str, Arm | None]
) -> dict[str, Figures]:
    """Figures of the segments of left-out cameras, together and (AUC) as a mean over cameras; None: the fleet's.

    f1: at the threshold that is best for the fleet's scores, the first arm's.
    """
    z, labels, names = data.inputs(heads, params.relative_to), data.labels, np.array(data.videos)
    camera_of = {r.video_id: str(r.camera) for r in data.records}
    cameras = np.array([camera_of[name] for name in names])
    values = {name: np.zeros(len(z)) for name in arms}
    for camera in track(sorted(set(cameras.tolist())), "cameras", console=Console(stderr=True)):
        inside = cameras == camera
        rest = {video for video, name in camera_of.items() if name != camera}
        fleet = fit_heads(data.only(rest), heads, params).scorer
        for name, arm in arms.items():
            values[name][inside] = (
                logits(fleet, z[inside])
                if arm is None
                else _own_logits(z[inside], ~labels[inside], names[inside], fleet, arm)
            )
    both = [c for c in sorted(set(cameras.tolist())) if len(set(labels[cameras == c].tolist())) == 2]
    probability = {name: np.asarray(expit(v)) for name, v in values.items()}
    first = next(iter(probability.values()))
    threshold = max(np.unique(first).tolist(), key=lambda t: f1_score(labels, first > t))
    return {
        name: {
            "f1": float(f1_score(labels, probability[name] > threshold)),
            "brier": float(np.mean((probability[name] - labels) ** 2)),
            "auc": float(roc_auc_score(labels, v)),
            "ap": float(average_precision_score(labels, v)),
            "auc_per_camera": [float(roc_auc_score(labels[cameras == c], v[cameras == c])) for c in both],
        }
        for name, v in values.items()
    }


def _learn(detector: Detector, folder: Path) -> NormalFootage:
    """What is normal for a camera, from clips of it."""
    videos = []
    for path in find_videos([folder]):
        with open_video(path) as video, closing(detector.score(video)) as batches:
            read = [FeatureBatch(batch.segments, batch.features) for batch in batches]
        videos.append(inputs_to(detector.scorer, read))
    camera = learn_camera(detector.scorer, videos)
    if camera is None:
        raise DatasetError(f"{folder} holds one video, or the scorer has no distance to normal: nothing to compare")
    return camera.footage


def _scored(
    store: FeatureStore, records: Sequence[VideoRecord], scorers: Mapping[str, Scorer], fleet: Scorer, sigma: float
) -> Iterator[ScoredVideo]:
    """Smoothed scores of videos, each with the scorer of its camera, or the fleet's."""
    for record in records:
        features = store.load(record.video_id)
        batches = list(stored_batches(features, scorers.get(str(record.camera), fleet)))
        spans, raw = tuple(segment.span for segment in features.segments), np.concatenate([b.raw for b in batches])
        yield ScoredVideo(record, spans, raw, features.times, novelty_of(batches)).smoothed(sigma, "offline")


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
    arms: dict[str, Arm | None] = {FLEET: None}
    arms |= {f"{a:g}, {b:g}": Arm(Shrinkage(a, b)) for a in MEAN_STRENGTHS for b in COVARIANCE_STRENGTHS}
    arms["as used, distances not rescaled"] = Arm(SHRINKAGE, rescaled=False)
    left_out = leave_one_camera_out(data, fleet.heads, params.fit, arms)

    store, sigma = FeatureStore(tests, "headhunt detect --split test"), point.sigma_segments
    cut = detector.bundle.segmentation.model_dump_json()
    key = model_key(detector.bundle.mllm, detector.bundle.mllm_revision)
    store.check([r.video_id for r in records], Source(key, (detector.bundle.prompt,), cut))
    footage = {name: _learn(detector, clips / name) for name in track(names, "clips", console=Console(stderr=True))}
    own = {name: camera_scorer(fleet, normal) for name, normal in footage.items()}
    new = [r for r in records if r.camera in footage]
    rows = {
        "seen cameras, fleet": list(_scored(store, [r for r in records if r.camera in seen], {}, fleet, sigma)),
        "new cameras, fleet": list(_scored(store, new, {}, fleet, sigma)),
        "new cameras, own": list(_scored(store, new, own, fleet, sigma)),
    }
    kinds = {kind for r in labelled for kind in r.kinds}
    rows |= {
        f"{name}, labelled kinds": [v for v in vs if kinds.issuperset(v.record.kinds)] for name, vs in rows.items()
    }
    result = {
        "detector_id": detector.detector_id,
        "shrinkage": asdict(SHRINKAGE),
        "leave_one_camera_out": left_out,
        "segments": {name: normal.segments for name, normal in footage.items()},
        "test": {name: _row(videos, point.threshold, params) for name, videos in rows.items()},
    }
    write_json(out, result)
    return result
