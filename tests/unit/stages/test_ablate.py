"""The ablation's own arithmetic, on features that are made so that the right answer is known."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from headhunt_svc.errors import FeatureError
from headhunt_svc.params import Params, load_params
from headhunt_svc.stages.ablate import _draws, _low_label, _mean_of_draws, _of_heads
from headhunt_svc.stages.training import LabelledFeatures
from headhunt_svc.types import FrameSpan, HeadFeatures, HeadRef, Segment, VideoRecord

HEADS = (HeadRef(0, 0), HeadRef(0, 1), HeadRef(1, 0))
LENGTH = 16
N_SEGMENTS = 10


@pytest.fixture
def params(root: Path) -> Params:
    return load_params()


def labelled_videos(n: int, seed: int) -> LabelledFeatures:
    """n videos, two of three anomalous in segments 4 to 6; head (1, 0) tells, the others are noise."""
    rng = np.random.default_rng(seed)
    records, segments, labels = [], [], []
    for i in range(n):
        anomalous = i % 3 > 0
        spans = (FrameSpan(4 * LENGTH, 7 * LENGTH),) if anomalous else ()
        name = f"v{seed}-{i}"
        label = "fall" if anomalous else "normal"
        records.append(VideoRecord(name, Path(name), N_SEGMENTS * LENGTH, 10.0, "calibration", label, spans))
        for k in range(N_SEGMENTS):
            segments.append(Segment(name, k, FrameSpan(k * LENGTH, (k + 1) * LENGTH), (k * LENGTH,)))
            labels.append(anomalous and 4 <= k <= 6)
    values = rng.standard_normal((len(segments), 3, 4)).astype(np.float32)
    values[:, 2] += 2.0 * np.array(labels)[:, None]
    return LabelledFeatures(HeadFeatures(tuple(segments), HEADS, values), np.array(labels), tuple(records))


def test_only_keeps_order_and_belongs_together() -> None:
    data = labelled_videos(6, 0)
    part = data.only({"v0-4", "v0-1"})
    assert [r.video_id for r in part.records] == ["v0-1", "v0-4"]
    assert part.videos == ["v0-1"] * N_SEGMENTS + ["v0-4"] * N_SEGMENTS
    np.testing.assert_array_equal(part.features.values, data.features.values[[*range(10, 20), *range(40, 50)]])
    assert part.labels.sum() == 6


def test_draws_hold_both_sorts_and_repeat_for_a_seed(params: Params) -> None:
    data = labelled_videos(30, 1)
    draws = _draws([data, data], 9, params)
    assert len(draws) == params.ablate.draws
    for one, other in draws:
        assert one.records == other.records
        assert len(one.records) == 9
        assert 2 <= sum(r.is_anomalous for r in one.records) <= 7
    assert len({tuple(r.video_id for r in d[0].records) for d in draws}) > 5
    assert [d[0].records for d in _draws([data, data], 9, params)] == [d[0].records for d in draws]
    normal = data.only({r.video_id for r in data.records if not r.is_anomalous})
    with pytest.raises(FeatureError, match="never hold two normal and two anomalous"):
        _draws([normal], 5, params)


def test_the_telling_head_beats_the_noise(params: Params) -> None:
    splits = {
        "calibration": labelled_videos(18, 2),
        "validation": labelled_videos(12, 3),
        "test": labelled_videos(15, 4),
    }
    good, bad = (_of_heads(splits, (head,), params)["test"] for head in (HEADS[2], HEADS[0]))
    assert good["roc_auc"] > 0.93
    assert good["roc_auc_interval"][0] > bad["roc_auc_interval"][1]
    assert good["by_kind"]["fall"]["roc_auc"] == pytest.approx(good["roc_auc"])
    draw = [splits["calibration"]] * len(params.prompts.texts)
    flat = params.model_copy(update={"ablate": params.ablate.model_copy(update={"low_label_sigma": 0.0})})
    tests = splits["test"]
    scorer_auc = _low_label(draw, tests, (HEADS[2],), flat)
    assert scorer_auc > 0.93
    # without smoothing, frames of a segment share a value: the frame AUC is that of segments of equal length
    telling = tests.features.values[:, 2].sum(1)
    assert scorer_auc == pytest.approx(roc_auc_score(tests.labels, telling), abs=0.03)


def test_the_mean_of_draws_is_a_mean_and_its_interval_is_over_draws() -> None:
    rows = [
        {"test": {"roc_auc": a, "average_precision": a / 2, "n_videos": 3, "n_frames": 9,
                  "by_kind": {"fall": {"roc_auc": a, "average_precision": a}}}}
        for a in (0.5, 0.6, 0.7)
    ]  # fmt: skip
    mean = _mean_of_draws(rows)["test"]
    assert mean["roc_auc"] == pytest.approx(0.6)
    assert mean["average_precision"] == pytest.approx(0.3)
    assert mean["roc_auc_interval"] == pytest.approx([0.505, 0.695])
    assert mean["by_kind"]["fall"]["roc_auc"] == pytest.approx(0.6)
