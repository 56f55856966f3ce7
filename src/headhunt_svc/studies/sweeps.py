"""Sweeps of the ablation: the number of heads, lambda, the number of prompts, and of labelled videos.

A sweep shows the effect of a parameter on the test videos; nothing is chosen from it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from rich.progress import track

from headhunt_svc.core.metrics import count_metrics
from headhunt_svc.core.protocol import Figures, by_kind, counts_of
from headhunt_svc.data.feature_store import HIDDEN
from headhunt_svc.errors import FeatureError
from headhunt_svc.params import Params
from headhunt_svc.pipeline.fit import fit_heads
from headhunt_svc.pipeline.identify import identify_heads
from headhunt_svc.pipeline.labelled_features import LabelledFeatures, videos_scored_by
from headhunt_svc.studies.arms import AblationData, Splits, evaluate_heads, smooth_all, without_bootstrap
from headhunt_svc.types import LABELLED, HeadRef

HeadChooser = Callable[[Sequence[LabelledFeatures], np.random.Generator], tuple[HeadRef, ...]]
MOST_TRIES = 1000  # random draws of labelled videos until enough of them hold both classes


class Learner(NamedTuple):
    """An arm of the learning curve: how it chooses heads, and the parameters of its scorer."""

    choose: HeadChooser
    params: Params


def _identify(prompts: Sequence[LabelledFeatures], params: Params, **changed: object) -> tuple[HeadRef, ...]:
    return identify_heads(prompts, params.identify.model_copy(update=changed))


def sweeps(data: AblationData, params: Params) -> dict[str, dict[str, Figures]]:
    """Per sweep and value: ROC-AUC and AP on the test split; means over all subsets where prompts are left out."""
    prompts, ablation, plain = data.calibration, params.ablate, without_bootstrap(params)
    n_candidates = len(data.candidates(params.identify))
    measured: dict[frozenset[HeadRef], Figures] = {}  # many choices are the same heads

    def measure(heads: tuple[HeadRef, ...]) -> Figures:
        figures = measured.get(frozenset(heads)) or evaluate_heads(data.splits, heads, plain)["test"]
        measured[frozenset(heads)] = figures
        return {key: figures[key] for key in ("roc_auc", "average_precision")}

    usable = [k for k in ablation.top_k if k <= n_candidates]
    all_orders = {"max_redundancy": 1.0, "few_videos": 0}  # a sweep over the order itself, as far as there are heads
    result = {
        "top_k": {str(k): measure(_identify(prompts, params, top_k=k, **all_orders)) for k in track(usable, "top_k")},
        "instability_penalty": {
            f"{x:g}": measure(_identify(prompts, params, instability_penalty=x))
            for x in track(ablation.instability_penalty, "lambda")
        },
        "prompts": {},
    }
    for n in range(1, len(prompts) + 1):
        subsets = list(combinations(prompts, n))
        points = [measure(_identify(s, params)) for s in track(subsets, f"{n} prompts")]
        result["prompts"][str(n)] = {key: float(np.mean([p[key] for p in points])) for key in points[0]} | {
            "each": [p["roc_auc"] for p in points]
        }
    return result


def unseen_kinds(splits: Splits) -> tuple[str, ...]:
    """Kinds of anomaly of the test videos that no calibration or validation video shows."""
    seen = {kind for split in LABELLED for record in splits[split].records for kind in record.kinds}
    return tuple(sorted({kind for record in splits["test"].records for kind in record.kinds} - seen))


def few_labels_figures(
    draw: Sequence[LabelledFeatures],
    tests: LabelledFeatures,
    heads: tuple[HeadRef, ...],
    params: Params,
    unseen: Collection[str] = (),
) -> dict[str, float]:
    """ROC-AUC and AP on the test split of a scorer fitted on a few labelled videos.

    unseen: kinds of anomaly; the mean over these of the ROC-AUC of each beside the normal videos is `unseen_kinds`.
    """
    scorer = fit_heads(draw[params.prompts.scoring], heads, params.fit).scorer
    videos = smooth_all(videos_scored_by(scorer, tests), params.ablate.low_label_sigma)
    metrics = count_metrics(counts_of(videos), 0, 0)
    figures = {"roc_auc": metrics.roc_auc, "average_precision": metrics.average_precision}
    if unseen:
        kinds = by_kind(videos, 0)
        figures["unseen_kinds"] = float(np.mean([kinds[kind]["roc_auc"] for kind in unseen]))
    return figures


def draw_videos(prompts: Sequence[LabelledFeatures], n: int, params: Params) -> list[list[LabelledFeatures]]:
    """Draws of n labelled videos, each with at least two normal and two anomalous ones."""
    rng = np.random.default_rng([params.evaluate.seed, n])
    records = prompts[0].records
    draws: list[list[LabelledFeatures]] = []
    for _ in range(MOST_TRIES):
        names = {records[i].video_id for i in rng.choice(len(records), min(n, len(records)), replace=False)}
        anomalous = sum(r.is_anomalous for r in records if r.video_id in names)
        if 2 <= anomalous <= len(names) - 2:
            draws.append([data.only(names) for data in prompts])
        if len(draws) == params.ablate.draws:
            return draws
    raise FeatureError(f"{n} of {len(records)} labelled videos never hold two normal and two anomalous ones")


def few_labels(
    heads: AblationData, hidden: AblationData, learners: Mapping[str, Learner], params: Params
) -> dict[str, dict[str, Figures]]:
    """The learning curve: per arm and number of labelled videos, the figures of every draw on the test split.

    mean, std: of ROC-AUC over the draws. unseen_kinds: those that no labelled video shows, drawn or not.

    An arm sees n labelled videos and nothing else; sigma is given (`ablate.low_label_sigma`), not tuned.
    """
    unseen, tests, hidden_tests = unseen_kinds(heads.splits), heads.splits["test"], hidden.splits["test"]
    result: dict[str, dict[str, Figures]] = {name: {} for name in (*learners, "final_hidden")}
    for n in params.ablate.labelled_videos:
        draws = list(zip(*(draw_videos(d.prompts, n, params) for d in (heads, hidden)), strict=True))
        values: dict[str, list[dict[str, float]]] = {name: [] for name in result}
        for i, (draw, draw_hidden) in enumerate(track(draws, description=f"{n} labelled videos")):
            rng = np.random.default_rng([params.evaluate.seed, n, i])
            for name, (choose, own) in learners.items():
                values[name].append(few_labels_figures(draw, tests, choose(draw, rng), own, unseen))
            values["final_hidden"].append(few_labels_figures(draw_hidden, hidden_tests, (HIDDEN,), params, unseen))
        for name, drawn in values.items():
            row = {key: [figures[key] for figures in drawn] for key in drawn[0]}
            result[name][str(n)] = {"mean": float(np.mean(row["roc_auc"])), "std": float(np.std(row["roc_auc"])), **row}
    return result
