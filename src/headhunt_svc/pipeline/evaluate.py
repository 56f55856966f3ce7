"""evaluate: the detector's reports of the test videos against the truth.

Every choice was made on calibration and validation videos; AUC and AP are of the smoothed scores, frame by frame, and
the threshold does not enter them. What is computed and how is core/protocol.py, for any scores from anywhere.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from headhunt_svc.core.metrics import count_metrics
from headhunt_svc.core.protocol import Figures, ScoredVideo, assess, by_kind, counts_of
from headhunt_svc.data.datasets import load_index
from headhunt_svc.data.footage import annotations_of
from headhunt_svc.detector.bundle import Bundle, load_bundle
from headhunt_svc.detector.report import Report, load_report
from headhunt_svc.errors import ArtifactError
from headhunt_svc.params import DatasetParams, EvaluateParams
from headhunt_svc.pipeline.detect import report_path
from headhunt_svc.pipeline.plots import picture_all
from headhunt_svc.storage.files import write_json
from headhunt_svc.types import FrameSpan, OperatingPoint, VideoRecord


def figures(videos: Sequence[ScoredVideo], params: EvaluateParams) -> Figures:
    """Rank metrics with intervals over videos, and those of each kind beside the normal videos."""
    made = asdict(count_metrics(counts_of(videos), params.bootstrap, params.seed))
    return {**made, "by_kind": by_kind(videos, params.seed)}


def _with_report(records: Sequence[VideoRecord], reports: Path, allow_missing: bool) -> list[VideoRecord]:
    there = [r for r in records if report_path(reports, r.video_id).exists()]
    names = [r.video_id for r in records if r not in there]
    if names and not allow_missing:
        raise ArtifactError(
            f"{len(names)} of {len(records)} test videos have no report in {reports}: {', '.join(names[:5])}"
            f"{', ...' if len(names) > 5 else ''}: run `headhunt detect --split test`, or give --allow-missing"
        )
    if not there:
        raise ArtifactError(f"{reports} holds no report of a test video: run `headhunt detect --split test`")
    return there


def _scored(record: VideoRecord, report: Report, raw: bool) -> ScoredVideo:
    spans = tuple(FrameSpan(s.start_frame, s.stop_frame) for s in report.scores)
    return ScoredVideo(record, spans, np.array([s.raw if raw else s.smoothed for s in report.scores]))


def _live(
    videos: Sequence[ScoredVideo], bundle: Bundle, operating_point: str, params: EvaluateParams
) -> Figures | None:
    """The main figures of causal smoothing at this operating point's own (sigma, tau); None where it has none."""
    point = bundle.operating_points[operating_point]
    if point.causal is None:
        return None
    locator = bundle.operating_point(operating_point, "causal")
    found = assess([v.smoothed(locator.sigma_segments, "causal") for v in videos], locator, params)
    kept = ("roc_auc", "average_precision", "roc_auc_interval", "average_precision_interval", "at_threshold")
    return {"sigma_segments": locator.sigma_segments} | {
        k: found[k] for k in (*kept, "detection_delay", "false_alarms")
    }


def evaluate(
    params: EvaluateParams,
    dataset: DatasetParams,
    index: Path,
    bundle: Path,
    reports: Path,
    out: Path,
    plots: Path,
    allow_missing: bool = False,
) -> Figures:
    """The stage evaluate: metrics.json with the figures of the detector on the split test, and pictures of them.

    Raises:
        ArtifactError: a test video without a report (unless that is allowed), or a report of another detector, length
            or operating point.
    """
    indexed = load_index(index, "test")
    records = _with_report(indexed, reports, allow_missing)
    missing = {r.video_id for r in indexed} - {r.video_id for r in records}
    if dataset.allow_missing:
        names = {r.video_id for r in indexed}
        missing |= {a.video for a in annotations_of(dataset)[0] if a.split == "test"} - names
    made, _ = load_bundle(bundle)
    found = [load_report(report_path(reports, r.video_id)) for r in records]
    first = found[0]
    for record, report in zip(records, found, strict=True):
        if report.detector_id != made.detector_id or report.n_frames != record.n_frames:
            raise ArtifactError(f"the report of {record.video_id} is of another detector or length: run `dvc repro`")
        if report.operating_point != first.operating_point:
            raise ArtifactError(
                f"the report of {record.video_id} is of operating point {report.operating_point}, the one of "
                f"{records[0].video_id} of {first.operating_point}: run `dvc repro`"
            )
    videos = [_scored(r, report, raw=False) for r, report in zip(records, found, strict=True)]
    locator = OperatingPoint(first.sigma_segments, first.threshold, first.smoothing)
    raw = [_scored(r, report, raw=True) for r, report in zip(records, found, strict=True)]
    figures = assess(videos, locator, params)
    result = {
        "detector_id": made.detector_id,
        "protocol": {
            "dataset": dataset.layout,
            "span_ends": dataset.span_ends,
            "smoothing": locator.smoothing,
            "sigma": locator.sigma_segments,
            "operating_point": first.operating_point,
            "bootstrap": params.bootstrap,
            "missing": sorted(missing),
        },
        "f1": figures["at_threshold"]["f1"],
        **figures,
        "causal": _live(raw, made, first.operating_point, params),
    }
    write_json(out, result)
    picture_all(plots, videos, figures, params)
    return result
