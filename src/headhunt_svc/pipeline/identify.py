"""identify: the expert heads, from stored features of calibration videos under every prompt."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.progress import track

from headhunt_svc.core.identification import (
    HeadChoice,
    choose_heads,
    confidence,
    frequencies,
    halves,
    rivals,
    robust_saliency,
    trial,
)
from headhunt_svc.core.saliency import CRITERIA, head_criteria
from headhunt_svc.data.datasets import data_digest, load_records
from headhunt_svc.data.feature_store import FeatureStore
from headhunt_svc.detector.bundle import model_key, model_revision
from headhunt_svc.detector.heads_file import save_selection
from headhunt_svc.params import IdentifyParams, Params
from headhunt_svc.pipeline.labelled_features import LabelledFeatures, candidates, load_prompts
from headhunt_svc.pipeline.plots import saliency_map
from headhunt_svc.storage.files import write_file
from headhunt_svc.types import LABELLED, Confidence, HeadRef, HeadSelection, RobustSaliency


def _choice(per_prompt: Sequence[LabelledFeatures], params: IdentifyParams) -> HeadChoice:
    data = per_prompt[0]
    return choose_heads([d.features.values for d in per_prompt], data.labels, data.videos, params)


def identify_heads(per_prompt: Sequence[LabelledFeatures], params: IdentifyParams) -> tuple[HeadRef, ...]:
    """The expert heads, best first, among the candidates."""
    possible = candidates(per_prompt, params)
    heads = possible[0].features.heads
    return tuple(heads[i] for i in _choice(possible, params).chosen)


def _measure_confidence(
    per_prompt: Sequence[LabelledFeatures], choice: HeadChoice, params: IdentifyParams
) -> tuple[Confidence, np.ndarray] | None:
    """Confidence in a choice, and how often each head was chosen; None if there are too few videos to measure it."""
    data, values = per_prompt[0], [d.features.values for d in per_prompt]
    drawn = halves(data.labels, data.videos, params)
    if not drawn:
        return None
    trials = [
        trial(values, data.labels, data.videos, inside, len(choice.chosen), params)
        for inside in track(drawn, description="subsamples")
    ]
    others = rivals(values, data.labels, drawn, choice, params)
    return confidence(choice, trials, others), frequencies(trials, values[0].shape[1])


def _grid(heads: Sequence[HeadRef], values: np.ndarray) -> np.ndarray:
    """Values [..., head] as [..., layer, head]; NaN for a head that was not read."""
    table = np.full((*values.shape[:-1], max(h.layer for h in heads) + 1, max(h.head for h in heads) + 1), np.nan)
    table[..., [h.layer for h in heads], [h.head for h in heads]] = values
    return table


def _table(
    per_prompt: Sequence[LabelledFeatures], choice: HeadChoice, robust: RobustSaliency, params: IdentifyParams
) -> pd.DataFrame:
    """A row for each head: its saliency, and the criteria of the paper whether they decided or not."""
    data = per_prompt[0]
    criteria = choice.criteria
    if criteria is None:
        criteria = np.stack([head_criteria(d.features.values, data.labels, params.seed) for d in per_prompt])
    heads = data.features.heads
    columns: dict[str, Any] = {"layer": [h.layer for h in heads], "head": [h.head for h in heads]}
    columns |= {name: [getattr(robust, name)[h] for h in heads] for name in ("mean", "instability", "rss")}
    columns |= {f"prompt_{i}": row for i, row in enumerate(choice.table)}
    return pd.DataFrame(columns | dict(zip(CRITERIA, criteria.mean(0), strict=True)))


def identify(params: Params, index: Path, labels: Path, features: Path, out: Path) -> HeadSelection:
    """The stage identify: writes heads.json, saliency.csv and saliency.png.

    heads.json names the labelled calibration and validation videos, so that `fit`, `calibrate` and `bundle` can tell
    whether they are about the same data.
    """
    records = {split: load_records(index, labels, split) for split in LABELLED}
    per_prompt = candidates(load_prompts(params, FeatureStore(features), records["calibration"]), params.identify)
    heads, choice = per_prompt[0].features.heads, _choice(per_prompt, params.identify)
    experts = tuple(heads[i] for i in choice.chosen)
    robust = robust_saliency(_grid(heads, choice.table), params.identify.instability_penalty)
    table = _table(per_prompt, choice, robust, params.identify)
    measured = _measure_confidence(per_prompt, choice, params.identify)
    if measured:
        table["frequency"] = measured[1]
    selection = HeadSelection(
        experts,
        tuple(float(robust.rss[h]) for h in experts),
        params.prompts.texts,
        params.mllm.id,
        model_revision(params.mllm),
        params.identify.criteria,
        measured[0] if measured else None,
        data_digest(r for split in LABELLED for r in records[split]),
        model_key(params.mllm),
        params.segmentation.model_dump_json(),
        params.identify.deepest_layer,
    )
    write_file(out.with_name("saliency.csv"), lambda p: table.to_csv(p, index=False))
    saliency_map(out.with_name("saliency.png"), robust, experts)
    save_selection(out, selection)
    return selection
