"""Segments of validation videos under every fit.background, scorers fitted on calibration videos (docs/adr/0015).

python benchmarks/backgrounds.py, in a project whose stage `identify` has run. AUC and AP, and their differences to
`none` with the standard error of a bootstrap over videos.
"""

from pathlib import Path
from typing import get_args

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from headhunt_svc import paths
from headhunt_svc.data.feature_store import FeatureStore
from headhunt_svc.params import FitParams, load_params
from headhunt_svc.pipeline.fit import fit_heads
from headhunt_svc.pipeline.labelled_features import load_prompts, records_of_selection, videos_scored_by

METRICS = {"AUC": roc_auc_score, "AP": average_precision_score}
RESAMPLES = 300


def main() -> None:
    """Print a line for each background."""
    params = load_params(Path("params.yaml"))
    selection, records = records_of_selection(paths.INDEX, paths.LABELS, paths.HEADS)
    store, scoring = FeatureStore(paths.FEATURES), [params.prompts.scoring]
    ((calibration,), (validation,)) = (load_prompts(params, store, videos, scoring) for videos in records.values())
    scores = {}
    for name in get_args(FitParams.model_fields["background"].annotation):
        fit = params.fit.model_copy(update={"background": name})
        scorer = fit_heads(calibration, selection.heads, fit).scorer
        scores[name] = np.concatenate([video.scores for video in videos_scored_by(scorer, validation)])

    labels, rng = validation.labels, np.random.default_rng(0)
    rows_of = validation.per_video(np.arange(len(labels)))
    draws = (
        np.concatenate([rows_of[i] for i in rng.integers(0, len(rows_of), len(rows_of))]) for _ in range(RESAMPLES)
    )
    resamples = [rows for rows in draws if len(set(labels[rows].tolist())) == 2]
    print(f"{len(rows_of)} validation videos, {len(labels)} segments")
    for name, score in scores.items():
        figures = []
        for metric, measure in METRICS.items():
            gain = measure(labels, score) - measure(labels, scores["none"])
            gains = [measure(labels[r], score[r]) - measure(labels[r], scores["none"][r]) for r in resamples]
            figures.append(f"{metric} {measure(labels, score):.4f} ({gain:+.4f} ± {np.std(gains, ddof=1):.4f})")
        print(f"{name:7s} {', '.join(figures)}")


if __name__ == "__main__":
    main()
