"""A detector on another data set: what each step regains, on features made so that the right answer is known."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import ROOT
from headhunt_svc.cli.evaluate import print_transfer
from headhunt_svc.data.datasets import save_index, save_labels
from headhunt_svc.data.feature_store import FeatureStore, Source, VideoFeatures
from headhunt_svc.detector.bundle import load_bundle, model_key
from headhunt_svc.errors import ArtifactError, FeatureError
from headhunt_svc.params import Params, load_params
from headhunt_svc.pipeline.fit import fit_heads
from headhunt_svc.studies.transfer import check_same_features, steps, transfer
from headhunt_svc.types import FrameSpan, HeadRef, OperatingPoint, Scorer, Segment, VideoRecord, edges_of
from headhunt_svc.video.source import VideoState
from helpers.telling import HEADS, LENGTH, labelled_videos

BUNDLE = ROOT / "artifacts" / "detector"
N_SEGMENTS = 8


@pytest.fixture
def params(root: Path) -> Params:
    params = load_params()
    update = {
        "identify": params.identify.model_copy(update={"top_k": 1, "few_videos": 0}),
        "calibrate": params.calibrate.model_copy(update={"sigma_segments": (0.0,)}),
        "evaluate": params.evaluate.model_copy(update={"bootstrap": 20}),
    }
    return params.model_copy(update=update)


def test_a_threshold_of_another_scale_is_regained_by_calibration_alone(params: Params) -> None:
    calibration, validation, tests = labelled_videos(18, 2), labelled_videos(12, 3), labelled_videos(15, 4)
    good = fit_heads(calibration, (HEADS[2],), params.fit).scorer
    shifted = Scorer(good.heads, good.weight, good.bias - 10.0, good.normality)
    prompts = [calibration] * len(params.prompts.texts)
    rows = steps(shifted, OperatingPoint(0.0, 0.9), prompts, validation, tests, params)
    assert list(rows) == ["as_it_is", "calibrated", "fitted", "hunted"]
    assert rows["as_it_is"]["f1"] < 0.5
    assert rows["calibrated"]["f1"] > 0.75
    assert rows["calibrated"]["roc_auc"] == pytest.approx(rows["as_it_is"]["roc_auc"])  # a threshold ranks nothing anew
    assert rows["hunted"]["heads"] == rows["fitted"]["heads"] == [list(HEADS[2])]
    assert rows["hunted"]["roc_auc"] == rows["fitted"]["roc_auc"] > 0.93


def test_a_scorer_that_calls_everything_anomalous_here_is_named_and_the_other_steps_go_on(params: Params) -> None:
    calibration, validation, tests = labelled_videos(18, 2), labelled_videos(12, 3), labelled_videos(15, 4)
    good = fit_heads(calibration, (HEADS[2],), params.fit).scorer
    saturated = Scorer(good.heads, good.weight, good.bias + 1000.0, good.normality)
    prompts = [calibration] * len(params.prompts.texts)
    rows = steps(saturated, OperatingPoint(0.0, 0.5), prompts, validation, tests, params)
    assert "have the score 1.000" in rows["calibrated"]["unavailable"]
    assert rows["fitted"]["roc_auc"] > 0.93


def test_a_fitted_scorer_without_an_operating_point_is_an_error(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibration, validation, tests = labelled_videos(18, 2), labelled_videos(12, 3), labelled_videos(15, 4)
    good = fit_heads(calibration, (HEADS[2],), params.fit)
    saturated = replace(good, scorer=replace(good.scorer, bias=good.scorer.bias + 1000.0))
    monkeypatch.setattr("headhunt_svc.studies.transfer.fit_heads", lambda *args: saturated)
    prompts = [calibration] * len(params.prompts.texts)
    with pytest.raises(FeatureError, match=r"have the score 1\.000"):
        steps(good.scorer, OperatingPoint(0.0, 0.5), prompts, validation, tests, params)


def test_heads_that_tell_nothing_here_are_regained_by_the_hunt_alone(params: Params) -> None:
    calibration, validation, tests = labelled_videos(18, 2), labelled_videos(12, 3), labelled_videos(15, 4)
    elsewhere = Scorer((HEADS[0],), np.ones(4), 0.0)
    prompts = [calibration] * len(params.prompts.texts)
    rows = steps(elsewhere, OperatingPoint(0.0, 0.5), prompts, validation, tests, params)
    for name in ("as_it_is", "calibrated", "fitted"):
        assert rows[name]["heads"] == [list(HEADS[0])]
        assert rows[name]["roc_auc"] < 0.7
    assert rows["hunted"]["heads"] == [list(HEADS[2])]
    assert rows["hunted"]["roc_auc"] > 0.93


def stored_project(
    folder: Path, params: Params, heads: tuple[HeadRef, ...], d_head: int
) -> tuple[Path, Path, Path, Path]:
    """Index, labels and stores of a project whose first head tells."""
    rng = np.random.default_rng(0)
    records, n = [], N_SEGMENTS * LENGTH
    for split in ("calibration", "validation", "test"):
        for i in range(8):
            spans = (FrameSpan(3 * LENGTH, 6 * LENGTH),) if i % 2 else ()
            label = "fall" if spans else "normal"
            records.append(VideoRecord(f"{split}/{i}", Path("v"), n, 10.0, split, label, spans))  # type: ignore[arg-type]
    save_index(folder / "index.parquet", records)
    save_labels(folder / "labels.parquet", records)
    for r in records:
        tests = r.split == "test"
        texts = (params.prompts.scoring_text,) if tests else params.prompts.texts
        source = Source(model_key(params.mllm), texts, params.segmentation.model_dump_json())
        segments = tuple(
            Segment(r.video_id, k, FrameSpan(k * LENGTH, (k + 1) * LENGTH), (k * LENGTH,)) for k in range(N_SEGMENTS)
        )
        values = rng.standard_normal((len(texts), N_SEGMENTS, len(heads), d_head)).astype(np.float32)
        values[:, 3:6, 0] += 2.0 * r.is_anomalous
        hidden = np.zeros((len(texts), N_SEGMENTS, 3), np.float32)
        times = edges_of([s.span for s in segments]) / 10.0
        features = VideoFeatures(segments, times, heads, values, hidden, VideoState(), N_SEGMENTS)
        FeatureStore(folder / ("tests" if tests else "features")).save(r.video_id, features, "k", source)
    return folder / "index.parquet", folder / "labels.parquet", folder / "features", folder / "tests"


def test_a_bundle_is_measured_from_stored_features_alone(
    params: Params, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    detector, scorer = load_bundle(BUNDLE)
    stored = stored_project(tmp_path, params, scorer.heads, scorer.n_features // len(scorer.heads))
    result = transfer(params, BUNDLE, *stored, tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == json.loads(json.dumps(result))
    assert result["detector_id"] == detector.detector_id
    assert result["videos"] == {"calibration": 8, "validation": 8, "test": 8}
    rows, point = result["steps"], detector.operating_point(detector.default_point)
    assert rows["as_it_is"]["threshold"] == point.threshold
    assert rows["as_it_is"]["sigma_segments"] == point.sigma_segments
    assert rows["hunted"]["heads"] == [list(scorer.heads[0])]
    assert rows["hunted"]["roc_auc"] > 0.9 > rows["as_it_is"]["roc_auc"]
    print_transfer(result)
    text = capsys.readouterr().out
    assert f"{rows['hunted']['roc_auc'] - rows['as_it_is']['roc_auc']:+.3f}" in text
    asked = params.model_copy(
        update={"prompts": params.prompts.model_copy(update={"texts": ("what?", *params.prompts.texts[1:])})}
    )
    with pytest.raises(ArtifactError, match=r"reads features of prompt .*`dvc repro detect"):
        transfer(asked, BUNDLE, *stored)


def test_features_that_the_scorer_does_not_read_are_refused_by_name(params: Params) -> None:
    detector, _ = load_bundle(BUNDLE)
    check_same_features(BUNDLE, detector, params)
    others = {
        "model": {"mllm": params.mllm.model_copy(update={"dtype": "bfloat16"})},
        "prompt": {"prompts": params.prompts.model_copy(update={"scoring": 1})},
        "segmentation": {"segmentation": params.segmentation.model_copy(update={"frames_per_segment": 4})},
    }
    for name, update in others.items():
        with pytest.raises(ArtifactError, match=f"reads features of {name} .*params.yaml asks for"):
            check_same_features(BUNDLE, detector, params.model_copy(update=update))
