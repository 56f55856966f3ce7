"""Hunting again finds a kind that the heads before do not carry, and costs the other kinds nothing."""

from pathlib import Path

import numpy as np

from conftest import ROOT
from headhunt_svc.demo.hunt_again import ARMS, compare
from headhunt_svc.params import load_params
from headhunt_svc.pipeline.labelled_features import LabelledFeatures
from headhunt_svc.types import NORMAL, FrameSpan, HeadFeatures, HeadRef, Segment, VideoRecord

HEADS = tuple(HeadRef(0, i) for i in range(4))
SEGMENTS = 10  # of a video; the last three of an anomalous one are anomalous


def data(name: str, videos: dict[str, int], seed: int) -> LabelledFeatures:
    """Videos of each kind: a fall moves head 0, vandalism head 2, nothing the others."""
    rng = np.random.default_rng(seed)
    records, segments, labels = [], [], []
    values = rng.normal(size=(SEGMENTS * sum(videos.values()), len(HEADS), 3)).astype(np.float32)
    for kind, n in videos.items():
        for i in range(n):
            video, spans = f"{name}-{kind}-{i}", [] if kind == NORMAL else [FrameSpan(70, 100)]
            first = len(segments)
            segments += [Segment(video, t, FrameSpan(10 * t, 10 * t + 10), (10 * t,)) for t in range(SEGMENTS)]
            labels += [bool(spans) and t >= 7 for t in range(SEGMENTS)]
            if kind != NORMAL:
                values[first + 7 : first + 10, {"fall": 0, "vandal": 2}[kind]] += 3
            records.append(VideoRecord(video, Path(video), 100, 10.0, "calibration", kind, tuple(spans)))
    times = np.tile(np.stack([np.arange(SEGMENTS), np.arange(SEGMENTS) + 1.0], 1), (len(records), 1))
    return LabelledFeatures(
        HeadFeatures(tuple(segments), HEADS, values), np.array(labels), tuple(records), times.astype(np.float64)
    )


def test_marks_of_a_kind_that_the_heads_do_not_carry_need_other_heads() -> None:
    params = load_params(ROOT / "params.yaml")
    params = params.model_copy(
        update={"identify": params.identify.model_copy(update={"top_k": 2, "few_videos": 0, "max_redundancy": 1.0})}
    )
    old = [data("old", {NORMAL: 8, "fall": 8}, 1)] * len(params.prompts.texts)
    added = [data("marks", {"vandal": 8}, 2)] * len(params.prompts.texts)
    validation, test = (
        data("validation", {NORMAL: 6, "fall": 6}, 3),
        data("test", {n: 8 for n in (NORMAL, "fall", "vandal")}, 4),
    )
    rows = compare(params, old, added, validation, test, HEADS[:2], "vandal", [4, 8], draws=2)
    assert [(arm, n) for arm, n, _ in rows] == [("before", 0), *((arm, n) for n in (4, 8) for arm in ARMS)]
    before, same, again = (rows[i][2] for i in (0, 4, 5))
    assert again["auc"] > 0.9 > 0.7 > max(before["auc"], same["auc"])
    assert again["recall"] > before["recall"] + 0.3
    assert again["auc_of_others"] > 0.9
