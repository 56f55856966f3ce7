"""compare: the whole method on several models over the same videos; the best is chosen on validation videos."""

from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path

from headhunt_svc.core.metrics import count_metrics
from headhunt_svc.core.protocol import Figures, counts_of
from headhunt_svc.data.datasets import load_records
from headhunt_svc.data.feature_store import FeatureStore
from headhunt_svc.detector.bundle import model_key
from headhunt_svc.model.loading import load_extractor
from headhunt_svc.params import MllmParams, Params
from headhunt_svc.pipeline.extract import extract_videos
from headhunt_svc.pipeline.identify import identify_heads
from headhunt_svc.pipeline.labelled_features import load_labelled
from headhunt_svc.settings import Settings
from headhunt_svc.storage.files import write_json
from headhunt_svc.studies.arms import rank_metrics, score_splits, smooth_all, tune
from headhunt_svc.types import LABELLED, Split


def _evaluate_model(params: Params, mllm: MllmParams, index: Path, labels: Path, work: Path) -> Figures:
    """The method's figures with one model on validation and test videos."""
    splits: tuple[Split, ...] = (*LABELLED, "test")
    records = {s: load_records(index, labels, s) for s in splits}
    model, key = cache(partial(load_extractor, mllm, params.segmentation, Settings().device)), model_key(mllm)
    labelled, tests = FeatureStore(work / "labelled"), FeatureStore(work / "test")
    labelled_records, texts = records["calibration"] + records["validation"], params.prompts.texts
    extract_videos(model, key, labelled_records, texts, params.segmentation, labelled)
    extract_videos(model, key, records["test"], (params.prompts.scoring_text,), params.segmentation, tests)
    share, scoring = params.label.min_anomalous_share, params.prompts.scoring
    prompts = [load_labelled(labelled, records["calibration"], i, share) for i in range(len(texts))]
    heads = identify_heads(prompts, params.identify)
    data = {
        "calibration": prompts[scoring],
        "validation": load_labelled(labelled, records["validation"], scoring, share),
        "test": load_labelled(tests, records["test"], 0, share),
    }
    raw = score_splits(data, heads, params)
    sigma = tune(raw["validation"], params).sigma_segments
    on_validation = count_metrics(counts_of(smooth_all(raw["validation"], sigma)), 0, 0)
    return {
        "revision": key.split()[0],
        "heads": [list(h) for h in heads],
        "validation": {"roc_auc": on_validation.roc_auc, "average_precision": on_validation.average_precision},
        "test": rank_metrics(smooth_all(raw["test"], sigma), labelled_records, params.evaluate),
    }


def compare(params: Params, models: Mapping[str, Path], index: Path, labels: Path, work: Path, out: Path) -> str:
    """Write the figures of every model to `out`; returns the name of the one with the best validation ROC-AUC."""
    figures = {
        name: _evaluate_model(params, params.mllm.model_copy(update={"id": str(folder)}), index, labels, work / name)
        for name, folder in models.items()
    }
    best = max(figures, key=lambda name: float(figures[name]["validation"]["roc_auc"]))
    write_json(out, {"best_on_validation": best, "models": figures})
    return best
