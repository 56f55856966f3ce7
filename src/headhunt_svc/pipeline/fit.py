"""fit: the scorer, from stored features of calibration videos under the scoring prompt."""

from dataclasses import asdict
from pathlib import Path

from headhunt_svc.core.fitting import FittedScorer, fit_scorer
from headhunt_svc.data.feature_store import FeatureStore
from headhunt_svc.detector.bundle import model_revision
from headhunt_svc.detector.scorer_file import save_scorer
from headhunt_svc.errors import ArtifactError
from headhunt_svc.params import FitParams, Params
from headhunt_svc.pipeline.labelled_features import LabelledFeatures, load_prompts, records_of_selection
from headhunt_svc.storage.files import write_json
from headhunt_svc.types import HeadRef


def fit_heads(data: LabelledFeatures, heads: tuple[HeadRef, ...], params: FitParams) -> FittedScorer:
    """The scorer of some heads, with its calibration curve on held-out videos."""
    kinds = {r.video_id: r.kinds for r in data.records}
    return fit_scorer(data.inputs(heads, params.relative_to), data.labels, data.videos, heads, params, kinds)


def fit(params: Params, index: Path, labels: Path, features: Path, heads: Path, out: Path) -> FittedScorer:
    """The stage fit: writes scorer.safetensors, and calibration.json (C, the weight of
    the distance to normal, and the curve on held-out videos).

    Raises:
        ArtifactError: the heads were found in another model, or with other labels.
    """
    selection, records = records_of_selection(index, labels, heads)
    if selection.revision != model_revision(params.mllm):
        raise ArtifactError(f"{heads} was found in model {selection.revision}: run `headhunt identify` again")
    (data,) = load_prompts(params, FeatureStore(features), records["calibration"], [params.prompts.scoring])
    fitted = fit_heads(data, selection.heads, params.fit)
    save_scorer(out, fitted.scorer)
    choice = None if fitted.normality is None else asdict(fitted.normality)
    calibration = {
        "c": fitted.c,
        "normality": choice,
        "held_out_auc": fitted.held_out_auc,
        "curve": asdict(fitted.curve),
    }
    write_json(out.with_name("calibration.json"), calibration)
    return fitted
