"""conform: normal footage of a camera + bundle -> the bundle with a normality and an operating point for this camera.

No labelled anomaly is needed; heads, regression and model stay as they are.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from headhunt_svc.core.background import inputs
from headhunt_svc.core.calibration import RULES, conformal
from headhunt_svc.core.camera_normality import NormalFootage, learn_camera
from headhunt_svc.core.promises import ROUNDING_S, check_mostly_normal
from headhunt_svc.core.protocol import ScoredVideo
from headhunt_svc.data.datasets import data_digest, load_records
from headhunt_svc.detector.batches import FeatureBatch, ScoredBatch, novelty_of
from headhunt_svc.detector.bundle import Bundle, StoredPoint, load_bundle, load_golden, save_bundle
from headhunt_svc.detector.cameras import (
    FLEET,
    CameraParts,
    CameraScorers,
    Margin,
    copy_cameras,
    remove_other_cameras,
    save_camera,
)
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.scores import scored
from headhunt_svc.errors import ConfigError, VideoError, list_problems
from headhunt_svc.names import UNNAMED, CameraName
from headhunt_svc.params import CalibrateParams, SegmentationParams
from headhunt_svc.pipeline.calibrate import without_live
from headhunt_svc.pipeline.changes import changed_meanwhile, only_writer
from headhunt_svc.pipeline.detect import detect_videos, whole_reports
from headhunt_svc.pipeline.evaluate import scored_video
from headhunt_svc.pipeline.files import Input, inputs_of
from headhunt_svc.storage.files import sha256
from headhunt_svc.types import (
    LABELLED,
    NORMAL,
    CalibratedPair,
    CalibratedPoint,
    Scorer,
    Smoothing,
    VideoRecord,
)

OUT_OF_SAMPLE = "each video scored with the normality of others"


def _same_content(one: Path, other: Path) -> bool:
    return one.stat().st_size == other.stat().st_size and sha256(one) == sha256(other)


def check_footage_is_new(files: Sequence[Input], made_from: str, index: Path, labels: Path) -> None:
    """Raise ConfigError if a file holds a video that the detector was made from, which scores unlike new footage.

    made_from: digest of the labelled videos, as the bundle states it. A file is known where the project that the
    bundle is of is here: its index and labels, and the videos themselves.
    """
    if not (index.exists() and labels.exists()):
        return
    records = [r for split in LABELLED for r in load_records(index, labels, split)]
    if data_digest(records) != made_from:
        return
    present = [r for r in records if r.path.is_file()]
    labelled_by_name = {i.video_id: r.video_id for i in files for r in present if _same_content(i.path, r.path)}
    if labelled_by_name:
        problems = [f"{name} is {video}" for name, video in sorted(labelled_by_name.items())]
        raise ConfigError(
            f"the detector was made from {len(labelled_by_name)} of these videos, which it scores unlike new footage: "
            f"{list_problems(problems)}: take other normal footage of the camera"
        )


def check_no_copies(files: Sequence[Input]) -> None:
    """Raise ConfigError if two files have the same content: a copy is no further video for the guarantee."""
    sizes = Counter(item.path.stat().st_size for item in files)
    firsts: dict[str, str] = {}
    copies = []
    for item in files:
        if sizes[item.path.stat().st_size] > 1:  # others have no copy, and need not be read
            first = firsts.setdefault(sha256(item.path), item.video_id)
            copies += [] if first == item.video_id else [f"{item.video_id} is {first}"]
    if copies:
        raise ConfigError(
            f"{len(copies)} of {len(files)} files are copies of others, and each counts as an independent video: "
            f"{list_problems(copies)}: give every video once"
        )


def check_lengths(videos: Sequence[ScoredVideo], segmentation: SegmentationParams) -> None:
    """Raise VideoError if a video is shorter than one segment: the shortest video is the window of the promise."""
    if segmentation.length_s is not None:
        least, unit = segmentation.length_s, "s"
        lengths = [video.duration_s for video in videos]
    else:
        least, unit = segmentation.length, "frames"
        lengths = [float(video.record.n_frames) for video in videos]
    short = [
        f"{video.record.video_id} has {length:.3g} {unit}"
        for video, length in zip(videos, lengths, strict=True)
        if length < least - ROUNDING_S
    ]
    if short:
        raise VideoError(
            f"{len(short)} of {len(videos)} videos are shorter than one segment of {least:g} {unit}: "
            f"{list_problems(short)}: take longer ones, or leave them out"
        )


def _scored_by(scorer: Scorer, video: ScoredVideo, batches: Sequence[FeatureBatch]) -> ScoredVideo:
    """The same video with the raw scores of this scorer."""
    again = list(scored(scorer, batches))
    return replace(video, scores=np.concatenate([batch.raw for batch in again]), novelty=novelty_of(again))


def inputs_to(scorer: Scorer, batches: Sequence[FeatureBatch]) -> Float[np.ndarray, "segment features"]:
    """What the scorer sees of a video: its features, beside their difference to its background where there is one."""
    features = np.concatenate([batch.features.reshape(len(batch.features), -1) for batch in batches])
    return np.asarray(inputs(scorer.background, features))


def check_name(bundle: Bundle, name: str, again: bool) -> None:
    """Raise ConfigError if a camera cannot have this name; again: may it have it already?"""
    if not name.strip() or CameraName(name) == UNNAMED:
        raise ConfigError(f"{UNNAMED!r}, or no name, is what videos without a camera have: choose another name")
    if name in RULES:
        raise ConfigError(f"{name!r} is the operating point of a rule (docs/evaluation.md): choose another name")
    if name == FLEET:
        raise ConfigError(f"{FLEET!r} is what the average of all cameras is called: choose another name")
    has = "an operating point" if name in bundle.operating_points else "a camera"
    if not again and (name in bundle.operating_points or name in (bundle.cameras or {})):
        raise ConfigError(f"the bundle has {has} {name!r}: choose another name, or give --again to renew this camera")


def conform(
    bundle: Path,
    normal: Sequence[Path],
    name: str,
    params: CalibrateParams,
    out: Path,
    index: Path,
    labels: Path,
    again: bool = False,
) -> CalibratedPair:
    """Write to `out` the bundle with a camera `name`: its normality, and a conformal operating point of that name.

    Each file counts as one video of the guarantee, which is about windows of `conformal_window_s`. From one video,
    and with a scorer without a distance to normal, there is an operating point alone: a renewed camera then has no
    normality any more, as the threshold is not of scores with the one it had.
    index, labels: of the project, where they are. again: renew a camera that the bundle has; weights that it has from
    marks stay.

    Raises:
        ConfigError: the name is taken, a video is given twice, or the bundle was made from one of the videos.
        FeatureError: too few videos for the rate, or most of the footage is anomalous to the detector.
        VideoError: a video cannot be scored whole, or is shorter than a segment.
        ArtifactError, OutputError: see write_conformed.
    """
    detector = Detector.load(bundle)
    old, fleet = detector.bundle, detector.scorer
    check_name(old, name, again)
    before = CameraScorers.load(bundle, fleet, old.cameras)
    margin, own = before.margin(name), before.margin_scorer(name)
    files = inputs_of(normal)
    check_no_copies(files)
    check_footage_is_new(files, old.data["index_sha256"], index, labels)
    read: dict[str, list[FeatureBatch]] = {}

    def keep(item: Input, batch: ScoredBatch) -> None:
        read.setdefault(item.video_id, []).append(FeatureBatch(batch.segments, batch.features))

    videos = []
    results = detect_videos(detector, files, options=Options(old.default_point), camera=FLEET, keep=keep)
    for item, report in whole_reports(results):
        record = VideoRecord(item.video_id, item.path, report.n_frames, report.fps, "validation", NORMAL, (), ())
        videos.append(scored_video(record, report, raw=True))
    check_lengths(videos, old.segmentation)
    footage = [read[video.record.video_id] for video in videos]
    usual = old.operating_point(old.default_point)
    check_mostly_normal([v.smoothed(usual.sigma_segments, usual.smoothing) for v in videos], usual.threshold)
    camera = learn_camera(own, [inputs_to(own, batches) for batches in footage])
    if camera is not None or margin is not None:
        scorers = [own] * len(footage) if camera is None else camera.of_others
        videos = [_scored_by(*parts) for parts in zip(scorers, videos, footage, strict=True)]
    pair = _points(videos, params, OUT_OF_SAMPLE if camera else None)
    pair = without_live(pair) if fleet.background == "median" else pair
    write_conformed(
        bundle, out, old, name, StoredPoint.from_calibrated(pair), camera.footage if camera else None, margin
    )
    return pair


def write_conformed(
    bundle: Path,
    out: Path,
    old: Bundle,
    name: str,
    point: StoredPoint,
    footage: NormalFootage | None,
    margin: Margin | None = None,
) -> None:
    """Write to `out` the bundle with the camera `name`; footage None: it has no normality of its own.

    old: the bundle as it was when the footage was scored. It is read again, so that cameras which other processes have
    added since then stay; another bundle in `out` is replaced. In place, what an interruption leaves can be read: the
    camera's old file goes after bundle.json is written.

    Raises:
        ArtifactError: the bundle has become another detector since, or has changed this camera.
        OutputError: it cannot be written, or another process writes to `out` for long.
    """
    with only_writer(out):
        now, fleet = load_bundle(bundle)
        if _without_others(now, name) != _without_others(old, name):
            raise changed_meanwhile(bundle)
        cameras = {other: stored for other, stored in (now.cameras or {}).items() if other != name}
        unavailable = {other: why for other, why in (now.unavailable or {}).items() if other != name}
        copy_cameras(bundle, out, cameras)
        if footage is not None or margin is not None:
            conformed = None if margin is None else footage
            cameras[name] = save_camera(out, name, CameraParts(footage, margin=margin, conformed=conformed))
        update = {
            "operating_points": now.operating_points | {name: point},
            "unavailable": unavailable or None,
            "cameras": cameras or None,
        }
        new = now.relocated(bundle, out).model_copy(update=update)
        save_bundle(out, new, fleet, load_golden(bundle))
        remove_other_cameras(out, cameras)


def _without_others(bundle: Bundle, name: str) -> Bundle:
    """What a camera's normality and threshold depend on: the detector, and what it has of this camera."""
    cameras = {camera: stored for camera, stored in (bundle.cameras or {}).items() if camera == name}
    points = {camera: point for camera, point in bundle.operating_points.items() if camera == name}
    return bundle.model_copy(update={"cameras": cameras, "operating_points": points, "unavailable": None})


def _points(videos: Sequence[ScoredVideo], params: CalibrateParams, note: str | None) -> CalibratedPair:
    """Conformal operating points; note: what their rules also say."""

    def point(smoothing: Smoothing) -> CalibratedPoint:
        chosen = conformal(videos, params, smoothing)
        return replace(chosen, rule=f"{chosen.rule}; {note}") if note else chosen

    return CalibratedPair(point("offline"), point("causal"))
