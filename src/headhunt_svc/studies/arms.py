"""Evaluation of one arm of the ablation, the same way for all arms.

Scorers are fitted on calibration videos, smoothing and threshold tuned on validation videos; the figures are those of
the smoothed scores, frame by frame, on the splits `test` and, if there is one, `hard`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from headhunt_svc.core.calibration import best_f1_point
from headhunt_svc.core.depth import candidate_heads
from headhunt_svc.core.groups import groups
from headhunt_svc.core.metrics import count_metrics, f1_interval, flagged
from headhunt_svc.core.protocol import Figures, ScoredVideo, by_kind, counts_of
from headhunt_svc.data.feature_store import FeatureStore
from headhunt_svc.params import EvaluateParams, IdentifyParams, Params
from headhunt_svc.pipeline.fit import fit_heads
from headhunt_svc.pipeline.labelled_features import LabelledFeatures, load_labelled, videos_scored_by
from headhunt_svc.studies.measure import TESTS
from headhunt_svc.types import LABELLED, HeadRef, OperatingPoint, VideoRecord

Splits = dict[str, LabelledFeatures]
Scored = Mapping[str, list[ScoredVideo]]  # split -> every video with its raw scores
MAIN = ("roc_auc", "average_precision", "f1")


@dataclass(frozen=True, slots=True)
class AblationData:
    """Features of one model: labelled videos under every prompt, and every split under the scoring prompt."""

    prompts: tuple[LabelledFeatures, ...]
    splits: Splits

    def candidates(self, params: IdentifyParams) -> tuple[HeadRef, ...]:
        """The heads that may be chosen: all of the model, or those up to a limit."""
        return candidate_heads(self.splits["calibration"].features.heads, params)

    @property
    def calibration(self) -> list[LabelledFeatures]:
        """Calibration videos under every prompt, from which heads are chosen."""
        names = {r.video_id for r in self.splits["calibration"].records}
        return [p.only(names) for p in self.prompts]


def load_stored(
    params: Params,
    records: Mapping[str, list[VideoRecord]],
    labelled: FeatureStore,
    tests: Mapping[str, FeatureStore],
    hidden: bool = False,
) -> AblationData:
    """Stored features of every split of `records`, of heads or of the final hidden state.

    labelled: holds calibration and validation videos under every prompt. tests: for each other split the store that
    holds its videos under the scoring prompt alone.
    """
    share, scoring = params.label.min_anomalous_share, params.prompts.scoring
    videos = [record for split in LABELLED for record in records[split]]
    prompts = tuple(load_labelled(labelled, videos, i, share, hidden) for i in range(len(params.prompts.texts)))
    splits: Splits = {s: prompts[scoring].only({r.video_id for r in records[s]}) for s in LABELLED}
    splits |= {s: load_labelled(store, records[s], 0, share, hidden) for s, store in tests.items() if s in records}
    return AblationData(prompts, splits)


def roc_auc(videos: Sequence[ScoredVideo]) -> float:
    """ROC-AUC over all frames."""
    return count_metrics(counts_of(videos), 0, 0).roc_auc


def labelled_of(splits: Splits) -> list[VideoRecord]:
    """The calibration and validation videos."""
    return [record for split in LABELLED for record in splits[split].records]


def rank_metrics(videos: Sequence[ScoredVideo], labelled: Sequence[VideoRecord], params: EvaluateParams) -> Figures:
    """Rank metrics with intervals over videos, those of each kind beside the normal videos, and of what is new."""
    metrics = asdict(count_metrics(counts_of(videos), params.bootstrap, params.seed))
    return {**metrics, "by_kind": by_kind(videos, params.seed), "groups": groups(videos, labelled, params)}


def tune(videos: Sequence[ScoredVideo], params: Params) -> OperatingPoint:
    """The operating point of best F1 on validation videos, tuned as the detector's."""
    return best_f1_point(videos, params.calibrate).operating_point


