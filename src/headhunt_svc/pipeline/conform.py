"""conform: normal footage of a camera + bundle -> the bundle with an operating point for this camera.

No labelled anomaly is needed; heads, scorer and model stay as they are.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from headhunt_svc.core.calibration import conformal
from headhunt_svc.core.protocol import ScoredVideo
from headhunt_svc.detector.bundle import StoredPoint, load_golden, save_bundle
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.report import Report
from headhunt_svc.errors import ConfigError
from headhunt_svc.params import CalibrateParams
from headhunt_svc.pipeline.detect import Input, detect_videos, inputs_of, whole_reports
from headhunt_svc.types import NORMAL, CalibratedPair, FrameSpan, VideoRecord


def _raw(item: Input, report: Report) -> ScoredVideo:
    record = VideoRecord(item.video_id, item.path, report.n_frames, report.fps, "validation", NORMAL, ())
    spans = tuple(FrameSpan(s.start_frame, s.stop_frame) for s in report.scores)
    return ScoredVideo(record, spans, np.array([s.raw for s in report.scores]))


def conform(bundle: Path, normal: Sequence[Path], name: str, params: CalibrateParams, out: Path) -> CalibratedPair:
    """Write to `out` the bundle with an operating point `name`, conformal on these normal videos.

    Each file counts as one video of the guarantee: cut long footage into clips of the length that matters.

    Raises:
        ConfigError: the bundle has an operating point of that name.
        FeatureError: too few videos for the rate.
        VideoError: a video cannot be scored whole.
    """
    detector = Detector.load(bundle)
    made = detector.bundle
    if name in made.operating_points:
        raise ConfigError(f"{bundle} has an operating point {name!r}: choose another name")
    results = detect_videos(detector, inputs_of(normal), options=Options(made.default_point))
    videos = [_raw(item, report) for item, report in whole_reports(results)]
    pair = CalibratedPair(conformal(videos, params, "offline"), conformal(videos, params, "causal"))
    points = made.operating_points | {name: StoredPoint.from_calibrated(pair)}
    changed = made.relocated(bundle, out).model_copy(update={"operating_points": points})
    save_bundle(out, changed, detector.scorer, load_golden(bundle))
    return pair
