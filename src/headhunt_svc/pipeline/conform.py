"""conform: normal footage of a camera + bundle -> the bundle with an operating point for this camera.

No labelled anomaly is needed; heads, scorer and model stay as they are.
"""

from collections.abc import Sequence
from pathlib import Path

from headhunt_svc.core.calibration import conformal
from headhunt_svc.detector.bundle import StoredPoint, load_golden, save_bundle
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.errors import ConfigError
from headhunt_svc.params import CalibrateParams
from headhunt_svc.pipeline.detect import detect_videos, whole_reports
from headhunt_svc.pipeline.evaluate import scored_video
from headhunt_svc.pipeline.files import inputs_of
from headhunt_svc.types import NORMAL, CalibratedPair, VideoRecord


def conform(bundle: Path, normal: Sequence[Path], name: str, params: CalibrateParams, out: Path) -> CalibratedPair:
    """Write to `out` the bundle with an operating point `name`, conformal on these normal videos.

    Each file counts as one video of the guarantee: cut long footage into clips of the length that matters.

    Raises:
        ConfigError: the bundle has an operating point of that name.
        FeatureError: too few videos for the rate.
        VideoError: a video cannot be scored whole.
    """
    detector = Detector.load(bundle)
    old = detector.bundle
    if name in old.operating_points:
        raise ConfigError(f"{bundle} has an operating point {name!r}: choose another name")
    videos = []
    results = detect_videos(detector, inputs_of(normal), options=Options(old.default_point))
    for item, report in whole_reports(results):
        record = VideoRecord(item.video_id, item.path, report.n_frames, report.fps, "validation", NORMAL, (), ())
        videos.append(scored_video(record, report, raw=True))
    pair = CalibratedPair(conformal(videos, params, "offline"), conformal(videos, params, "causal"))
    points = old.operating_points | {name: StoredPoint.from_calibrated(pair)}
    unavailable = {other: reason for other, reason in (old.unavailable or {}).items() if other != name}
    update = {"operating_points": points, "unavailable": unavailable or None}
    new = old.relocated(bundle, out).model_copy(update=update)
    save_bundle(out, new, detector.scorer, load_golden(bundle))
    return pair
