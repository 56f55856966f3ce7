"""Leave one kind, or one camera, out: features that are made so that the right answer is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from headhunt_svc.params import Params, load_params
from headhunt_svc.pipeline.fit import fit_heads
from headhunt_svc.pipeline.labelled_features import LabelledFeatures
from headhunt_svc.studies.generalisation import (
    ArmHeads,
    Fit,
    fit_arms,
    leave_out_cameras,
    leave_out_kinds,
    markdown,
    measure,
    table,
)
from headhunt_svc.types import HeadFeatures, Split, VideoRecord
from helpers.telling import HEADS, labelled_videos

KINDS = ("fall", "fire", "run")


@pytest.fixture
def params(root: Path) -> Params:
    params = load_params()
    return params.model_copy(update={"identify": params.identify.model_copy(update={"top_k": 1, "few_videos": 0})})


ARMS = [
    "logistic",
    "logistic+normality",
    "normality",
    "background_median",
    "background_ema",
    "paper",
    "all_heads",
    "heads_chosen_again",
    "heads_chosen_again,_logistic",
]


def logistic(params: Params) -> Fit:
    """The one arm, on the head that tells."""
    plain = params.fit.model_copy(update={"scorer": "logistic"})
    return lambda prompts: {"logistic": fit_heads(prompts[0], (HEADS[2],), plain).scorer}


def corpus() -> LabelledFeatures:
    """Videos of three kinds, each moved along an axis of its own, that normal videos hardly vary along."""
    data = labelled_videos(36, 5)
    values = np.random.default_rng(6).standard_normal(data.features.values.shape).astype(np.float32)
    records: list[VideoRecord] = []
    kind_of: dict[str, int] = {}
    for i, record in enumerate(data.records):
        split: Split = "calibration" if i < 24 else "validation"
        number = i // 3 % 3
        kind_of[record.video_id] = number
        label = KINDS[number] if record.is_anomalous else "normal"
        records.append(replace(record, split=split, label=label, camera=f"camera {i % 4}"))
    for row, (video, anomalous) in enumerate(zip(data.videos, data.labels, strict=True)):
        values[row, 2, kind_of[video]] += 4.0 * anomalous
    return LabelledFeatures(
        HeadFeatures(data.features.segments, HEADS, values), data.labels, tuple(records), data.times
    )


def test_a_kind_is_measured_beside_normal_validation_videos_and_never_fitted_on() -> None:
    records = corpus().records
    kinds = leave_out_kinds(records)
    assert [group.name for group in kinds] == list(KINDS)
    for group in kinds:
        kind = {r.video_id for r in records if r.label == group.name}
        assert group.training == {r.video_id for r in records if r.split == "calibration"} - kind
        assert group.measured == kind | {r.video_id for r in records if (r.split, r.label) == ("validation", "normal")}


def test_a_video_of_two_kinds_is_left_out_with_each() -> None:
    records = [replace(r, label="fall+fire") if r.label == "fall" else r for r in corpus().records]
    both = {r.video_id for r in records if r.label == "fall+fire"}
    groups = {group.name: group for group in leave_out_kinds(records)}
    for kind in ("fall", "fire"):
        assert both <= groups[kind].measured
        assert not both & groups[kind].training


def test_a_camera_is_measured_on_all_its_videos_and_one_without_a_name_stays() -> None:
    records = [replace(r, camera=None) if r.camera == "camera 0" else r for r in corpus().records]
    groups = leave_out_cameras(records)
    assert [group.name for group in groups] == ["camera 1", "camera 2", "camera 3"]
    for group in groups:
        camera = {r.video_id for r in records if r.camera == group.name}
        assert group.measured == camera
        assert group.training == {r.video_id for r in records if r.split == "calibration"} - camera


def test_the_distance_finds_kinds_that_the_regression_never_saw(params: Params) -> None:
    data = corpus()
    heads, prompts = ArmHeads((HEADS[2],), (HEADS[0],)), [data] * len(params.prompts.texts)
    section = measure(prompts, data, leave_out_kinds(data.records), lambda training: fit_arms(training, heads, params))
    assert section["not_left_out"] == {}
    mean = section["mean"]
    assert list(mean) == ARMS
    assert mean["paper"]["roc_auc"] < 0.65  # its head is noise
    assert mean["heads_chosen_again"] == mean["logistic+normality"]  # the head that tells is found again
    assert mean["heads_chosen_again,_logistic"] == mean["logistic"]
    assert mean["normality"]["roc_auc"] > 0.85
    assert mean["normality"]["gain"] > 0.1  # each kind is along an axis of its own
    assert mean["logistic+normality"]["better"] == 3
    auc = np.array([[row["roc_auc"][name] for name in ARMS] for row in section["left_out"].values()])
    normality = auc[:, 2] - auc[:, 0]
    assert mean["normality"]["gain"] == pytest.approx(normality.mean())
    assert mean["normality"]["gain_error"] == pytest.approx(normality.std(ddof=1) / np.sqrt(3))
    header, rows = table(section)
    assert header == ["left out", *(name.replace("_", " ") for name in ARMS)]
    error = "standard error"
    assert [row[0] for row in rows] == [*KINDS, "mean", error, "above logistic", error, "better than logistic"]
    assert rows[-1][:3] == ["better than logistic", "", "3 of 3"]
    assert rows[-2][3] == f"± {mean['normality']['gain_error']:.3f}"
    assert rows[0][1] == f"{section['left_out']['fall']['roc_auc']['logistic']:.3f}"


def test_the_auc_is_that_of_scikit_learn_on_the_left_out_segments(params: Params) -> None:
    data = corpus()
    (group, *_) = leave_out_cameras(data.records)
    fit = logistic(params)
    section = measure([data], data, [group], fit)
    scorer = fit([data.only(group.training)])["logistic"]
    tests = data.only(group.measured)
    expected = roc_auc_score(tests.labels, tests.features.select(scorer.heads) @ scorer.weight)
    row = section["left_out"]["camera 0"]
    assert row["roc_auc"]["logistic"] == pytest.approx(expected)
    assert (row["videos"], row["segments"], row["anomalous_segments"]) == (9, len(tests.labels), tests.labels.sum())
    assert section["mean"]["logistic"]["error"] is None  # of one row


def test_what_cannot_be_left_out_is_named_with_the_reason(params: Params) -> None:
    data = corpus()
    normal = data.only({r.video_id for r in data.records if not (r.is_anomalous and r.camera == "camera 0")})
    section = measure([normal], normal, leave_out_cameras(normal.records), logistic(params))
    assert section["not_left_out"] == {"camera 0": "its videos hold segments of one class only"}
    assert list(section["left_out"]) == ["camera 1", "camera 2", "camera 3"]
    alone = data.only({r.video_id for r in data.records if r.label in ("fall", "normal")})
    section = measure([alone], alone, leave_out_kinds(alone.records), logistic(params))
    assert "fewer than two videos" in section["not_left_out"]["fall"]
    assert section["mean"] == {}
    text = markdown({"kinds": section, "cameras": {"unavailable": "No cameras."}})
    assert "fall is not left out: without it, fewer than two videos" in text
    assert "No cameras." in text
