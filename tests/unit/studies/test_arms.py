"""The ablation's own arithmetic, on features that are made so that the right answer is known."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from headhunt_svc.params import Params, load_params
from headhunt_svc.pipeline.labelled_features import LabelledFeatures
from headhunt_svc.studies.ablate import text_answers
from headhunt_svc.studies.alternatives import Kind, fit_alternative
from headhunt_svc.studies.arms import evaluate_heads, evaluate_scores, labelled_of, mean_figures, score_splits
from headhunt_svc.studies.sweeps import few_labels_figures
from headhunt_svc.types import VideoRecord
from helpers.telling import HEADS, LENGTH, N_SEGMENTS, labelled_videos


@pytest.fixture
def params(root: Path) -> Params:
    return load_params()


def test_only_keeps_order_and_belongs_together() -> None:
    data = labelled_videos(6, 0)
    part = data.only({"v0-4", "v0-1"})
    assert [r.video_id for r in part.records] == ["v0-1", "v0-4"]
    assert part.videos == ["v0-1"] * N_SEGMENTS + ["v0-4"] * N_SEGMENTS
    np.testing.assert_array_equal(part.features.values, data.features.values[[*range(10, 20), *range(40, 50)]])
    assert part.labels.sum() == 6


def test_the_telling_head_beats_the_noise(params: Params) -> None:
    splits = {
        "calibration": labelled_videos(18, 2),
        "validation": labelled_videos(12, 3),
        "test": labelled_videos(15, 4),
    }
    good, bad = (evaluate_heads(splits, (head,), params)["test"] for head in (HEADS[2], HEADS[0]))
    assert good["roc_auc"] > 0.93
    assert good["roc_auc_interval"][0] > bad["roc_auc_interval"][1]
    assert good["by_kind"]["fall"]["roc_auc"] == pytest.approx(good["roc_auc"])
    draw = [splits["calibration"]] * len(params.prompts.texts)
    flat = params.model_copy(update={"ablate": params.ablate.model_copy(update={"low_label_sigma": 0.0})})
    tests = splits["test"]
    scorer_auc = few_labels_figures(draw, tests, (HEADS[2],), flat)["roc_auc"]
    assert scorer_auc > 0.93
    # without smoothing, frames of a segment share a value: the frame AUC is that of segments of equal length
    telling = tests.features.values[:, 2].sum(1)
    assert scorer_auc == pytest.approx(roc_auc_score(tests.labels, telling), abs=0.03)


def test_the_mean_of_draws_is_a_mean_and_its_interval_is_over_draws() -> None:
    rows = [
        {"test": {"roc_auc": a, "average_precision": a / 2, "f1": a / 3, "n_videos": 3, "n_frames": 9,
                  "by_kind": {"fall": {"roc_auc": a, "average_precision": a}},
                  "groups": {"unseen_kinds": {"kinds": ["fall"], "n_videos": 2, "n_frames": 6,
                                              "roc_auc": a, "average_precision": a},
                             "new_cameras": {"undefined": "why"}}}}
        for a in (0.5, 0.6, 0.7)
    ]  # fmt: skip
    mean = mean_figures(rows)["test"]
    assert mean["roc_auc"] == pytest.approx(0.6)
    assert mean["average_precision"] == pytest.approx(0.3)
    assert mean["roc_auc_interval"] == pytest.approx([0.505, 0.695])
    assert mean["by_kind"]["fall"]["roc_auc"] == pytest.approx(0.6)
    assert mean["f1_interval"] == pytest.approx([0.505 / 3, 0.695 / 3])
    assert mean["each"]["roc_auc"] == [0.5, 0.6, 0.7]
    unseen = mean["groups"]["unseen_kinds"]
    assert (unseen["kinds"], unseen["n_videos"]) == (["fall"], 2)
    assert (unseen["roc_auc"], *unseen["roc_auc_interval"]) == pytest.approx((0.6, 0.505, 0.695))
    assert mean["groups"]["new_cameras"] == {"undefined": "why"}


def _described(data: LabelledFeatures, describe: Callable[[int, VideoRecord], VideoRecord]) -> LabelledFeatures:
    return replace(data, records=tuple(describe(i, r) for i, r in enumerate(data.records)))


def test_an_arm_has_rows_of_what_is_new_also_without_features_of_calibration_videos(params: Params) -> None:
    """Every video of number 4 and above is of a camera, and shows a kind, that only test videos have."""

    def new(i: int, record: VideoRecord) -> VideoRecord:
        label = "fire" if i >= 4 and record.is_anomalous else record.label
        return replace(record, camera="new" if i >= 4 else "old", label=label)

    tests = _described(labelled_videos(15, 4), new)
    splits = {s: _described(d, lambda _, r: replace(r, camera="old")) for s, d in _splits().items()} | {"test": tests}
    groups = evaluate_heads(splits, (HEADS[2],), params)["test"]["groups"]
    assert {name: row["n_videos"] for name, row in groups.items()} == {
        "unseen_kinds": sum(r.label in ("fire", "normal") for r in tests.records),
        "new_cameras": 11,
    }
    assert min(row["roc_auc"] for row in groups.values()) > 0.93
    raw = score_splits(splits, (HEADS[2],), params)
    without = {s: splits[s] for s in ("validation", "test")}
    assert evaluate_scores(without, raw, params, labelled=labelled_of(splits))["test"]["groups"] == groups


def _splits() -> dict[str, LabelledFeatures]:
    return {"calibration": labelled_videos(18, 2), "validation": labelled_videos(12, 3), "test": labelled_videos(15, 4)}


def test_f1_is_that_of_scikit_learn_at_the_tuned_or_given_threshold(params: Params) -> None:
    splits = _splits()
    raw = score_splits(splits, (HEADS[2],), params)
    flat = params.model_copy(update={"calibrate": params.calibrate.model_copy(update={"sigma_segments": (0.0,)})})
    scores, truth = (
        np.repeat(np.concatenate([v.smoothed(0.0).scores for v in raw["test"]]), LENGTH),
        np.repeat(splits["test"].labels, LENGTH),
    )
    for given in (None, 0.5, 0.97):
        row = evaluate_scores(splits, raw, flat, given)
        assert row["sigma_segments"] == 0
        assert given is None or row["threshold"] == given
        assert row["test"]["f1"] == pytest.approx(f1_score(truth, scores > row["threshold"]))
        low, high = row["test"]["f1_interval"]
        assert low < row["test"]["f1"] < high


@pytest.mark.parametrize("kind", ["svm", "mlp"])
def test_another_scorer_finds_what_tells_and_gives_probabilities(params: Params, kind: Kind) -> None:
    splits = _splits()
    data, tests = splits["calibration"], splits["test"]
    apply = fit_alternative(kind, data, data.features.select(HEADS), params.fit, 0)
    probability = apply(tests.features.select(HEADS))
    assert roc_auc_score(tests.labels, probability) > 0.93
    assert probability.min() >= 0
    assert probability.max() <= 1
    assert probability.mean() == pytest.approx(tests.labels.mean(), abs=0.05)


def test_without_specific_questions_their_rows_are_left_out(params: Params) -> None:
    splits = {"validation": labelled_videos(12, 3), "test": labelled_videos(15, 4)}
    known = [*labelled_videos(18, 2).records, *splits["validation"].records]
    direction = np.ones(splits["test"].features.values.shape[2])
    for specific, expected in (((), []), (("a fall?",), ["text_answer_specific", "text_probability_specific"])):
        asked = params.model_copy(update={"ablate": params.ablate.model_copy(update={"specific": specific})})
        rows = text_answers([splits] * (len(specific) + len(params.ablate.generic)), direction, known, asked)
        assert list(rows) == ["text_answer", "text_probability", *expected]
        assert "show a kind of every" in rows["text_answer"]["test"]["groups"]["unseen_kinds"]["undefined"]
