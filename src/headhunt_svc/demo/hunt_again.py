"""What hunting again gains: a kind of anomaly that calibration lacks is marked, and heads are chosen with and without.

New videos of the kind are rendered, which are in no split, and some of their clips count as confirmed events. Measured
on the corpus's test videos: the detector before, its heads with a scorer that is fitted with the marks, heads that are
chosen with them, and all heads, which show whether any carry the kind. Thresholds are those of `f1` on the same
validation videos, which hold nothing of the kind.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from headhunt_svc.core.depth import candidate_heads
from headhunt_svc.data.datasets import load_records, make_record
from headhunt_svc.data.feature_store import FeatureStore
from headhunt_svc.demo.corpus import Take, make_video
from headhunt_svc.demo.params import CorpusParams
from headhunt_svc.detector.bundle import model_key
from headhunt_svc.errors import FeatureError
from headhunt_svc.model.loading import load_extractor
from headhunt_svc.params import Params
from headhunt_svc.pipeline.calibrate import calibrate_scorer
from headhunt_svc.pipeline.extract import extract_videos
from headhunt_svc.pipeline.fit import fit_heads
from headhunt_svc.pipeline.identify import identify_heads
from headhunt_svc.pipeline.labelled_features import LabelledFeatures, load_labelled, load_prompts, videos_scored_by
from headhunt_svc.settings import Settings
from headhunt_svc.types import CalibratedPair, HeadRef, Scorer, VideoRecord
from headhunt_svc.video.files import read_times

FIRST = 1000  # numbers of the new videos: those of the corpus are smaller
ARMS = ("marks, same heads", "marks, heads hunted again", "marks, all heads")
Figures = dict[str, float]


def render_marked(folder: Path, kind: str, n: int, corpus: CorpusParams) -> list[VideoRecord]:
    """New videos of a kind, as calibration videos."""
    records = []
    for number in range(FIRST, FIRST + n):
        take = Take("test", kind, number)  # of all cameras, as test videos are
        annotation = make_video(folder, take, corpus)
        times, _ = read_times(folder / take.name)
        record = make_record(annotation, folder / take.name, times)
        records.append(replace(record, split="calibration", video_id=f"marks/{kind}_{number}"))
    return records


def hunt_again(
    params: Params,
    corpus: CorpusParams,
    inputs: tuple[Path, Path, Path, Path],
    heads: Sequence[HeadRef],
    kind: str,
    marks: Sequence[int],
    draws: int,
    work: Path,
) -> list[tuple[str, int, Figures]]:
    """Rows of (arm, marks, figures); figures are means over draws of the marked videos.

    inputs: index, labels, features and test features. work: a folder for new videos and their features.
    """
    index, labels, features, test_features = inputs
    marked = render_marked(work / "videos", kind, max(marks), corpus)
    store = FeatureStore(work / "features")
    model = partial(load_extractor, params.mllm, params.segmentation, Settings().device)
    key, prompts = model_key(params.mllm), params.prompts.texts
    extract_videos(model, key, marked, prompts, params.segmentation, store)
    added = load_prompts(params, store, marked)
    old = load_prompts(params, FeatureStore(features), load_records(index, labels, "calibration"))
    scoring, share = params.prompts.scoring, params.label.min_anomalous_share
    (validation,) = load_prompts(params, FeatureStore(features), load_records(index, labels, "validation"), [scoring])
    test = load_labelled(FeatureStore(test_features), load_records(index, labels, "test"), 0, share)

    return compare(params, old, added, validation, test, tuple(heads), kind, marks, draws)


def compare(
    params: Params,
    old: Sequence[LabelledFeatures],
    added: Sequence[LabelledFeatures],
    validation: LabelledFeatures,
    test: LabelledFeatures,
    heads: tuple[HeadRef, ...],
    kind: str,
    marks: Sequence[int],
    draws: int,
) -> list[tuple[str, int, Figures]]:
    """The rows from features. old, added: calibration videos and marked ones, under every prompt."""

    def measured(chosen: tuple[HeadRef, ...], data: Sequence[LabelledFeatures]) -> Figures:
        scorer = fit_heads(data[params.prompts.scoring], chosen, params.fit).scorer
        return _figures(scorer, validation, test, kind, params)

    rows = [("before", 0, measured(heads, old))]
    names = [record.video_id for record in added[0].records]
    for n in marks:
        arms: dict[str, list[Figures]] = {arm: [] for arm in ARMS}
        for draw in range(draws if n < len(names) else 1):
            drawn = {names[i] for i in np.random.default_rng(draw).permutation(len(names))[:n]}
            joined = [_joined(a, b.only(drawn)) for a, b in zip(old, added, strict=True)]
            everything = candidate_heads(joined[0].features.heads, params.identify)
            chosen = (heads, identify_heads(joined, params.identify), everything)
            for arm, of_arm in zip(ARMS, chosen, strict=True):
                arms[arm].append(measured(of_arm, joined))
        rows += [(arm, n, _mean(figures)) for arm, figures in arms.items()]
    return rows


def _joined(first: LabelledFeatures, more: LabelledFeatures) -> LabelledFeatures:
    features = replace(
        first.features,
        segments=first.features.segments + more.features.segments,
        values=np.concatenate([first.features.values, more.features.values]),
    )
    labels, times = (np.concatenate(pair) for pair in ((first.labels, more.labels), (first.times, more.times)))
    return LabelledFeatures(features, labels, first.records + more.records, times)


def _figures(
    scorer: Scorer, validation: LabelledFeatures, test: LabelledFeatures, kind: str, params: Params
) -> Figures:
    points = calibrate_scorer(validation, scorer, params.calibrate)["f1"]
    if not isinstance(points, CalibratedPair):
        raise FeatureError(f"no operating point f1: {points.reason}")
    point = points.offline.operating_point
    videos = [video.smoothed(point.sigma_segments) for video in videos_scored_by(scorer, test)]
    smoothed = np.concatenate([video.scores for video in videos])
    of_kind = {record.video_id for record in test.records if kind in record.kinds}
    inside = np.array([video in of_kind for video in test.videos])
    above, normal = smoothed > point.threshold, ~test.labels
    return {
        "recall": float(above[inside & test.labels].mean()),
        "auc": float(roc_auc_score(test.labels[inside | normal], smoothed[inside | normal])),
        "recall_of_others": float(above[~inside & test.labels].mean()),
        "auc_of_others": float(roc_auc_score(test.labels[~inside], smoothed[~inside])),
        "false_alarms": float(above[normal].mean()),
    }


def _mean(figures: Sequence[Figures]) -> Figures:
    return {name: float(np.mean([one[name] for one in figures])) for name in figures[0]}
