"""What is below a mask changes nothing that is measured; what is beside it stays as it is."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import write_video
from headhunt_svc.params import SegmentationParams
from headhunt_svc.settings import Settings
from headhunt_svc.types import Polygon
from headhunt_svc.video.masks import blackened, masked_pixels
from headhunt_svc.video.opening import open_video

S = SegmentationParams(length_s=1.6, frames_per_segment=4)
share = st.floats(0, 1)
triangles = st.tuples(*[st.tuples(share, share)] * 3)
LEFT: Polygon = ((0, 0), (0.5, 0), (0.5, 1), (0, 1))


@settings(max_examples=50, deadline=None)
@given(triangles, st.integers(8, 90), st.integers(8, 90))
def test_a_triangle_covers_the_pixels_on_the_inner_side_of_all_its_edges(
    polygon: Polygon, height: int, width: int
) -> None:
    corners = np.array(polygon)
    rows, columns = np.mgrid[:height, :width]
    x, y = (columns + 0.5) / width, (rows + 0.5) / height
    edges = np.roll(corners, -1, axis=0) - corners
    sides = np.array([dx * (y - y0) - dy * (x - x0) for (x0, y0), (dx, dy) in zip(corners, edges, strict=True)])
    clear = (np.abs(sides) > 1e-9).all(0)  # on an edge, rounding decides
    inside = (sides > 0).all(0) | (sides < 0).all(0)
    np.testing.assert_array_equal(masked_pixels([polygon], height, width)[clear], inside[clear])


def test_the_whole_picture_and_no_more_than_a_half() -> None:
    whole: Polygon = ((0, 0), (1, 0), (1, 1), (0, 1))
    assert masked_pixels([whole], 7, 9).all()
    assert masked_pixels([LEFT], 10, 20)[:, :10].all()
    assert not masked_pixels([LEFT], 10, 20)[:, 10:].any()
    assert not masked_pixels([], 10, 20).any()


def test_masks_are_added_up() -> None:
    right: Polygon = ((0.5, 0), (1, 0), (1, 1), (0.5, 1))
    assert masked_pixels([LEFT, right], 10, 20).all()


def test_pictures_that_may_not_be_changed_are_copied() -> None:
    pictures = np.full((2, 4, 8, 3), 200, np.uint8)
    pictures.setflags(write=False)
    black = blackened(pictures, masked_pixels([LEFT], 4, 8))
    assert (pictures == 200).all()
    assert (black[:, :, :4] == 0).all()
    assert (black[:, :, 4:] == 200).all()


@pytest.mark.parametrize("sandboxed", [False, True])
def test_a_masked_video_is_black_there_and_else_the_same(tmp_path: Path, sandboxed: bool) -> None:
    path = write_video(tmp_path / "a.mp4", 37)
    sandbox = Settings() if sandboxed else None
    with open_video(path) as plain, open_video(path, sandbox=sandbox, masks=(LEFT,)) as masked:
        for before, after in zip(plain.segments(S), masked.segments(S), strict=True):
            pixels = masked_pixels([LEFT], *before.pictures.shape[1:3])
            assert (after.pictures[:, pixels] == 0).all()
            np.testing.assert_array_equal(after.pictures[:, ~pixels], before.pictures[:, ~pixels])
            assert (after.segment, after.start_s, after.stop_s) == (before.segment, before.start_s, before.stop_s)
    assert masked.state() == plain.state()
    assert masked.n_frames == 37
    assert (masked.video_id, masked.masks, plain.masks) == ("a.mp4", (LEFT,), ())
