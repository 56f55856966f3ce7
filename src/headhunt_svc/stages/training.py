"""identify, fit, calibrate: from stored features to heads, scorer and locator.

The functions on LabelledFeatures touch no files; `ablate` calls the same ones for its arms.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.progress import track

from headhunt_svc.core.calibration import operating_points
from headhunt_svc.core.identification import choose_heads, robust_saliency
from headhunt_svc.core.protocol import ScoredVideo
from headhunt_svc.core.saliency import head_criteria, saliency
from headhunt_svc.core.scoring import apply_scorer, fit_scorer
from headhunt_svc.core.segmentation import segment_labels
from headhunt_svc.errors import ArtifactError, FeatureError
from headhunt_svc.io.artifacts import (
    PointOrWhy,
    load_scorer,
    load_selection,
    model_revision,
    operating_point,
    save_locators,
    save_scorer,
    save_selection,
)
from headhunt_svc.io.datasets import load_index
from headhunt_svc.io.feature_store import FeatureStore
from headhunt_svc.io.files import write_file
from headhunt_svc.io.plots import saliency_map
from headhunt_svc.params import FitParams, IdentifyParams, Params
from headhunt_svc.types import (
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


def identify_heads(
    per_prompt: Sequence[LabelledFeatures], params: IdentifyParams
) -> tuple[tuple[HeadRef, ...], RobustSaliency]:
    """Saliency of every head under every prompt, RSS, and the expert heads."""
    heads = per_prompt[0].features.heads
    n_layers, n_heads = heads[-1].layer + 1, heads[-1].head + 1
    table = np.full((len(per_prompt), n_layers, n_heads), np.nan)
    rows, columns = [h.layer for h in heads], [h.head for h in heads]
    for i, data in enumerate(track(per_prompt, description="identify")):
        table[i, rows, columns] = saliency(head_criteria(data.features.values, data.labels, params.seed))
    robust = robust_saliency(table, params.instability_penalty)
    return choose_heads(robust, params.top_k), robust


def fit_heads(data: LabelledFeatures, heads: tuple[HeadRef, ...], params: FitParams) -> Scorer:
    """The scorer of some heads."""
    return fit_scorer(data.features.select(heads), data.labels, data.videos, heads, params)


def raw_scores(data: LabelledFeatures, scorer: Scorer) -> list[np.ndarray]:
    """Raw scores per video."""
    return data.per_video(apply_scorer(scorer, data.features.select(scorer.heads)))


def scored(data: LabelledFeatures, raw: Sequence[np.ndarray]) -> list[ScoredVideo]:
    """Videos with their raw scores."""
    return [ScoredVideo(r, tuple(s), p) for r, s, p in zip(data.records, data.spans(), raw, strict=True)]


def identify(params: Params, index: Path, features: Path, out: Path) -> HeadSelection:
    """The stage identify: heads.json, saliency.csv, saliency.png."""
    records = load_index(index, "calibration")
    store = FeatureStore(features)
    share = params.label.min_anomalous_share
    per_prompt = [labelled(store, records, i, share) for i in range(len(params.prompts.texts))]
    heads, robust = identify_heads(per_prompt, params.identify)
    rss = tuple(float(robust.rss[h]) for h in heads)
    revision = model_revision(params.mllm)
    selection = HeadSelection(heads, rss, params.prompts.texts, params.mllm.id, revision)
    grid = np.indices(robust.rss.shape).reshape(2, -1)
    table = pd.DataFrame(
        {
            "layer": grid[0],
            "head": grid[1],
            "mean": robust.mean.ravel(),
            "instability": robust.instability.ravel(),
            "rss": robust.rss.ravel(),
        }
    )
    write_file(out.with_name("saliency.csv"), lambda p: table.to_csv(p, index=False))
    saliency_map(out.with_name("saliency.png"), robust, heads)
    save_selection(out, selection)
    return selection


def fit(params: Params, index: Path, features: Path, heads: Path, out: Path) -> Scorer:
    """The stage fit: scorer.safetensors from calibration features under the scoring prompt.

    Raises:
        ArtifactError: the heads were found in another model.
    """
    selection = load_selection(heads)
    if selection.revision != model_revision(params.mllm):
        raise ArtifactError(f"{heads} was found in model {selection.revision}: run `headhunt identify` again")
    records = load_index(index, "calibration")
    data = labelled(FeatureStore(features), records, params.prompts.scoring, params.label.min_anomalous_share)
    scorer = fit_heads(data, selection.heads, params.fit)
    save_scorer(out, scorer)
    return scorer


def calibrate(params: Params, index: Path, features: Path, scorer: Path, out: Path) -> dict[str, PointOrWhy]:
    """The stage calibrate: locator.json with every operating point that validation videos allow, and why not others.

    Raises:
        FeatureError: they allow none.
    """
    records = load_index(index, "validation")
    data = labelled(FeatureStore(features), records, params.prompts.scoring, params.label.min_anomalous_share)
    videos = scored(data, raw_scores(data, load_scorer(scorer)))
    offline, causal = (operating_points(videos, params.calibrate, s) for s in ("offline", "causal"))
    points = {name: operating_point(choice, causal[name]) for name, choice in offline.items()}
    if all(isinstance(p, str) for p in points.values()):
        raise FeatureError("; ".join(f"{name}: {why}" for name, why in points.items()))
    save_locators(out, points)
    return points
