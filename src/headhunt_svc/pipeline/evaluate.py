"""evaluate: the detector's reports of the test videos against the truth.

Every choice was made on calibration and validation videos; AUC and AP are of the smoothed scores, frame by frame, and
do not depend on the threshold. The figures are computed by core/protocol.py, as for scores from anywhere else.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from headhunt_svc.core.groups import groups, undefined
from headhunt_svc.core.protocol import Figures, ScoredVideo, assess
from headhunt_svc.data.datasets import data_digest, load_records
from headhunt_svc.data.footage import annotations_of
from headhunt_svc.detector.bundle import Bundle, load_bundle
from headhunt_svc.detector.report import Report, load_report
from headhunt_svc.errors import ArtifactError, list_problems
from headhunt_svc.params import DatasetParams, EvaluateParams
from headhunt_svc.pipeline.files import report_path
from headhunt_svc.pipeline.plots import picture_all
from headhunt_svc.storage.files import write_json
from headhunt_svc.types import LABELLED, FrameSpan, OperatingPoint, VideoRecord


def scored_video(record: VideoRecord, report: Report, raw: bool = False) -> ScoredVideo:
    """The smoothed (or raw) scores of a report beside the truth."""
    spans = tuple(FrameSpan(s.start_frame, s.stop_frame) for s in report.scores)
    times = np.array([(s.start_s, s.stop_s) for s in report.scores])
    scores = np.array([s.raw if raw else s.smoothed for s in report.scores])
    novelty = [s.novelty for s in report.scores if raw and s.novelty is not None]
    return ScoredVideo(record, spans, scores, times, np.array(novelty) if novelty else None)


def _with_report(records: Sequence[VideoRecord], reports: Path, allow_missing: bool) -> list[VideoRecord]:
    present = [r for r in records if report_path(reports, r.video_id).exists()]
    missing = [r.video_id for r in records if r not in present]
    if missing and not allow_missing:
        raise ArtifactError(
            f"{len(missing)} of {len(records)} test videos have no report in {reports}: {list_problems(missing)}: "
            "run `headhunt detect --split test`, or give --allow-missing"
        )
    if not present:
        raise ArtifactError(f"{reports} holds no report of a test video: run `headhunt detect --split test`")
    return present


def _load_reports(records: Sequence[VideoRecord], folder: Path, bundle: Bundle) -> list[Report]:
    """The reports of some videos, all of this detector and at one operating point."""
    reports = [load_report(report_path(folder, r.video_id)) for r in records]
    first = reports[0]
    for record, report in zip(records, reports, strict=True):
        path = report_path(folder, record.video_id)
        for what, is_, expected in (
            ("detector", report.detector_id, bundle.detector_id),
            ("frames", report.n_frames, record.n_frames),
        ):
            if is_ != expected:
                raise ArtifactError(
                    f"{path}, the report of {record.video_id}, states {what} {is_}, but it should be {expected}: run "
                    "`headhunt detect --split test` again"
                )
        if report.operating_point != first.operating_point:
            raise ArtifactError(
                f"{path}, the report of {record.video_id}, is of operating point {report.operating_point}, the one of "
                f"{records[0].video_id} of {first.operating_point}: run `dvc repro`"
            )
    return reports


def _live_figures(raw: Sequence[ScoredVideo], bundle: Bundle, name: str, params: EvaluateParams) -> Figures | None:
    """The main figures of causal smoothing at this operating point's causal sigma and threshold; None without them."""
    if bundle.operating_points[name].causal is None:
        return None
    point = bundle.operating_point(name, "causal")
    figures = assess([v.smoothed(point.sigma_segments, "causal") for v in raw], point, params)
    rank = ("roc_auc", "average_precision", "roc_auc_interval", "average_precision_interval")
    keys = (*rank, "at_threshold", "detection_delay", "false_alarms")
    return {"sigma_segments": point.sigma_segments} | {key: figures[key] for key in keys}


def groups_of(
    videos: Sequence[ScoredVideo], labelled: Sequence[VideoRecord], bundle: Bundle, params: EvaluateParams
) -> dict[str, Figures]:
    """Figures of unseen kinds and new cameras; labelled: the calibration and validation videos of the index."""
    if labelled and data_digest(labelled) != bundle.data["index_sha256"]:
        return undefined("the detector was made from other calibration and validation videos than those of the index")
    return groups(videos, labelled, params)


def evaluate(
    params: EvaluateParams,
    dataset: DatasetParams,
    index: Path,
    labels: Path,
    bundle: Path,
    reports: Path,
    out: Path,
    plots: Path,
    allow_missing: bool = False,
) -> Figures:
    """The stage evaluate: writes metrics.json with the figures of the detector on the split test, and plots of them.

    Raises:
        ArtifactError: a test video without a report (unless that is allowed), or a report of another detector, length
            or operating point.
    """
    indexed = load_records(index, labels, "test")
    records = _with_report(indexed, reports, allow_missing)
    expected = {r.video_id for r in indexed}
    if dataset.allow_missing:
        expected |= {a.video for a in annotations_of(dataset)[0] if a.split == "test"}
    detector, _ = load_bundle(bundle)
    pairs = list(zip(records, _load_reports(records, reports, detector), strict=True))
    first = pairs[0][1]
    point = OperatingPoint(first.sigma_segments, first.threshold, first.smoothing)
    videos = [scored_video(record, report) for record, report in pairs]
    raw = [scored_video(record, report, raw=True) for record, report in pairs]
    figures = assess(videos, point, params)
    labelled = [r for split in LABELLED for r in load_records(index, labels, split)]
    result = {
        "detector_id": detector.detector_id,
        "protocol": {
            "dataset": dataset.layout,
            "span_ends": dataset.span_ends,
            "smoothing": point.smoothing,
            "sigma": point.sigma_segments,
            "operating_point": first.operating_point,
            "bootstrap": params.bootstrap,
            "missing": sorted(expected - {r.video_id for r in records}),
        },
        "f1": figures["at_threshold"]["f1"],
        **figures,
        "groups": groups_of(videos, labelled, detector, params),
        "causal": _live_figures(raw, detector, first.operating_point, params),
    }
    write_json(out, result)
    picture_all(plots, videos, figures, params)
    return result
