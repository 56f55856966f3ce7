"""Stored features with the labels of their segments: the input of identify, fit, calibrate and the studies."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from headhunt_svc.core.background import inputs
from headhunt_svc.core.depth import candidate_heads
from headhunt_svc.core.protocol import ScoredVideo
from headhunt_svc.core.scoring import apply_scorer, novelty
from headhunt_svc.core.segmentation import segment_labels
from headhunt_svc.data.datasets import data_digest, load_records
from headhunt_svc.data.feature_store import FeatureStore, Source
from headhunt_svc.detector.bundle import model_key
from headhunt_svc.detector.heads_file import load_selection
from headhunt_svc.errors import ArtifactError
from headhunt_svc.params import IdentifyParams, Params
from headhunt_svc.types import (
    LABELLED,
    Background,
    FrameSpan,
    HeadFeatures,
    HeadRef,
    HeadSelection,
    Scorer,
    Split,
    VideoRecord,
)


@dataclass(frozen=True, slots=True)
class LabelledFeatures:
    """Features of some videos under one prompt, their segment labels bool[T], and the videos themselves.

    times: when each segment begins and ends, seconds.
    """

    features: HeadFeatures
    labels: np.ndarray
    records: tuple[VideoRecord, ...]
    times: Float64[np.ndarray, "segment 2"]

    @property
    def videos(self) -> list[str]:
        """The video of every segment."""
        return [s.video_id for s in self.features.segments]

    def only(self, video_ids: Collection[str]) -> "LabelledFeatures":
        """The same for some of the videos, in the same order."""
        rows = [i for i, s in enumerate(self.features.segments) if s.video_id in video_ids]
        segments = tuple(self.features.segments[i] for i in rows)
        features = HeadFeatures(segments, self.features.heads, self.features.values[rows])
        records = tuple(r for r in self.records if r.video_id in video_ids)
        return LabelledFeatures(features, self.labels[rows], records, self.times[rows])

    def of_heads(self, heads: tuple[HeadRef, ...]) -> "LabelledFeatures":
        """The same for some of the heads, in the same order."""
        if heads == self.features.heads:
            return self
        values = self.features.values[:, [self.features.heads.index(head) for head in heads]]
        return replace(self, features=replace(self.features, heads=heads, values=values))

    def inputs(self, heads: tuple[HeadRef, ...], background: Background | None) -> np.ndarray:
        """What a scorer of these heads sees of every segment (core/background.py)."""
        return np.concatenate([inputs(background, z) for z in self.per_video(self.features.select(heads))])

    def spans(self) -> list[list[FrameSpan]]:
        """Segment spans per video."""
        by_video: dict[str, list[FrameSpan]] = {r.video_id: [] for r in self.records}
        for s in self.features.segments:
            by_video[s.video_id].append(s.span)
        return list(by_video.values())

    def per_video(self, values: np.ndarray) -> list[np.ndarray]:
        """Values of all segments, cut into videos."""
        return np.split(values, np.cumsum([len(s) for s in self.spans()])[:-1])


def records_of_selection(
    index: Path, labels: Path, heads: Path
) -> tuple[HeadSelection, dict[Split, list[VideoRecord]]]:
    """The chosen heads, and the labelled calibration and validation videos that they were chosen with.

    Raises:
        ArtifactError: labels or videos have changed since.
    """
    selection = load_selection(heads)
    records = {split: load_records(index, labels, split) for split in LABELLED}
    if selection.data != data_digest(r for split in LABELLED for r in records[split]):
        raise ArtifactError(f"{heads} is of other labels or videos than {labels}: run `headhunt identify` again")
    return selection, records


def load_labelled(
    store: FeatureStore, records: Sequence[VideoRecord], prompt: int, min_anomalous_share: float, hidden: bool = False
) -> LabelledFeatures:
    """Features of `records` under one prompt (of heads, or the final hidden state) with labels for their segments."""
    names = [r.video_id for r in records]
    features = store.under_prompt(names, prompt, hidden)
    spans: dict[str, list[FrameSpan]] = {}
    for s in features.segments:
        spans.setdefault(s.video_id, []).append(s.span)
    labels = [segment_labels(r.truth(), spans[r.video_id], min_anomalous_share) for r in records]
    return LabelledFeatures(features, np.concatenate(labels), tuple(records), store.times(names))


def load_prompts(
    params: Params, store: FeatureStore, records: Sequence[VideoRecord], prompts: Sequence[int] | None = None
) -> list[LabelledFeatures]:
    """Labelled features of `records` under some prompts of params.yaml (all by default), checked against its model.

    Raises:
        ArtifactError: features are missing, of another model or of other prompts.
    """
    store.check(
        [r.video_id for r in records],
        Source(model_key(params.mllm), params.prompts.texts, params.segmentation.model_dump_json()),
    )
    numbers = range(len(params.prompts.texts)) if prompts is None else prompts
    return [load_labelled(store, records, i, params.label.min_anomalous_share) for i in numbers]


def candidates(per_prompt: Sequence[LabelledFeatures], params: IdentifyParams) -> list[LabelledFeatures]:
    """The features of the heads that may be chosen.

    Raises:
        ConfigError: see candidate_heads.
    """
    heads = candidate_heads(per_prompt[0].features.heads, params)
    return [data.of_heads(heads) for data in per_prompt]


def scored_videos(data: LabelledFeatures, raw: Sequence[np.ndarray]) -> list[ScoredVideo]:
    """Videos with their raw scores."""
    parts = zip(data.records, data.spans(), raw, data.per_video(data.times), strict=True)
    return [ScoredVideo(record, tuple(spans), scores, times) for record, spans, scores, times in parts]


def videos_scored_by(scorer: Scorer, data: LabelledFeatures) -> list[ScoredVideo]:
    """Videos with the raw scores of a scorer, and what it takes off when they are smoothed."""
    z = data.inputs(scorer.heads, scorer.background)
    videos, new = scored_videos(data, data.per_video(apply_scorer(scorer, z))), novelty(scorer, z)
    if new is None:
        return videos
    return [replace(video, novelty=part) for video, part in zip(videos, data.per_video(new), strict=True)]
