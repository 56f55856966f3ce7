"""The ablation's rows of the method as published, on features that are made so that the right answer is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from headhunt_svc.core.scoring import apply_scorer
from headhunt_svc.params import Params, load_params
from headhunt_svc.pipeline.fit import fit_heads
from headhunt_svc.pipeline.identify import identify_heads
from headhunt_svc.pipeline.labelled_features import LabelledFeatures
from headhunt_svc.studies.arms import AblationData, evaluate_heads
from headhunt_svc.studies.figures import SWEEPS, markdown
from headhunt_svc.studies.published import SINGLE, changed, published_rows
from headhunt_svc.types import HeadFeatures, HeadRef
from helpers.telling import labelled_videos

MANY = tuple(HeadRef(layer, head) for layer in range(2) for head in range(4))


def with_many_heads(n: int, seed: int) -> LabelledFeatures:
    """As `labelled_videos`, with eight heads: the last tells, the one before is its copy, the others are noise."""
    data = labelled_videos(n, seed)
    noise = np.random.default_rng(seed).standard_normal((len(data.labels), 6, 4)).astype(np.float32)
    telling = data.features.values[:, 2:]
    values = 3 * np.concatenate([noise, telling, telling], axis=1)
    return replace(data, features=HeadFeatures(data.features.segments, MANY, values))


@pytest.fixture
def params(root: Path) -> Params:
    """Small: six heads, no resamples; with another sigma than the paper's grid holds."""
    few = changed(load_params(), "evaluate", bootstrap=0)
    few = changed(few, "calibrate", sigma_segments=(0.0, 3.0), n_thresholds=20)
    return changed(few, "identify", top_k=6, criteria="robust")


@pytest.fixture
def data() -> AblationData:
    calibration = with_many_heads(12, 2)
    splits = {"calibration": calibration, "validation": with_many_heads(9, 3), "test": with_many_heads(9, 4)}
    return AblationData((calibration,) * 2, splits)


def test_each_row_has_one_thing_as_published(params: Params, data: AblationData) -> None:
    heads = identify_heads(data.calibration, params.identify)
    assert len({MANY[6], MANY[7]} & set(heads)) == 1  # one of the copies
    rows = published_rows(data, heads, params)
    assert list(rows) == ["paper", *SINGLE]
    published = params.as_published()
    experts = identify_heads(data.calibration, published.identify)
    assert len(experts) == 5
    assert rows["paper"] == {"how": rows["paper"]["how"], **evaluate_heads(data.splits, experts, published)}
    plain = evaluate_heads(data.splits, heads, changed(params, "fit", platt=False, scorer="logistic"))
    assert rows["published_platt"] == {"how": rows["published_platt"]["how"], **plain}
    copies = identify_heads(data.calibration, changed(params, "identify", max_redundancy=1.0).identify)
    assert {MANY[6], MANY[7]} < set(copies)
    assert rows["published_redundancy"]["test"] == evaluate_heads(data.splits, copies, params)["test"]
    assert rows["published_sigma"]["sigma_segments"] in published.calibrate.sigma_segments
    assert "the detector, but five heads, as published" in rows["published_k"]["how"]


def test_the_table_of_choices_is_on_validation_videos(params: Params, data: AblationData) -> None:
    heads = identify_heads(data.calibration, params.identify)
    arms = {"expert_robust": {"how": "", **evaluate_heads(data.splits, heads, params)}}
    arms |= published_rows(data, heads, params)
    swept = {name: {"1": {"roc_auc": 0.5, "average_precision": 0.5}} for name in SWEEPS}
    arms["expert_robust"]["low_label"] = {"9": {"mean": 0.5, "std": 0.1}}
    text = markdown({"detector_id": "0", "arms": arms, "sweeps": swept})
    section = text[text.index("## As published") : text.index("## With few")]
    scorer = fit_heads(data.splits["calibration"], heads, params.fit).scorer
    for name in ("expert_robust", "paper", *SINGLE):
        row = arms[name]["validation"]
        assert f"| {name.replace('_', ' ')} | {row['roc_auc']:.3f} | {row['average_precision']:.3f} |" in section
    validation = data.splits["validation"]
    flat = changed(params, "calibrate", sigma_segments=(0.0,))
    row = evaluate_heads(data.splits, heads, flat)["validation"]
    scores = apply_scorer(scorer, validation.features.select(heads))  # segments of one length: frames rank as they do
    assert row["roc_auc"] == pytest.approx(roc_auc_score(validation.labels, scores))
    assert row["average_precision"] == pytest.approx(average_precision_score(validation.labels, scores))


def test_rows_that_would_be_the_detector_are_left_out(params: Params, data: AblationData) -> None:
    published = params.as_published()
    heads = identify_heads(data.calibration, published.identify)
    assert published_rows(data, heads, published) == {}
    same = changed(params, "fit", balanced=False)
    assert "published_balance" not in published_rows(data, heads, same)
