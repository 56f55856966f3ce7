"""identify, fit, calibrate: from stored features to heads, scorer and locator.

The functions on LabelledFeatures touch no files; `ablate` calls the same ones for its arms.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.progress import track

from headhunt_svc.core.calibration import operating_points
from headhunt_svc.core.identification import (
    Choice,
    choose,
    confidence,
    frequencies,
    halves,
    robust_saliency,
    trial,
)
from headhunt_svc.core.protocol import ScoredVideo
from headhunt_svc.core.saliency import CRITERIA, head_criteria
from headhunt_svc.core.scoring import FittedScorer, apply_scorer, fit_scorer
from headhunt_svc.core.segmentation import segment_labels
from headhunt_svc.data.datasets import load_index
from headhunt_svc.data.feature_store import FeatureStore, Source
from headhunt_svc.detector.bundle import (
    load_scorer,
    load_selection,
    model_key,
    model_revision,
    save_operating_points,
    save_scorer,
    save_selection,
)
from headhunt_svc.errors import ArtifactError
from headhunt_svc.params import CalibrateParams, FitParams, IdentifyParams, Params
from headhunt_svc.pipeline.plots import saliency_map
from headhunt_svc.storage.files import write_file, write_json
from headhunt_svc.types import (
    CalibratedPoints,
    Confidence,
    FrameSpan,
    HeadFeatures,
    HeadRef,
    HeadSelection,
    RobustSaliency,
    Scorer,
    VideoRecord,
)


@dataclass(frozen=True, slots=True)
class LabelledFeatures:
    """Features of some videos under one prompt, their segment labels bool[T], and the videos themselves."""

    features: HeadFeatures
    labels: np.ndarray
    records: tuple[VideoRecord, ...]

    @property
    def videos(self) -> list[str]:
        """The video of every segment."""
        return [s.video_id for s in self.features.segments]

    def only(self, video_ids: Collection[str]) -> "LabelledFeatures":
        """The same for some of the videos, in the same order."""
        kept = [i for i, s in enumerate(self.features.segments) if s.video_id in video_ids]
        segments = tuple(self.features.segments[i] for i in kept)
        features = HeadFeatures(segments, self.features.heads, self.features.values[kept])
        return LabelledFeatures(features, self.labels[kept], tuple(r for r in self.records if r.video_id in video_ids))

    def spans(self) -> list[list[FrameSpan]]:
        """Segment spans per video."""
        by_video: dict[str, list[FrameSpan]] = {r.video_id: [] for r in self.records}
        for s in self.features.segments:
            by_video[s.video_id].append(s.span)
        return list(by_video.values())

    def per_video(self, values: np.ndarray) -> list[np.ndarray]:
        """Values of all segments, cut into videos."""
        return np.split(values, np.cumsum([len(s) for s in self.spans()])[:-1])


def labelled(
    store: FeatureStore, records: Sequence[VideoRecord], prompt: int, min_anomalous_share: float, hidden: bool = False
) -> LabelledFeatures:
    """Read features of `records` under one prompt (heads, or the final hidden state) and label their segments."""
    features = store.under_prompt([r.video_id for r in records], prompt, hidden)
    spans: dict[str, list[FrameSpan]] = {}
    for s in features.segments:
        spans.setdefault(s.video_id, []).append(s.span)
    labels = [segment_labels(r.truth(), spans[r.video_id], min_anomalous_share) for r in records]
    return LabelledFeatures(features, np.concatenate(labels), tuple(records))


def stored(
    params: Params, store: FeatureStore, records: Sequence[VideoRecord], prompts: Sequence[int] | None = None
) -> list[LabelledFeatures]:
    """Labelled features of `records` under some prompts of params.yaml (all by default), of its model and no other.

    Raises:
        ArtifactError: features are missing, of another model or of other prompts.
    """
    store.check([r.video_id for r in records], Source(model_key(params.mllm), params.prompts.texts))
    chosen = range(len(params.prompts.texts)) if prompts is None else prompts
    return [labelled(store, records, i, params.label.min_anomalous_share) for i in chosen]


def choose_heads(per_prompt: Sequence[LabelledFeatures], params: IdentifyParams) -> Choice:
    """The expert heads, and the saliency of all."""
    data = per_prompt[0]
    return choose([d.features.values for d in per_prompt], data.labels, data.videos, params)


def try_halves(
    per_prompt: Sequence[LabelledFeatures], choice: Choice, params: IdentifyParams
) -> tuple[Confidence, np.ndarray] | None:
    """How far a choice holds, and how often each head was chosen; None if there are too few videos to tell."""
    data, values = per_prompt[0], [d.features.values for d in per_prompt]
    found = halves(data.labels, data.videos, params)
    k = len(choice.chosen)
    trials = [
        trial(values, data.labels, data.videos, inside, k, params) for inside in track(found, description="subsamples")
    ]
    return (confidence(choice, trials), frequencies(trials, values[0].shape[1])) if trials else None


def _grid(heads: Sequence[HeadRef], values: np.ndarray) -> np.ndarray:
    """Values [..., head] as [..., layer, head]; NaN for a head that was not read."""
    table = np.full((*values.shape[:-1], max(h.layer for h in heads) + 1, max(h.head for h in heads) + 1), np.nan)
    table[..., [h.layer for h in heads], [h.head for h in heads]] = values
    return table


def identify_heads(
    per_prompt: Sequence[LabelledFeatures], params: IdentifyParams
) -> tuple[tuple[HeadRef, ...], RobustSaliency]:
    """The expert heads, best first, and mean, instability and RSS of all."""
    choice, heads = choose_heads(per_prompt, params), per_prompt[0].features.heads
    robust = robust_saliency(_grid(heads, choice.table), params.instability_penalty)
    return tuple(heads[i] for i in choice.chosen), robust


def fit_heads(data: LabelledFeatures, heads: tuple[HeadRef, ...], params: FitParams) -> Scorer:
    """The scorer of some heads."""
    return fit_with_curve(data, heads, params).scorer


def fit_with_curve(data: LabelledFeatures, heads: tuple[HeadRef, ...], params: FitParams) -> FittedScorer:
    """The scorer of some heads, with its calibration curve on videos held out."""
    return fit_scorer(data.features.select(heads), data.labels, data.videos, heads, params)


def raw_scores(data: LabelledFeatures, scorer: Scorer) -> list[np.ndarray]:
    """Raw scores per video."""
    return data.per_video(apply_scorer(scorer, data.features.select(scorer.heads)))


def scored(data: LabelledFeatures, raw: Sequence[np.ndarray]) -> list[ScoredVideo]:
    """Videos with their raw scores."""
    return [ScoredVideo(r, tuple(s), p) for r, s, p in zip(data.records, data.spans(), raw, strict=True)]


def identify(params: Params, index: Path, features: Path, out: Path) -> HeadSelection:
    """The stage identify: heads.json, saliency.csv, saliency.png."""
    per_prompt = stored(params, FeatureStore(features), load_index(index, "calibration"))
    heads = per_prompt[0].features.heads
    choice = choose_heads(per_prompt, params.identify)
    robust = robust_saliency(_grid(heads, choice.table), params.identify.instability_penalty)
    chosen = tuple(heads[i] for i in choice.chosen)
    tried = try_halves(per_prompt, choice, params.identify)
    selection = HeadSelection(
        chosen,
        tuple(float(robust.rss[h]) for h in chosen),
        params.prompts.texts,
        params.mllm.id,
        model_revision(params.mllm),
        params.identify.criteria,
        tried[0] if tried else None,
    )
    columns: dict[str, Any] = {"layer": [h.layer for h in heads], "head": [h.head for h in heads]}
    columns |= {name: [getattr(robust, name)[h] for h in heads] for name in ("mean", "instability", "rss")}
    columns |= {f"prompt_{i}": row for i, row in enumerate(choice.table)}
    criteria = choice.criteria  # for the report, also where others decide
    if criteria is None:
        labels, seed = per_prompt[0].labels, params.identify.seed
        criteria = np.stack([head_criteria(d.features.values, labels, seed) for d in per_prompt])
    columns |= dict(zip(CRITERIA, criteria.mean(0), strict=True))
    if tried:
        columns["frequency"] = tried[1]
    table = pd.DataFrame(columns)
    write_file(out.with_name("saliency.csv"), lambda p: table.to_csv(p, index=False))
    saliency_map(out.with_name("saliency.png"), robust, chosen)
    save_selection(out, selection)
    return selection


def fit(params: Params, index: Path, features: Path, heads: Path, out: Path) -> FittedScorer:
    """The stage fit: scorer.safetensors and calibration.json from calibration features under the scoring prompt.

    Raises:
        ArtifactError: the heads were found in another model.
    """
    selection = load_selection(heads)
    if selection.revision != model_revision(params.mllm):
        raise ArtifactError(f"{heads} was found in model {selection.revision}: run `headhunt identify` again")
    records = load_index(index, "calibration")
    (data,) = stored(params, FeatureStore(features), records, [params.prompts.scoring])
    fitted = fit_with_curve(data, selection.heads, params.fit)
    save_scorer(out, fitted.scorer)
    row = {"c": fitted.c, "held_out_auc": fitted.held_out_auc, "curve": asdict(fitted.curve)}
    write_json(out.with_name("calibration.json"), row)
    return fitted


def points_of(data: LabelledFeatures, scorer: Scorer, params: CalibrateParams) -> CalibratedPoints:
    """Every operating point of a scorer that some videos allow, and why not others.

    Raises:
        FeatureError: they allow none.
    """
    return operating_points(scored(data, raw_scores(data, scorer)), params)


def calibrate(params: Params, index: Path, features: Path, scorer: Path, out: Path) -> CalibratedPoints:
    """The stage calibrate: locator.json with every operating point that validation videos allow, and why not others.

    Raises:
        FeatureError: they allow none.
    """
    records = load_index(index, "validation")
    (data,) = stored(params, FeatureStore(features), records, [params.prompts.scoring])
    points = points_of(data, load_scorer(scorer), params.calibrate)
    save_operating_points(out, points)
    return points
