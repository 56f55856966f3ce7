"""Sweeps of the ablation: the number of heads, lambda, the number of prompts, and of labelled videos.

A sweep shows what a parameter does on the test videos; nothing is chosen from it.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from rich.progress import track

from headhunt_svc.data.feature_store import HIDDEN
from headhunt_svc.errors import FeatureError
from headhunt_svc.params import Params
from headhunt_svc.pipeline.fit import fit_heads
from headhunt_svc.pipeline.identify import identify_heads
from headhunt_svc.pipeline.labelled_features import LabelledFeatures, raw_scores, scored_videos
from headhunt_svc.studies.arms import Material, roc_auc, row_of_heads, smoothed
from headhunt_svc.types import HeadRef

Choose = Callable[[Sequence[LabelledFeatures], np.random.Generator], tuple[HeadRef, ...]]
Point = dict[str, Any]


def _identified(prompts: Sequence[LabelledFeatures], params: Params, **changed: object) -> tuple[HeadRef, ...]:
    return identify_heads(prompts, params.identify.model_copy(update=changed))


def sweeps(material: Material, params: Params) -> dict[str, dict[str, Point]]:
    """Per sweep and value: ROC-AUC and AP on the test split; means over all subsets where prompts are left out."""
    hunted, ask = material.hunted, params.ablate
    plain = params.model_copy(update={"evaluate": params.evaluate.model_copy(update={"bootstrap": 0})})
    measured: dict[frozenset[HeadRef], Point] = {}  # many choices are the same heads

    def measure(heads: tuple[HeadRef, ...]) -> Point:
        row = measured.get(frozenset(heads)) or row_of_heads(material.splits, heads, plain)["test"]
        measured[frozenset(heads)] = row
        return {key: row[key] for key in ("roc_auc", "average_precision")}

    usable = [k for k in ask.top_k if k <= len(material.heads)]
    alone = {"max_redundancy": 1.0}  # a sweep over the order itself, as far as there are heads
    found = {
        "top_k": {str(k): measure(_identified(hunted, params, top_k=k, **alone)) for k in track(usable, "top_k")},
        "instability_penalty": {
            f"{x:g}": measure(_identified(hunted, params, instability_penalty=x))
            for x in track(ask.instability_penalty, "lambda")
        },
        "prompts": {},
    }
    for n in range(1, len(hunted) + 1):
        subsets = list(combinations(hunted, n))
        points = [measure(_identified(s, params)) for s in track(subsets, f"{n} prompts")]
        found["prompts"][str(n)] = {key: float(np.mean([p[key] for p in points])) for key in points[0]} | {
            "each": [p["roc_auc"] for p in points]
        }
    return found


def few_labels_auc(
    draw: Sequence[LabelledFeatures], tests: LabelledFeatures, heads: tuple[HeadRef, ...], params: Params
) -> float:
    """ROC-AUC on the test split of a scorer fitted on a few labelled videos."""
    scorer = fit_heads(draw[params.prompts.scoring], heads, params.fit).scorer
    return roc_auc(smoothed(scored_videos(tests, raw_scores(tests, scorer)), params.ablate.low_label_sigma))


def draws(prompts: Sequence[LabelledFeatures], n: int, params: Params) -> list[list[LabelledFeatures]]:
    """Draws of n labelled videos, each with at least two normal and two anomalous ones."""
    rng = np.random.default_rng([params.evaluate.seed, n])
    records = prompts[0].records
    found: list[list[LabelledFeatures]] = []
    for _ in range(1000):
        chosen = {records[i].video_id for i in rng.choice(len(records), min(n, len(records)), replace=False)}
        anomalous = sum(r.is_anomalous for r in records if r.video_id in chosen)
        if 2 <= anomalous <= len(chosen) - 2:
            found.append([data.only(chosen) for data in prompts])
        if len(found) == params.ablate.draws:
            return found
    raise FeatureError(f"{n} of {len(records)} labelled videos never hold two normal and two anomalous ones")


def few_labels(
    heads: Material, hidden: Material, arms: Mapping[str, Choose], params: Params
) -> dict[str, dict[str, Point]]:
    """The learning curve: per arm and number of labelled videos, every draw's test ROC-AUC, mean and deviation.

    An arm sees n labelled videos and nothing else; sigma is given (`ablate.low_label_sigma`), not tuned.
    """
    result: dict[str, dict[str, Point]] = {name: {} for name in (*arms, "final_hidden")}
    for n in params.ablate.labelled_videos:
        of_heads, of_hidden = (draws(m.prompts, n, params) for m in (heads, hidden))
        found: dict[str, list[float]] = {name: [] for name in result}
        pairs = list(zip(of_heads, of_hidden, strict=True))
        for i, (draw, draw_hidden) in enumerate(track(pairs, description=f"{n} labelled videos")):
            rng = np.random.default_rng([params.evaluate.seed, n, i])
            for name, choose in arms.items():
                found[name].append(few_labels_auc(draw, heads.splits["test"], choose(draw, rng), params))
            found["final_hidden"].append(few_labels_auc(draw_hidden, hidden.splits["test"], (HIDDEN,), params))
        for name, values in found.items():
            result[name][str(n)] = {"mean": float(np.mean(values)), "std": float(np.std(values)), "roc_auc": values}
    return result