def smooth_all(videos: Sequence[ScoredVideo], sigma: float) -> list[ScoredVideo]:
    """Every video with its scores smoothed."""
    return [v.smoothed(sigma) for v in videos]


def without_bootstrap(params: Params) -> Params:
    """Parameters without resamples of videos, for arms whose interval is over draws."""
    return params.model_copy(update={"evaluate": params.evaluate.model_copy(update={"bootstrap": 0})})


def _figures(
    videos: Sequence[ScoredVideo], threshold: float, labelled: Sequence[VideoRecord], params: EvaluateParams
) -> Figures:
    counts = counts_of(videos)
    f1 = flagged(counts, [threshold])[0].f1
    interval = f1_interval(counts, threshold, params.bootstrap, params.seed)
    return {**rank_metrics(videos, labelled, params), "f1": f1, "f1_interval": interval}


def evaluate_scores(
    splits: Splits,
    raw: Scored,
    params: Params,
    threshold: float | None = None,
    labelled: Sequence[VideoRecord] | None = None,
) -> Figures:
    """Figures of raw scores on validation videos, where choices are made, and on test videos.

    threshold: instead of the tuned one. labelled: the calibration and validation videos, where `splits` has not both.
    """
    videos = {s: raw[s] for s in ("validation", *TESTS) if s in splits}
    point = tune(videos["validation"], params)
    sigma, used = point.sigma_segments, point.threshold if threshold is None else threshold
    labelled = labelled_of(splits) if labelled is None else labelled
    smoothed = {s: smooth_all(of_split, sigma) for s, of_split in videos.items()}
    figures: Figures = {s: _figures(smoothed[s], used, labelled, params.evaluate) for s in TESTS if s in videos}
    counts = counts_of(smoothed["validation"])
    metrics, f1 = count_metrics(counts, 0, 0), flagged(counts, [used])[0].f1
    chosen_on = {"roc_auc": metrics.roc_auc, "average_precision": metrics.average_precision, "f1": f1}
    return {"sigma_segments": sigma, "threshold": used, "validation": chosen_on, **figures}


def score_splits(splits: Splits, heads: tuple[HeadRef, ...], params: Params) -> dict[str, list[ScoredVideo]]:
    """Raw scores of all splits but calibration, by the scorer of some heads."""
    scorer = fit_heads(splits["calibration"], heads, params.fit).scorer
    return {s: videos_scored_by(scorer, data) for s, data in splits.items() if s != "calibration"}


def evaluate_heads(splits: Splits, heads: tuple[HeadRef, ...], params: Params) -> Figures:
    """Figures on the test splits of the scorer of some heads."""
    return evaluate_scores(splits, score_splits(splits, heads, params), params)


def _mean_row(rows: Sequence[Figures], keys: Sequence[str]) -> Figures:
    """The mean of some figures of the same videos, with intervals over the rows."""
    values = {key: [row[key] for row in rows] for key in keys}
    mean: Figures = {name: rows[0][name] for name in ("kinds", "cameras", "n_videos", "n_frames") if name in rows[0]}
    for key in keys:
        mean[key] = float(np.mean(values[key]))
        mean[f"{key}_interval"] = [float(q) for q in np.quantile(values[key], [0.025, 0.975])]
    return {**mean, "each": values}


def mean_figures(draws: Sequence[Figures]) -> Figures:
    """Mean figures of several draws; the intervals are over draws, which stay in `each`."""
    result: Figures = {}
    for split in (s for s in TESTS if s in draws[0]):
        rows = [draw[split] for draw in draws]
        mean = _mean_row(rows, MAIN)
        mean["groups"] = {
            name: row if "undefined" in row else _mean_row([r["groups"][name] for r in rows], MAIN[:2])
            for name, row in rows[0]["groups"].items()
        }
        mean["by_kind"] = {
            kind: {key: float(np.mean([row["by_kind"][kind][key] for row in rows])) for key in MAIN[:2]}
            for kind in rows[0]["by_kind"]
        }
        result[split] = mean
    return result
