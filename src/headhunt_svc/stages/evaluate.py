"""evaluate: the detector's reports of the test videos against the truth.

Every choice was made on calibration and validation videos; AUC and AP are of the smoothed scores, frame by frame, and
the threshold does not enter them.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from headhunt_svc.core.metrics import FrameScores, frame_f1, frame_metrics
from headhunt_svc.core.segmentation import frame_values
from headhunt_svc.errors import ArtifactError
from headhunt_svc.io.artifacts import load_bundle
from headhunt_svc.io.datasets import load_index
from headhunt_svc.io.files import write_json
from headhunt_svc.io.reports import Report, load_report
from headhunt_svc.params import EvaluateParams, Params
from headhunt_svc.stages.detect import report_path
from headhunt_svc.types import NORMAL, FrameSpan, VideoRecord


def figures(records: Sequence[VideoRecord], scores: FrameScores, params: EvaluateParams) -> dict[str, Any]:
    """Frame-level ROC-AUC and AP with intervals over videos, and both for each kind beside the normal videos."""
    truths = [r.truth() for r in records]
    by_kind = {}
    for kind in sorted({r.label for r in records} - {NORMAL}):
        chosen = [i for i, r in enumerate(records) if r.label in (kind, NORMAL)]
        m = frame_metrics([truths[i] for i in chosen], [scores[i] for i in chosen], 0, params.seed)
        by_kind[kind] = {"roc_auc": m.roc_auc, "average_precision": m.average_precision, "n_videos": m.n_videos}
    return {**asdict(frame_metrics(truths, scores, params.bootstrap, params.seed)), "by_kind": by_kind}


def _frame_scores(report: Report) -> np.ndarray:
    spans = [FrameSpan(s.start_frame, s.stop_frame) for s in report.scores]
    return frame_values(spans, np.array([s.smoothed for s in report.scores]), report.n_frames)


def evaluate(params: Params, index: Path, bundle: Path, reports: Path, out: Path) -> None:
    """The stage evaluate: metrics.json with the figures of the detector on the split test.

    Raises:
        ArtifactError: a test video without a report, or a report of another detector or length.
    """
    records = load_index(index, "test")
    detector_id = load_bundle(bundle)[0].detector_id
    found = [load_report(report_path(reports, r.video_id)) for r in records]
    for record, report in zip(records, found, strict=True):
        if report.detector_id != detector_id or report.n_frames != record.n_frames:
            raise ArtifactError(f"the report of {record.video_id} is of another detector or length: run `dvc repro`")
    scores = [_frame_scores(r) for r in found]
    flagged = np.concatenate(scores) > found[0].threshold
    f1 = frame_f1(np.concatenate([r.truth() for r in records]), flagged)
    write_json(out, {"detector_id": detector_id, "f1": f1, **figures(records, scores, params.evaluate)})
