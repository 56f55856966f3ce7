"""conform: normal footage of a camera + bundle -> the bundle with an operating point for this camera.

No labelled anomaly is needed; heads, scorer and model stay as they are.
"""

from collections.abc import Sequence
from pathlib import Path

from headhunt_svc.core.calibration import conformal
from headhunt_svc.data.datasets import data_digest, load_records
from headhunt_svc.detector.bundle import StoredPoint, load_golden, save_bundle
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.errors import ConfigError, list_problems
from headhunt_svc.params import CalibrateParams
from headhunt_svc.pipeline.detect import detect_videos, whole_reports
from headhunt_svc.pipeline.evaluate import scored_video
from headhunt_svc.pipeline.files import Input, inputs_of
from headhunt_svc.storage.files import sha256
from headhunt_svc.types import LABELLED, NORMAL, CalibratedPair, VideoRecord


def _same_content(one: Path, other: Path) -> bool:
    return one.stat().st_size == other.stat().st_size and sha256(one) == sha256(other)


def check_footage_is_new(inputs: Sequence[Input], made_from: str, index: Path, labels: Path) -> None:
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
    known = {i.video_id: r.video_id for i in inputs for r in present if _same_content(i.path, r.path)}
    if known:
        problems = [f"{name} is {video}" for name, video in sorted(known.items())]
        raise ConfigError(
            f"the detector was made from {len(known)} of these videos, which it scores unlike new footage: "
            f"{list_problems(problems)}: take other normal footage of the camera"
        )


def conform(
    bundle: Path, normal: Sequence[Path], name: str, params: CalibrateParams, out: Path, index: Path, labels: Path
) -> CalibratedPair:
    """Write to `out` the bundle with an operating point `name`, conformal on these normal videos.

    Each file counts as one video of the guarantee, which is about windows of `conformal_window_s`.
    index, labels: of the project, where they are.

    Raises:
        ConfigError: the bundle has an operating point of that name, or was made from one of the videos.
        FeatureError: too few videos for the rate, or most of the footage is anomalous to the detector.
        VideoError: a video cannot be scored whole.
    """
    detector = Detector.load(bundle)
    old = detector.bundle
    if name in old.operating_points:
        raise ConfigError(f"{bundle} has an operating point {name!r}: choose another name")
    inputs = inputs_of(normal)
    check_footage_is_new(inputs, old.data["index_sha256"], index, labels)
    videos = []
    for item, report in whole_reports(detect_videos(detector, inputs, options=Options(old.default_point))):
        record = VideoRecord(item.video_id, item.path, report.n_frames, report.fps, "validation", NORMAL, (), ())
        videos.append(scored_video(record, report, raw=True))
    usual = old.operating_point(old.default_point)
    pair = CalibratedPair(conformal(videos, params, "offline", usual), conformal(videos, params, "causal", usual))
    points = old.operating_points | {name: StoredPoint.from_calibrated(pair)}
    unavailable = {other: reason for other, reason in (old.unavailable or {}).items() if other != name}
    update = {"operating_points": points, "unavailable": unavailable or None}
    new = old.relocated(bundle, out).model_copy(update=update)
    save_bundle(out, new, detector.scorer, load_golden(bundle))
    return pair
