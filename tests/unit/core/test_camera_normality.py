"""A camera's own mean and covariance, against the formulas and sklearn."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.covariance import EmpiricalCovariance

from headhunt_svc.core.camera_normality import (
    HARMLESS,
    SHRINKAGE,
    NormalFootage,
    Shrinkage,
    add_harmless,
    camera_normality,
    camera_scorer,
    learn_camera,
)
from headhunt_svc.core.normality import NormalFeatures
from headhunt_svc.core.scoring import distance_to_normal, logits
from headhunt_svc.types import HeadRef, Normality, Scorer

RNG = np.random.default_rng(0)


def fleet_of(features: int, weight: float = 0.7) -> Normality:
    z = RNG.normal(size=(40 * features, features)) @ RNG.normal(size=(features, features)) + 3
    normal = NormalFeatures.fit(z)
    return Normality(normal.mean, normal.precision(), weight)


@pytest.mark.parametrize("segments", [2, 5, 200])
def test_mean_and_covariance_are_weighted_means_of_the_cameras_and_the_fleets(segments: int) -> None:
    fleet, z = fleet_of(12), RNG.normal(2, 3, size=(segments, 12)).astype(np.float32)
    footage, shrinkage = NormalFootage.measure(z), Shrinkage(mean=7, covariance=30)
    assert footage.factor.shape == (min(segments, 12), 12)
    own = camera_normality(fleet, footage, shrinkage)
    measured = EmpiricalCovariance().fit(z.astype(np.float64))
    mean = (segments * measured.location_ + 7 * fleet.mean) / (segments + 7)
    covariance = (segments * measured.covariance_ + 30 * np.linalg.inv(fleet.precision)) / (segments + 30)
    assert_allclose(own.mean, mean, rtol=1e-5)
    assert_allclose(own.precision, np.linalg.inv(covariance), rtol=1e-4, atol=1e-6 * abs(own.precision).max())
    assert own.weight == fleet.weight


def test_much_footage_counts_alone_and_strong_shrinkage_leaves_the_fleets() -> None:
    fleet, z = fleet_of(4), RNG.normal(-5, 3, size=(50_000, 4))
    own = camera_normality(fleet, NormalFootage.measure(z))
    assert_allclose(own.mean, z.mean(0), atol=1e-2)
    assert_allclose(own.precision, np.linalg.inv(np.cov(z.T)), rtol=0.02, atol=2e-3)
    same = camera_normality(fleet, NormalFootage.measure(z[:20]), Shrinkage(1e12, 1e12))
    assert_allclose(same.mean, fleet.mean, rtol=1e-9)
    assert_allclose(same.precision, fleet.precision, rtol=1e-6, atol=1e-9)


def test_footage_that_is_normal_for_the_camera_alone_is_nearer_to_its_own_normal() -> None:
    fleet = fleet_of(6)
    offset = np.full(6, 30.0)
    z = fleet.mean + offset + RNG.normal(size=(60, 6))
    own = camera_normality(fleet, NormalFootage.measure(z[:40]))
    heads, weight = (HeadRef(0, 0),), np.zeros(6)
    of_fleet, of_camera = (logits(Scorer(heads, weight, 0.0, normality), z[40:]) for normality in (fleet, own))
    assert (of_camera < of_fleet).all()
    strange = z[40:] + 20 * RNG.normal(size=(20, 6))
    assert logits(Scorer(heads, weight, 0.0, own), strange).min() > of_camera.max()


def test_the_regression_of_a_camera_is_the_fleets() -> None:
    fleet = Scorer((HeadRef(0, 0),), RNG.normal(size=6), -1.5, fleet_of(6))
    footage = NormalFootage.measure(5 + RNG.normal(size=(30, 6)))
    own = camera_scorer(fleet, footage)
    assert fleet.normality is not None
    assert own.normality is not None
    assert own.normality.mean == pytest.approx(camera_normality(fleet.normality, footage).mean)
    assert own.bias == fleet.bias
    assert (own.weight == fleet.weight).all()
    assert own.normality.weight == fleet.normality.weight


def test_a_scorer_without_a_distance_to_normal_stays_as_it_is() -> None:
    logistic = Scorer((HeadRef(0, 0),), np.ones(6), 0.5)
    assert camera_scorer(logistic, NormalFootage.measure(RNG.normal(size=(9, 6)))) is logistic


def test_what_fits_together_badly_is_refused() -> None:
    with pytest.raises(ValueError, match="a factor of 2 x 3 of 1 segments"):
        NormalFootage(1, np.zeros(3, np.float32), np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match="not finite"):
        NormalFootage(2, np.full(3, np.nan, np.float32), np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match="shrinkage 1 of the mean, 0 of the covariance"):
        Shrinkage(1, 0)


@pytest.mark.parametrize("n_videos", [2, 5, 23])
def test_each_video_is_scored_with_the_normality_of_others(n_videos: int) -> None:
    fleet = Scorer((HeadRef(0, 0),), RNG.normal(size=6), -2.0, replace(fleet_of(6), typical=0.1))
    videos = [RNG.normal(4, 0.2, size=(12, 6)) for _ in range(n_videos)]
    camera = learn_camera(fleet, videos)
    assert camera is not None
    assert fleet.normality is not None
    left_out = range(0, n_videos, min(n_videos, 20))  # together with the first one: there are 20 groups at most
    others = NormalFootage.measure(np.concatenate([z for i, z in enumerate(videos) if i not in left_out]))
    first = camera.of_others[0].normality
    assert first is not None
    assert_allclose(first.precision, camera_normality(fleet.normality, others).precision, rtol=1e-6)
    assert camera.footage.segments == 12 * n_videos
    held_out = [
        distance_to_normal(own.normality, z)
        for own, z in zip(camera.of_others, videos, strict=True)
        if own.normality is not None
    ]
    assert camera.footage.typical == pytest.approx(np.concatenate(held_out).mean())
    own = camera_scorer(fleet, camera.footage).normality
    assert own is not None
    # a typical distance, larger than the fleet's, counts the same at the camera as with the fleet
    assert own.weight * camera.footage.typical == pytest.approx(fleet.normality.weight * 0.1)


@pytest.mark.parametrize(("camera", "unit"), [(40.0, 0.5), (20.0, 1.0), (3.0, 1.0)])
def test_larger_distances_count_less_and_smaller_ones_no_more_than_the_fleets(camera: float, unit: float) -> None:
    fleet = replace(fleet_of(6), typical=20.0)
    footage = replace(NormalFootage.measure(RNG.normal(size=(30, 6))), typical=camera)
    assert camera_normality(fleet, footage).weight == pytest.approx(unit * fleet.weight)


def test_still_clips_do_not_raise_the_weight_of_the_distance() -> None:
    fleet = Scorer((HeadRef(0, 0),), np.zeros(6), 0.0, replace(fleet_of(6), typical=6.0))
    assert fleet.normality is not None
    camera = learn_camera(fleet, [fleet.normality.mean + 1e-3 * RNG.normal(size=(8, 6)) for _ in range(4)])
    assert camera is not None
    assert camera.footage.typical is not None
    assert camera.footage.typical < 1
    for own in (camera_scorer(fleet, camera.footage), *camera.of_others):
        assert own.normality is not None
        assert own.normality.weight == fleet.normality.weight


def test_one_video_and_a_logistic_scorer_give_no_camera() -> None:
    fleet = Scorer((HeadRef(0, 0),), np.ones(6), 0.5, fleet_of(6))
    z = RNG.normal(size=(9, 6))
    assert learn_camera(fleet, [z]) is None
    assert learn_camera(replace(fleet, normality=None), [z, z]) is None


@pytest.mark.parametrize(("segments", "typical"), [(0, None), (30, 1.2), (30, 4.0)])
def test_harmless_segments_widen_what_is_normal_and_make_nothing_stranger(segments: int, typical: float | None) -> None:
    fleet = replace(fleet_of(8), typical=2.5)
    z = fleet.mean + RNG.normal(size=(30, 8))
    before = replace(NormalFootage.measure(z[:segments]), typical=typical) if segments else None
    own = fleet if before is None else camera_normality(fleet, before)
    direction = np.linalg.inv(np.linalg.cholesky(own.precision).T)[:, 3]  # of length 1 in the distance
    harmless = own.mean + np.outer([9.0, 10.0, 11.0], direction)
    after = camera_normality(fleet, add_harmless(fleet, before, harmless))
    strength = SHRINKAGE.covariance
    spread = HARMLESS * strength * np.outer(direction, direction) * (81 + 100 + 121)
    covariance = np.linalg.inv(own.precision) + spread / (segments + strength)
    assert after.weight == own.weight
    assert after.typical == own.typical
    assert_allclose(np.linalg.inv(after.precision), covariance, rtol=1e-3, atol=1e-3 * abs(covariance).max())
    assert_allclose(after.mean, own.mean, rtol=1e-4, atol=1e-5)
    strange = own.mean + 20 * RNG.normal(size=(500, 8))
    distances = [n.weight * distance_to_normal(n, strange) for n in (own, after)]
    assert (distances[1] <= distances[0] * (1 + 1e-5)).all()
    distances = [n.weight * distance_to_normal(n, harmless).mean() for n in (own, after)]
    assert distances[1] < 0.9 * distances[0]


def test_harmless_segments_alone_are_kept_where_typical_distances_are_not_known() -> None:
    fleet = fleet_of(5)
    footage = add_harmless(fleet, None, fleet.mean + RNG.normal(size=(4, 5)))
    assert footage.typical is None
    assert (footage.segments, footage.harmless) == (0, 4)
    assert_allclose(footage.mean, fleet.mean, rtol=1e-5)
