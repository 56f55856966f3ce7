"""compare: the whole method on several models over the same videos; the best is chosen on validation videos."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headhunt_svc.core.metrics import count_metrics
from headhunt_svc.core.protocol import counts_of
from headhunt_svc.data.datasets import load_index
from headhunt_svc.data.feature_store import FeatureStore
from headhunt_svc.detector.bundle import model_key
from headhunt_svc.model.loading import load_extractor
from headhunt_svc.params import MllmParams, Params
from headhunt_svc.pipeline.evaluate import figures
from headhunt_svc.pipeline.extract import extract_videos
from headhunt_svc.pipeline.fit import fit_heads
from headhunt_svc.pipeline.identify import identify_heads
from headhunt_svc.pipeline.labelled_features import load_labelled, raw_scores, scored_videos
from headhunt_svc.settings import Settings
from headhunt_svc.storage.files import write_json
from headhunt_svc.studies.arms import smoothed, tuned
from headhunt_svc.studies.measure import LABELLED
from headhunt_svc.types import Split


def _model(params: Params, mllm: MllmParams, index: Path, work: Path) -> dict[str, Any]:
    """The method's figures with one model on validation and test videos."""
    splits: tuple[Split, ...] = (*LABELLED, "test")
    records = {s: load_index(index, s) for s in splits}
    few = records["calibration"] + records["validation"]
    model, key = load_extractor(mllm, params.segmentation, Settings().device), model_key(mllm)
    stored, tests = FeatureStore(work / "labelled"), FeatureStore(work / "test")
    extract_videos(model, key, few, params.prompts.texts, params.segmentation, stored)
    extract_videos(model, key, records["test"], (params.prompts.scoring_text,), params.segmentation, tests)
    share, scoring = params.label.min_anomalous_share, params.prompts.scoring
    prompts = [load_labelled(stored, records["calibration"], i, share) for i in range(len(params.prompts.texts))]
    heads = identify_heads(prompts, params.identify)
    scorer = fit_heads(prompts[scoring], heads, params.fit).scorer
    data = {"validation": load_labelled(stored, records["validation"], scoring, share)}
    data["test"] = load_labelled(tests, records["test"], 0, share)
    raw = {s: scored_videos(d, raw_scores(d, scorer)) for s, d in data.items()}
    sigma = tuned(raw["validation"], params).sigma_segments
    videos = {s: smoothed(v, sigma) for s, v in raw.items()}
    on_validation = count_metrics(counts_of(videos["validation"]), 0, 0)
    return {
        "revision": key.split()[0],
        "heads": [list(h) for h in heads],
        "validation": {"roc_auc": on_validation.roc_auc, "average_precision": on_validation.average_precision},
        "test": figures(videos["test"], params.evaluate),
    }


def compare(params: Params, models: Mapping[str, Path], index: Path, work: Path, out: Path) -> str:
    """Figures of every model into `out`; returns the name of the one with the best validation ROC-AUC."""
    found = {
        name: _model(params, params.mllm.model_copy(update={"id": str(folder)}), index, work / name)
        for name, folder in models.items()
    }
    best = max(found, key=lambda name: float(found[name]["validation"]["roc_auc"]))
    write_json(out, {"best_on_validation": best, "models": found})
    return best
