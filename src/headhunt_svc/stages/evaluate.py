"""baselines and evaluate: reports of the test videos against the truth, beside what the method must beat.

All rows share one protocol: fit on calibration videos, (sigma, tau) and every other choice on validation videos,
frame-level figures on the test videos. AUC and AP are of the smoothed scores; the threshold does not enter them.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from headhunt_svc.core.localization import smooth
from headhunt_svc.core.metrics import frame_f1, frame_metrics
from headhunt_svc.core.segmentation import frame_values
from headhunt_svc.errors import ArtifactError
from headhunt_svc.io.artifacts import load_bundle, model_revision
from headhunt_svc.io.datasets import load_index
from headhunt_svc.io.feature_store import FeatureStore
from headhunt_svc.io.files import write_json
from headhunt_svc.io.reports import Report, load_report
from headhunt_svc.mllm.extractor import load_extractor
from headhunt_svc.params import Params
from headhunt_svc.settings import Settings
from headhunt_svc.stages.detect import report_path
from headhunt_svc.stages.extract import extract_videos
from headhunt_svc.stages.training import (
    LabelledFeatures,
    calibrate_scorer,
    fit_heads,
    identify_heads,
    labelled,
    raw_scores,
)
from headhunt_svc.types import FrameSpan, HeadRef, Metrics, VideoRecord

Splits = dict[str, LabelledFeatures]
UNTRAINED_SEED = 0


def baselines(params: Params, index: Path, out: Path) -> None:
    """Features that the baselines need: test videos of the model, and all splits of the untrained model."""
    calibration, validation, test = (load_index(index, s) for s in ("calibration", "validation", "test"))
    device, cut = Settings().device, params.segmentation
    scoring = (params.prompts.scoring_text,)
    key = f"{model_revision(params.mllm)} {params.mllm.dtype} {params.mllm.attention}"
    trained, untrained = FeatureStore(out / "trained"), FeatureStore(out / "untrained")
    extract_videos(load_extractor(params.mllm, device), key, test, scoring, cut, trained)
    trained.finish(r.video_id for r in test)
    model = load_extractor(params.mllm, device, untrained_seed=UNTRAINED_SEED)
    extract_videos(model, f"untrained {key}", calibration, params.prompts.texts, cut, untrained)
    extract_videos(model, f"untrained {key}", validation + test, scoring, cut, untrained)
    untrained.finish(r.video_id for r in calibration + validation + test)


def _row(metrics: Metrics, how: str, **more: Any) -> dict[str, Any]:
    return {**asdict(metrics), **more, "how": how}


def _arm(splits: Splits, heads: tuple[HeadRef, ...], params: Params, on: str = "test", bootstrap: int = 0) -> Metrics:
    """Figures of any set of heads under the common protocol."""
    scorer = fit_heads(splits["calibration"], heads, params.fit)
    locator, _ = calibrate_scorer(splits["validation"], scorer, params.calibrate)
    data = splits[on]
    smoothed = [smooth(raw, locator.sigma_segments) for raw in raw_scores(data, scorer)]
    truths = [r.truth() for r in data.records]
    scores = [frame_values(s, v, len(t)) for s, v, t in zip(data.spans(), smoothed, truths, strict=True)]
    return frame_metrics(truths, scores, bootstrap, params.evaluate.seed)


def _frame_scores(report: Report) -> np.ndarray:
    spans = [FrameSpan(s.start_frame, s.stop_frame) for s in report.scores]
    return frame_values(spans, np.array([s.smoothed for s in report.scores]), report.n_frames)


def _expert_row(params: Params, records: Sequence[VideoRecord], reports: Sequence[Report]) -> dict[str, Any]:
    truths = [r.truth() for r in records]
    scores = [_frame_scores(r) for r in reports]
    seed = params.evaluate.seed
    metrics = frame_metrics(truths, scores, params.evaluate.bootstrap, seed)
    flagged = np.concatenate(scores) > reports[0].threshold
    by_kind = {}
    for kind in sorted({r.label for r in records} - {"normal"}):
        chosen = [i for i, r in enumerate(records) if r.label in (kind, "normal")]
        m = frame_metrics([truths[i] for i in chosen], [scores[i] for i in chosen], 0, seed)
        by_kind[kind] = {"roc_auc": m.roc_auc, "average_precision": m.average_precision, "n_videos": m.n_videos}
    how = "the detector bundle's reports: what serving answers"
    return _row(
        metrics, how, detector_id=reports[0].detector_id, f1=frame_f1(np.concatenate(truths), flagged), by_kind=by_kind
    )


def _random_row(splits: Splits, top_k: int, params: Params) -> dict[str, Any]:
    heads = splits["calibration"].features.heads
    rng = np.random.default_rng(params.evaluate.seed)
    draws = []
    for _ in track(range(params.evaluate.random_draws), description="random heads"):
        chosen = rng.choice(len(heads), top_k, replace=False)
        draws.append(_arm(splits, tuple(heads[i] for i in chosen), params))
    auc, ap = np.array([d.roc_auc for d in draws]), np.array([d.average_precision for d in draws])

    def middle(x: np.ndarray) -> tuple[float, float]:
        return float(np.quantile(x, 0.025)), float(np.quantile(x, 0.975))

    mean = Metrics(float(auc.mean()), float(ap.mean()), middle(auc), middle(ap), draws[0].n_videos, draws[0].n_frames)
    return _row(mean, f"mean of {len(draws)} draws of {top_k} heads; the interval is over draws, not videos")


def _layer_row(splits: Splits, params: Params) -> dict[str, Any]:
    heads = splits["calibration"].features.heads
    layers = {layer: tuple(h for h in heads if h.layer == layer) for layer in sorted({h.layer for h in heads})}
    best = max(layers, key=lambda layer: _arm(splits, layers[layer], params, on="validation").roc_auc)
    metrics = _arm(splits, layers[best], params, bootstrap=params.evaluate.bootstrap)
    return _row(metrics, f"all {len(layers[best])} heads of layer {best}, the best on validation videos")


def evaluate(params: Params, index: Path, bundle: Path, reports: Path, features: Path, extra: Path, out: Path) -> None:
    """The stage evaluate: metrics.json with rows expert_heads, random_heads, whole_layer, untrained.

    Raises:
        ArtifactError: a test video without a report, or a report of another detector or length.
    """
    records = {s: load_index(index, s) for s in ("calibration", "validation", "test")}
    detector_id = load_bundle(bundle)[0].detector_id
    found = [load_report(report_path(reports, r.video_id)) for r in records["test"]]
    for record, report in zip(records["test"], found, strict=True):
        if report.detector_id != detector_id or report.n_frames != record.n_frames:
            raise ArtifactError(f"the report of {record.video_id} is of another detector or length: run `dvc repro`")
    share, scoring = params.label.min_anomalous_share, params.prompts.scoring
    stored, trained, untrained = (
        FeatureStore(features),
        FeatureStore(extra / "trained"),
        FeatureStore(extra / "untrained"),
    )
    splits = {s: labelled(stored, records[s], scoring, share) for s in ("calibration", "validation")}
    splits["test"] = labelled(trained, records["test"], 0, share)
    prompts = range(len(params.prompts.texts))
    raw_model = [labelled(untrained, records["calibration"], i, share) for i in prompts]
    untrained_splits = {s: labelled(untrained, records[s], 0, share) for s in ("validation", "test")}
    untrained_splits["calibration"] = raw_model[scoring]
    heads, _ = identify_heads(raw_model, params.identify)
    n = params.evaluate.bootstrap
    how = f"random weights (seed {UNTRAINED_SEED}), heads hunted, fitted and tuned in the same way"
    rows = {
        "expert_heads": _expert_row(params, records["test"], found),
        "random_heads": _random_row(splits, params.identify.top_k, params),
        "whole_layer": _layer_row(splits, params),
        "untrained": _row(_arm(untrained_splits, heads, params, bootstrap=n), how),
    }
    write_json(out, rows)
