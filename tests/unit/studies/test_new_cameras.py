"""Cameras with a normal of their own: features that are made so that the right answer is known."""

from dataclasses import replace

import numpy as np
from sklearn.metrics import roc_auc_score

from headhunt_svc.core.camera_normality import Shrinkage, camera_scorer, learn_camera
from headhunt_svc.core.scoring import logits
from headhunt_svc.params import FitParams
from headhunt_svc.pipeline.fit import fit_heads
from headhunt_svc.pipeline.labelled_features import LabelledFeatures
from headhunt_svc.studies.new_cameras import Arm, leave_one_camera_out
from headhunt_svc.types import HeadFeatures
from helpers.telling import HEADS, labelled_videos

HEAD = (HEADS[2],)
PARAMS = FitParams(scorer="normality", grid=(0.01,))


def corpus() -> LabelledFeatures:
    """Every camera is elsewhere along all axes; its anomalies are a little further from its own normal."""
    data = labelled_videos(36, 5)
    rng = np.random.default_rng(3)
    values = rng.standard_normal(data.features.values.shape).astype(np.float32)
    records = tuple(replace(r, camera=f"camera {i // 2 % 4}") for i, r in enumerate(data.records))
    place = {r.video_id: 6 * (i // 2 % 4) for i, r in enumerate(data.records)}
    for row, (video, anomalous) in enumerate(zip(data.videos, data.labels, strict=True)):
        values[row] += place[video] + 4.0 * anomalous * rng.choice([-1, 1], values.shape[2])
    return LabelledFeatures(HeadFeatures(data.features.segments, HEADS, values), data.labels, records, data.times)


def test_a_left_out_camera_is_better_with_its_own_normality() -> None:
    weak, strong = Arm(Shrinkage(5, 5)), Arm(Shrinkage(1e9, 1e9), rescaled=False)
    figures = leave_one_camera_out(corpus(), HEAD, PARAMS, {"fleet": None, "own": weak, "shrunk": strong})
    assert figures["own"]["auc"] > figures["fleet"]["auc"] + 0.01
    assert abs(figures["shrunk"]["auc"] - figures["fleet"]["auc"]) < 1e-3
    assert len(figures["own"]["auc_per_camera"]) == 4
    assert figures["own"]["brier"] < figures["fleet"]["brier"]


def test_a_video_is_scored_with_the_normal_segments_of_the_cameras_others() -> None:
    data, arm = corpus(), Arm(Shrinkage(5, 5))
    figures = leave_one_camera_out(data, HEAD, PARAMS, {"own": arm})
    values = np.zeros(len(data.labels))
    z, names = data.features.select(HEAD), np.array(data.videos)
    elsewhere = {
        camera: data.only({r.video_id for r in data.records if r.camera != camera})
        for camera in {r.camera for r in data.records}
    }
    fleets = {camera: fit_heads(rest, HEAD, PARAMS).scorer for camera, rest in elsewhere.items()}
    for record in data.records:
        fleet = fleets[record.camera]
        others = [r.video_id for r in data.records if r.camera == record.camera and r != record]
        normal = [z[(names == video) & ~data.labels] for video in sorted(others)]
        camera = learn_camera(fleet, [rows for rows in normal if len(rows)], arm.shrinkage)
        assert camera is not None
        own = camera_scorer(fleet, camera.footage, arm.shrinkage)
        values[names == record.video_id] = logits(own, z[names == record.video_id])
    assert figures["own"]["auc"] == roc_auc_score(data.labels, values)
