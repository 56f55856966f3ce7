"""False alarms per hour of the embedded default: hours of normal footage of cameras that made no part of the detector.

The detector's reports of the videos are kept, so that a run that was stopped goes on, and a second one only counts.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headhunt_svc.core.event_metrics import false_alarms
from headhunt_svc.core.promises import window_peaks
from headhunt_svc.core.protocol import Figures, ScoredVideo
from headhunt_svc.core.rates import dispersion, poisson_interval
from headhunt_svc.demo.footage import LongVideo, make_long
from headhunt_svc.demo.params import CorpusParams
from headhunt_svc.demo.scenes import N_LABELLED_CAMERAS
from headhunt_svc.detector.bundle import StoredPoint
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.report import Report
from headhunt_svc.pipeline.detect import detect_videos, whole_reports
from headhunt_svc.pipeline.evaluate import scored_video
from headhunt_svc.pipeline.files import Input, Outputs
from headhunt_svc.storage.files import write_json
from headhunt_svc.types import NORMAL, OperatingPoint, Smoothing, VideoRecord

RATES = "rates.json"
MINUTES = 10.0  # of a video
WINDOW_S = 16.0  # a conformal promise is about windows of about this length: the shortest normal videos of the corpus
SMOOTHINGS: tuple[Smoothing, Smoothing] = ("offline", "causal")


def long_videos(hours: float, params: CorpusParams, minutes: float = MINUTES) -> list[LongVideo]:
    """Normal videos of at least so many hours together, each of another camera without labelled videos."""
    n = math.ceil(hours * 60 / minutes)
    return [LongVideo(N_LABELLED_CAMERAS + i, minutes * 60, params.size, params.seed) for i in range(n)]


def _raw(item: Input, report: Report) -> ScoredVideo:
    """The raw scores of a normal video."""
    record = VideoRecord(item.video_id, item.path, report.n_frames, report.fps, "test", NORMAL, ())
    return scored_video(record, report, raw=True)


def _alarms(videos: Sequence[ScoredVideo], point: OperatingPoint, window_s: float) -> Figures:
    """Alarms in normal videos: all, per hour with an interval, the share of windows with one, and of every camera.

    windows_with_alarm is None where no video is as long as a window.
    """
    smoothed = [v.smoothed(point.sigma_segments, point.smoothing) for v in videos]
    detected = [v.events(point.threshold) for v in smoothed]
    peaks = np.concatenate([window_peaks(v, window_s) for v in smoothed])
    together = false_alarms(detected)
    counts = [len(v.events) for v in detected]
    hours = np.array([v.duration_s for v in videos]) / 3600
    return {
        "sigma_segments": point.sigma_segments,
        "threshold": point.threshold,
        **together,
        "interval": list(poisson_interval(together["events"], together["hours"])),
        "dispersion": dispersion(counts, hours),
        "windows_with_alarm": float((peaks > point.threshold).mean()) if len(peaks) else None,
        "per_camera": {
            v.record.video_id: {"events": n, "per_hour": n / h}
            for v, n, h in zip(videos, counts, hours.tolist(), strict=True)
        },
    }


def alarm_rates(
    videos: Sequence[ScoredVideo], points: Mapping[str, StoredPoint], window_s: float
) -> dict[str, Figures]:
    """The alarms in normal videos, of raw scores, at every operating point and for either way of smoothing."""
    rows: dict[str, Figures] = {}
    for name, stored in points.items():
        pair = zip(SMOOTHINGS, (stored, stored.causal), strict=True)
        rows[name] = {
            smoothing: {
                "rule": point.rule,
                **_alarms(videos, OperatingPoint(point.sigma_segments, point.threshold, smoothing), window_s),
            }
            for smoothing, point in pair
            if point is not None
        }
    return rows


def rates(bundle: Path, folder: Path, params: CorpusParams, hours: float, minutes: float = MINUTES) -> dict[str, Any]:
    """Render and score normal footage in `folder`, unless it is there, and write the false alarms to rates.json.

    Raises:
        VideoError: a video could not be scored whole.
    """
    videos = long_videos(hours, params, minutes)
    make_long(folder, videos)
    detector = Detector.load(bundle, whole=True)
    inputs = [Input(folder / video.file, video.name) for video in videos]
    outputs = Outputs(folder / "reports", resume=True)
    options = Options(detector.bundle.default_point)
    reports = whole_reports(detect_videos(detector, inputs, outputs, options))
    scored = [_raw(item, report) for item, report in reports]
    result = {
        "detector_id": detector.detector_id,
        "videos": len(videos),
        "minutes": minutes,
        "window_s": WINDOW_S,
        "hours": sum(v.duration_s for v in scored) / 3600,
        "operating_points": alarm_rates(scored, detector.bundle.operating_points, WINDOW_S),
        "unavailable": detector.bundle.unavailable or {},
    }
    write_json(folder / RATES, result)
    return result
