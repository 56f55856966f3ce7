"""Quality of pictures: what lighting, blur and another view do to it."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

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


sides = st.one_of(st.integers(1, 12), st.integers(180, 800))  # about MAX_PIXELS the sampling step changes


@given(st.integers(1, 9), sides, sides, st.sampled_from([(0, 0), (255, 255), (0, 255)]), st.integers(0, 99))
@example(1, 1, 1, (0, 0), 0)
@example(1, 1, 1, (255, 255), 0)
@example(8, 2160, 16, (0, 255), 0)
def test_pictures_of_any_size_have_finite_quality(
    frames: int, height: int, width: int, levels: tuple[int, int], seed: int
) -> None:
    row = np.random.default_rng(seed).integers(levels[0], levels[1], (1, 1, width, 3), np.uint8, endpoint=True)
    quality = picture_quality(np.broadcast_to(row, (frames, height, width, 3)))
    assert 0 <= quality.brightness <= 1
    assert quality.sharpness >= 0
    assert np.isfinite([quality.sharpness, *quality.layout]).all()
    assert quality.layout.shape == (36,)
