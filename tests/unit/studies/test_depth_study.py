"""The rows of `headhunt depth`, where the right answer is known, and that every study keeps the limit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headhunt_svc.cli.depth import print_depth
from headhunt_svc.data.feature_store import FeatureStore
from headhunt_svc.params import Params, load_params
from headhunt_svc.pipeline.labelled_features import LabelledFeatures
from headhunt_svc.studies import ablate, fewer_tokens
from headhunt_svc.studies.arms import AblationData, evaluate_heads
from headhunt_svc.studies.depth import compare_limits, segment_flops_of
from headhunt_svc.studies.generalisation import ArmHeads, fit_arms
from headhunt_svc.studies.published import changed
from headhunt_svc.studies.sweeps import sweeps
from headhunt_svc.types import HeadFeatures, HeadRef
from helpers.models import tiny
from helpers.telling import labelled_videos

HEADS = tuple(HeadRef(layer, head) for layer in range(4) for head in range(2))
TELLS, TELLS_BETTER = HeadRef(1, 1), HeadRef(2, 0)


@pytest.fixture
def params(root: Path) -> Params:
    few = changed(load_params(), "evaluate", bootstrap=20)
    few = changed(few, "ablate", random_draws=3, top_k=(1, 4, 8), instability_penalty=(0.5,))
    few = changed(few, "calibrate", sigma_segments=(0.0, 1.0), n_thresholds=20)
    return changed(few, "identify", top_k=1, few_videos=0)


def videos(n: int, seed: int) -> LabelledFeatures:
    """Two of eight heads tell the anomalous segments, that of layer 2 better than that of layer 1."""
    data = labelled_videos(n, seed)
    values = np.random.default_rng(seed).standard_normal((len(data.labels), 8, 4)).astype(np.float32)
    for head, shift in ((TELLS, 1.0), (TELLS_BETTER, 2.5)):
        values[:, HEADS.index(head)] += shift * data.labels[:, None]
    return replace(data, features=HeadFeatures(data.features.segments, HEADS, values))


@pytest.fixture
def data() -> AblationData:
    splits = {"calibration": videos(15, 2), "validation": videos(12, 3), "test": videos(12, 4)}
    return AblationData((splits["calibration"],) * 2, splits)


def test_every_limit_has_its_heads_figures_and_cost(
    params: Params, data: AblationData, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = tiny("internvl")
    rows = compare_limits(data, layout, changed(params, "identify", deepest_layer=1))  # a limit in use says nothing
    assert [row["limit"] for row in rows] == [3, 2, 1, 0]
    assert [row["heads"] for row in rows[:3]] == [[[2, 0]], [[2, 0]], [[1, 1]]]
    assert [row["layers"] for row in rows] == [3, 3, 2, 1]
    expected = evaluate_heads(data.splits, (TELLS,), params)
    assert {key: rows[2][key] for key in expected} == expected
    auc = [row["validation"]["roc_auc"] for row in rows]
    assert auc[0] == auc[1] > auc[2] > auc[3] + 0.1
    costs = [row["cost"]["segment"] for row in rows]
    assert costs[0] == costs[1] == segment_flops_of(layout, params, 2).total
    assert costs[1] > costs[2] > costs[3]

    print_depth({"limit": 1, "limits": rows})
    lines = capsys.readouterr().out.splitlines()
    table = [line.split("│") for line in lines if "│" in line]
    assert [cells[1].strip() for cells in table] == ["none", "2", "1 *", "0"]
    decoder = [row["cost"]["decoder"] for row in rows]
    assert [float(cells[4]) for cells in table] == [round(cost / decoder[0], 2) for cost in decoder]
    assert [float(cells[5]) for cells in table] == [round(cost / costs[0], 2) for cost in costs]
    assert [float(cells[9]) for cells in table] == [round(value, 4) for value in auc]
    for row in rows:  # a family that does not say what its vision tower does
        row["cost"]["segment"] = None
    print_depth({"limit": None, "limits": rows})
    table = [line.split("│") for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert [cells[1].strip() for cells in table] == ["none *", "2", "1", "0"]
    assert "(decoder)" in table[0][3]
    assert table[0][5].strip() == "-"
    print_depth({"limit": 8, "limits": rows})
    assert "params.yaml has 8: none of these limits" in capsys.readouterr().out


def test_a_limit_that_leaves_too_few_distinct_heads_has_a_row_that_says_so(
    params: Params, data: AblationData, capsys: pytest.CaptureFixture[str]
) -> None:
    calibration = data.splits["calibration"]
    values = calibration.features.values.copy()
    values[:, 1] = values[:, 0]  # the heads of layer 0 are one
    copied = replace(calibration, features=HeadFeatures(calibration.features.segments, HEADS, values))
    same = AblationData((copied,) * 2, {**data.splits, "calibration": copied})
    rows = compare_limits(same, tiny("internvl"), changed(params, "identify", top_k=2))
    assert [row["limit"] for row in rows] == [3, 2, 1, 0]
    assert "lower identify.top_k, or raise identify.max_redundancy" in rows[-1]["unavailable"]
    print_depth({"limit": None, "limits": rows})
    assert "0: identify.top_k is 2, but only 2 of 2 heads are usable and 1 of them" in capsys.readouterr().out
    rows = compare_limits(same, tiny("internvl"), changed(params, "identify", top_k=3))
    assert [row["limit"] for row in rows] == [3, 2, 1]
    print_depth({"limit": None, "limits": rows})
    assert "Limits below 1 leave fewer heads than identify.top_k." in capsys.readouterr().out


def test_every_arm_of_a_study_has_the_same_candidates(
    params: Params, data: AblationData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = changed(params, "identify", deepest_layer=1)
    seen: list[tuple[HeadRef, ...]] = []

    def noted(splits: object, heads: tuple[HeadRef, ...], own: Params) -> dict[str, object]:
        seen.append(heads)
        return evaluate_heads(data.splits, heads, own)

    for module in ("ablate", "sweeps", "fewer_tokens"):
        monkeypatch.setattr(f"headhunt_svc.studies.{module}.evaluate_heads", noted)
    ablate._random_heads(data, 3, limit)
    whole = ablate._best_layer(data, limit)
    points = sweeps(data, limit)
    monkeypatch.setattr(fewer_tokens, "load_stored", lambda *_: data)
    tokens = fewer_tokens._evaluate(limit, {}, FeatureStore(tmp_path), None)
    learners = ablate._learners(data.candidates(limit.identify), 3, limit)
    draw, rng = data.calibration, np.random.default_rng(0)
    seen += [learner.choose(draw, rng) for name, learner in learners.items() if name != "paper"]
    chosen = ArmHeads((TELLS,), (TELLS,))
    prompts = [data.calibration[0]] * len(limit.prompts.texts)
    seen += [scorer.heads for scorer in fit_arms(prompts, chosen, limit).values()]

    assert "layer 1, the best" in whole["how"]
    assert list(points["top_k"]) == ["1", "4"]
    assert tokens["heads"] == [[1, 1]]
    assert len(seen) > 12
    assert max(head.layer for heads in seen for head in heads) == 1
