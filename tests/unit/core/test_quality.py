"""Quality of pictures: what lighting, blur and another view do to it."""

import numpy as np
import pytest

from headhunt_svc.core.quality import picture_quality


@pytest.fixture
def pictures() -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.uniform(40, 200, (1, 12, 16, 1)).repeat(3, 3)
    picture = np.kron(coarse, np.ones((1, 20, 20, 1)))
    return (picture + rng.normal(0, 3, (5, 240, 320, 3))).clip(0, 255).astype(np.uint8)


def test_light_changes_brightness_alone(pictures: np.ndarray) -> None:
    bright, dark = picture_quality(pictures), picture_quality((pictures * 0.5).astype(np.uint8))
    assert dark.brightness == pytest.approx(bright.brightness / 2, rel=0.01)
    assert dark.sharpness == pytest.approx(bright.sharpness, rel=0.05)
    np.testing.assert_allclose(dark.layout, bright.layout, atol=0.02)
    assert bright.brightness == pytest.approx(pictures[:, ..., 1].mean() / 255, rel=0.01)


def test_blur_lowers_sharpness_alone(pictures: np.ndarray) -> None:
    smooth = pictures.astype(float)
    for axis in (1, 2):
        smooth = np.mean([np.roll(smooth, i, axis) for i in range(-4, 5)], axis=0)
    sharp, blurred = picture_quality(pictures), picture_quality(smooth.astype(np.uint8))
    assert blurred.sharpness < 0.6 * sharp.sharpness
    assert blurred.brightness == pytest.approx(sharp.brightness, rel=0.02)


def test_another_view_changes_the_layout(pictures: np.ndarray) -> None:
    here, there = picture_quality(pictures), picture_quality(np.roll(pictures, 60, 2))
    assert np.corrcoef(here.layout, there.layout)[0, 1] < 0.7
    assert np.corrcoef(here.layout, picture_quality(pictures[::-1]).layout)[0, 1] > 0.999


@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (2, 3, 2, 3), (8, 2160, 16, 3)])
def test_any_size_and_black_pictures_have_finite_quality(shape: tuple[int, ...]) -> None:
    found = picture_quality(np.zeros(shape, np.uint8))
    assert np.isfinite([found.brightness, found.sharpness, *found.layout]).all()
    assert len(found.layout) == 36
