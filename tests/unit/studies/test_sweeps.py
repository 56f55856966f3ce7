"""Sweeps and the learning curve, on features that are made so that the right answer is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headhunt_svc.data.feature_store import HIDDEN
from headhunt_svc.errors import FeatureError
from headhunt_svc.params import Params, load_params
from headhunt_svc.pipeline.labelled_features import LabelledFeatures
from headhunt_svc.studies.arms import AblationData, evaluate_heads
from headhunt_svc.studies.sweeps import Learner, draw_videos, few_labels, few_labels_figures, sweeps, unseen_kinds
from headhunt_svc.types import HeadFeatures
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


def test_the_learning_curve_has_the_mean_over_kinds_that_no_labelled_video_shows(params: Params) -> None:
    tests = labelled_videos(30, 4)
    names = ("fall", "fire", "crawl")  # by the video's number; fire and crawl are new
    records = [
        replace(r, split="test", label=names[i // 3 % 3]) if r.is_anomalous else r for i, r in enumerate(tests.records)
    ]
    tests = replace(tests, records=tuple(records))
    calibration = labelled_videos(30, 2)
    splits = {"calibration": calibration, "validation": labelled_videos(12, 3), "test": tests}
    assert unseen_kinds(splits) == ("crawl", "fire")
    few = params.model_copy(update={"ablate": params.ablate.model_copy(update={"labelled_videos": (9,), "draws": 2})})
    data = AblationData((calibration,) * len(params.prompts.texts), splits)
    hidden = LabelledFeatures(
        HeadFeatures(calibration.features.segments, (HIDDEN,), calibration.features.values[:, 2:].copy()),
        calibration.labels,
        calibration.records,
        calibration.times,
    )
    hidden_tests = replace(
        tests, features=HeadFeatures(tests.features.segments, (HIDDEN,), tests.features.values[:, 2:].copy())
    )
    states = AblationData((hidden,) * len(params.prompts.texts), {**splits, "test": hidden_tests})
    curve = few_labels(data, states, {"telling": Learner(lambda draw, rng: (HEADS[2],), few)}, few)
    point = curve["telling"]["9"]
    assert point["mean"] == pytest.approx(np.mean(point["roc_auc"]))
    draws = draw_videos([calibration] * len(params.prompts.texts), 9, few)
    for i, draw in enumerate(draws):
        kinds = []
        for kind in ("crawl", "fire"):
            beside = tests.only({r.video_id for r in tests.records if r.label in (kind, "normal")})
            kinds.append(few_labels_figures(draw, beside, (HEADS[2],), few)["roc_auc"])
        assert point["unseen_kinds"][i] == pytest.approx(np.mean(kinds))
        whole = few_labels_figures(draw, tests, (HEADS[2],), few)
        assert (point["roc_auc"][i], point["average_precision"][i]) == (whole["roc_auc"], whole["average_precision"])
    assert curve["final_hidden"]["9"]["unseen_kinds"] == pytest.approx(point["unseen_kinds"])
