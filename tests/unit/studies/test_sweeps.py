"""Sweeps and the learning curve, on features that are made so that the right answer is known."""

from pathlib import Path

import numpy as np
import pytest

from headhunt_svc.errors import FeatureError
from headhunt_svc.params import Params, load_params
from headhunt_svc.studies.arms import AblationData, evaluate_heads
from headhunt_svc.studies.sweeps import draw_videos, sweeps
from helpers.telling import HEADS, labelled_videos


@pytest.fixture
def params(root: Path) -> Params:
    return load_params()


def test_draws_hold_both_sorts_and_repeat_for_a_seed(params: Params) -> None:
    data = labelled_videos(30, 1)
    drawn = draw_videos([data, data], 9, params)
    assert len(drawn) == params.ablate.draws
    for one, other in drawn:
        assert one.records == other.records
        assert len(one.records) == 9
        assert 2 <= sum(r.is_anomalous for r in one.records) <= 7
    assert len({tuple(r.video_id for r in d[0].records) for d in drawn}) > 5
    assert [d[0].records for d in draw_videos([data, data], 9, params)] == [d[0].records for d in drawn]
    normal = data.only({r.video_id for r in data.records if not r.is_anomalous})
    with pytest.raises(FeatureError, match="never hold two normal and two anomalous"):
        draw_videos([normal], 5, params)


def test_sweeps_pass_through_the_arms_and_leave_prompts_out(params: Params) -> None:
    calibration = labelled_videos(18, 2)
    splits = {"calibration": calibration, "validation": labelled_videos(12, 3), "test": labelled_videos(15, 4)}
    ask = params.ablate.model_copy(update={"top_k": (1, 3, 80), "instability_penalty": (0.0, 2.0)})
    few = params.model_copy(update={"ablate": ask, "identify": params.identify.model_copy(update={"top_k": 1})})
    points = sweeps(AblationData((calibration,) * 3, splits), few)
    assert list(points["top_k"]) == ["1", "3"]  # there are no 80 heads
    assert list(points["instability_penalty"]) == ["0", "2"]
    assert [len(p["each"]) for p in points["prompts"].values()] == [3, 3, 1]
    for heads, point in ((HEADS[2:], points["top_k"]["1"]), (HEADS, points["top_k"]["3"])):
        assert point["roc_auc"] == pytest.approx(evaluate_heads(splits, heads, few)["test"]["roc_auc"])
    assert points["top_k"]["1"]["roc_auc"] > 0.93
    assert np.ptp([p["roc_auc"] for p in points["prompts"].values()]) == 0  # the prompts are the same
