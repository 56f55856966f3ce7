import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headhunt_svc.core.segmentation import Segmenter, sample_frames, segment_labels, segments
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


@given(
    st.lists(st.floats(0.001, 3.0), min_size=1, max_size=200),
    st.floats(0.1, 5.0),
    st.floats(0.1, 1.0),
    st.integers(1, 20),
)
def test_overlapping_windows_lie_around_segments_that_do_not_overlap(
    steps: list[float], length_s: float, share: float, f: int
) -> None:
    times = np.cumsum(steps) - steps[0]
    params = SegmentationParams(length_s=length_s, stride_s=share * length_s, frames_per_segment=f)
    made = segments("v", times, params)
    assert [i for s in made for i in range(s.span.start, s.span.stop)] == list(range(len(times)))
    margin, slack = (1 - share) * length_s / 2, 1e-5 * length_s
    for s in made:
        stride = np.floor(times[s.span.start] / params.stride + 1e-6) * params.stride
        low, high = stride - margin, stride + params.stride + margin
        assert times[s.span.stop - 1] < stride + params.stride + slack
        assert list(s.frame_indices) == sorted(s.frame_indices)
        assert low - slack <= times[s.frame_indices[0]] <= times[s.span.start]
        assert times[s.frame_indices[-1]] < high + slack
        # the first frame of the window is always seen: nothing before it would have fitted
        first = s.frame_indices[0]
        assert first == 0 or times[first - 1] < low + slack


def test_half_a_window_apart_every_second_frame_is_shared() -> None:
    params = SegmentationParams(length_s=1.6, stride_s=0.8, frames_per_segment=8)
    made = segments("v", np.arange(64) / 10, params)
    assert [tuple(s.span) for s in made] == [(i, i + 8) for i in range(0, 64, 8)]
    inner = [s.frame_indices for s in made[1:-1]]
    assert inner == [tuple(range(i - 4, i + 12, 2)) for i in range(8, 56, 8)]
    assert (made[0].frame_indices[0], made[-1].frame_indices[-1]) == (0, 62)


def test_memory_of_the_segmenter_is_one_window() -> None:
    params = SegmentationParams(length_frames=16, stride_frames=3, frames_per_segment=4)
    segmenter, made = Segmenter("v", params), 0
    for i in range(500):
        made += len(segmenter.push(i / 25))
        assert i - segmenter.first_needed <= 16 + 3
    assert made + len(segmenter.finish()) == 167


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"length_s": 1.6, "length_frames": 16}, "exactly one"),
        ({}, "exactly one"),
        ({"length_s": 1.6, "stride_frames": 8}, "stride_s"),
        ({"length_frames": 16, "stride_s": 0.8}, "stride_frames"),
        ({"length_s": 1.6, "stride_s": 1.7}, "would not be seen"),
    ],
)
def test_lengths_and_strides_that_do_not_fit(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SegmentationParams.model_validate({**wrong, "frames_per_segment": 4})


def test_the_model_is_told_the_time_between_frames_of_the_video_at_hand() -> None:
    in_seconds = SegmentationParams(length_s=1.6, frames_per_segment=16)
    in_frames = SegmentationParams(length_frames=48, frames_per_segment=16)
    assert (in_seconds.frame_s(10), in_seconds.frame_s(30)) == (0.1, 0.1)
    assert (in_frames.frame_s(10), in_frames.frame_s(30)) == (pytest.approx(0.3), pytest.approx(0.1))


def test_sampling_is_uniform_in_time_not_in_frames() -> None:
    times = np.array([0.0, 0.1, 0.2, 0.3, 1.0, 2.0, 3.0])  # dense at first
    assert sample_frames(times, 4) == (0, 3, 4, 5)  # on screen at 0, 0.875, 1.75, 2.625 s


@pytest.mark.parametrize(("share", "expected"), [(0.25, [True, True]), (0.5, [False, True])])
def test_segment_labels(share: float, expected: list[bool]) -> None:
    truth = np.array([0, 0, 0, 1, 1, 1, 1, 0], bool)
    assert segment_labels(truth, [FrameSpan(0, 4), FrameSpan(4, 8)], share).tolist() == expected
