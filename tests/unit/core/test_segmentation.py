import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headhunt_svc.core.segmentation import frame_values, sample_frames, segment_labels, segments
from headhunt_svc.params import SegmentationParams
from headhunt_svc.types import FrameSpan


def test_paper_segments_at_30_fps_are_48_frames_of_which_16_are_seen() -> None:
    made = segments("v", np.arange(468) / 30, SegmentationParams(length_s=1.6, frames_per_segment=16))
    assert [len(s.span) for s in made] == [48] * 9 + [36]
    assert made[1].frame_indices == tuple(range(48, 96, 3))


def test_embedded_segments_at_10_fps_are_16_frames_of_which_every_second_is_seen() -> None:
    made = segments("v", np.arange(32) / 10, SegmentationParams(length_s=1.6, frames_per_segment=8))
    assert [s.frame_indices for s in made] == [tuple(range(0, 16, 2)), tuple(range(16, 32, 2))]


def test_length_in_frames_ignores_times() -> None:
    made = segments(
        "v",
        np.sort(np.random.default_rng(0).uniform(0, 9, 50)),
        SegmentationParams(length_frames=16, frames_per_segment=4),
    )
    assert [tuple(s.span) for s in made] == [(0, 16), (16, 32), (32, 48), (48, 50)]


@given(
    st.lists(st.floats(0.001, 3.0), min_size=1, max_size=200),
    st.floats(0.1, 5.0),
    st.integers(1, 20),
)
def test_every_frame_belongs_to_exactly_one_segment(steps: list[float], length_s: float, f: int) -> None:
    times = np.cumsum(steps)
    made = segments("v", times, SegmentationParams(length_s=length_s, frames_per_segment=f))
    assert [i for s in made for i in range(s.span.start, s.span.stop)] == list(range(len(times)))
    assert [s.index for s in made] == list(range(len(made)))
    for s in made:
        assert len(s.frame_indices) == f
        assert list(s.frame_indices) == sorted(s.frame_indices)
        assert s.span.start <= s.frame_indices[0]
        assert s.frame_indices[-1] < s.span.stop
        assert times[s.span.stop - 1] - times[s.span.start] <= length_s * (1 + 1e-5)


def test_sampling_is_uniform_in_time_not_in_frames() -> None:
    times = np.array([0.0, 0.1, 0.2, 0.3, 1.0, 2.0, 3.0])  # dense at first
    assert sample_frames(times, 4) == (0, 3, 4, 5)  # on screen at 0, 0.875, 1.75, 2.625 s


def test_frames_outside_every_span_are_a_gap_not_a_number() -> None:
    values = frame_values([FrameSpan(0, 2), FrameSpan(4, 5)], np.array([0.25, 0.5]), 6)
    np.testing.assert_array_equal(values, [0.25, 0.25, np.nan, np.nan, 0.5, np.nan])


@pytest.mark.parametrize(("share", "expected"), [(0.25, [True, True]), (0.5, [False, True])])
def test_segment_labels(share: float, expected: list[bool]) -> None:
    truth = np.array([0, 0, 0, 1, 1, 1, 1, 0], bool)
    assert segment_labels(truth, [FrameSpan(0, 4), FrameSpan(4, 8)], share).tolist() == expected
