"""What every row of the ablation shares: scorers fitted on calibration videos, smoothing and threshold tuned on
validation videos, frame-level figures of the smoothed scores on the splits `test` and, if there is one, `hard`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headhunt_svc.core.calibration import best_f1_point
from headhunt_svc.core.metrics import count_metrics, f1_interval, flagged
from headhunt_svc.core.protocol import ScoredVideo, counts_of
from headhunt_svc.params import EvaluateParams, Params
from headhunt_svc.pipeline.evaluate import figures
from headhunt_svc.pipeline.fit import fit_heads
from headhunt_svc.pipeline.labelled_features import LabelledFeatures, raw_scores, scored_videos
from headhunt_svc.studies.measure import TESTS
from headhunt_svc.types import HeadRef, OperatingPoint

Row = dict[str, Any]
Splits = dict[str, LabelledFeatures]
MAIN = ("roc_auc", "average_precision", "f1")


@dataclass(frozen=True, slots=True)
class Material:
    """Features of one model: labelled videos under every prompt, every split under the scoring prompt."""

    prompts: tuple[LabelledFeatures, ...]
    splits: Splits

    @property
    def heads(self) -> tuple[HeadRef, ...]:
        """All heads of the model."""
        return self.splits["calibration"].features.heads

    @property
    def hunted(self) -> list[LabelledFeatures]:
        """Calibration videos under every prompt: what heads are chosen from."""
        names = {r.video_id for r in self.splits["calibration"].records}
        return [p.only(names) for p in self.prompts]


def roc_auc(videos: Sequence[ScoredVideo]) -> float:
    """ROC-AUC over all frames."""
    return count_metrics(counts_of(videos), 0, 0).roc_auc


def tuned(videos: Sequence[ScoredVideo], params: Params) -> OperatingPoint:
    """Smoothing and threshold of best F1 on validation videos, tuned as the detector's."""
    return best_f1_point(videos, params.calibrate).operating_point


def smoothed(videos: Sequence[ScoredVideo], sigma: float) -> list[ScoredVideo]:
    """Every video's scores smoothed."""
    return [v.smoothed(sigma) for v in videos]


def _figures(videos: Sequence[ScoredVideo], threshold: float, params: EvaluateParams) -> Row:
    counts = counts_of(videos)
    f1 = flagged(counts, [threshold])[0].f1
    interval = f1_interval(counts, threshold, params.bootstrap, params.seed)
    return {**figures(videos, params), "f1": f1, "f1_interval": interval}


def row_of(splits: Splits, raw: Mapping[str, list[np.ndarray]], params: Params, threshold: float | None = None) -> Row:
    """Figures on the test splits of any raw scores given for validation and test splits; threshold: not tuned then."""
    videos = {s: scored_videos(splits[s], raw[s]) for s in ("validation", *TESTS) if s in splits}
    locator = tuned(videos["validation"], params)
    at = locator.threshold if threshold is None else threshold
    sigma = locator.sigma_segments
    found: Row = {s: _figures(smoothed(videos[s], sigma), at, params.evaluate) for s in TESTS if s in videos}
    return {"sigma_segments": sigma, "threshold": at, **found}


def scores_of(splits: Splits, heads: tuple[HeadRef, ...], params: Params) -> dict[str, list[np.ndarray]]:
    """Raw scores per video of the scorer of some heads."""
    scorer = fit_heads(splits["calibration"], heads, params.fit).scorer
    return {s: raw_scores(data, scorer) for s, data in splits.items() if s != "calibration"}


def row_of_heads(splits: Splits, heads: tuple[HeadRef, ...], params: Params) -> Row:
    """Figures of the scorer of some heads."""
    return row_of(splits, scores_of(splits, heads, params), params)


def mean_row(rows: Sequence[Row]) -> Row:
    """Mean figures of several rows; the intervals are over rows, which stay in `each`."""
    result: Row = {}
    for split in (s for s in TESTS if s in rows[0]):
        of = [r[split] for r in rows]
        mean: Row = {"n_videos": of[0]["n_videos"], "n_frames": of[0]["n_frames"], "each": {}}
        for key in MAIN:
            values = [r[key] for r in of]
            mean["each"][key] = values
            mean[key] = float(np.mean(values))
            mean[f"{key}_interval"] = [float(q) for q in np.quantile(values, [0.025, 0.975])]
        mean["by_kind"] = {
            kind: {key: float(np.mean([r["by_kind"][kind][key] for r in of])) for key in MAIN[:2]}
            for kind in of[0]["by_kind"]
        }
        result[split] = mean
    return result
