"""Small faulty or unusual files, each for a kind that users of video tools report."""

from pathlib import Path

import numpy as np
import pytest

from headhunt_svc.params import SegmentationParams
from headhunt_svc.video.files import find_videos
from headhunt_svc.video.reader import VideoReader
from helpers.losses import Shown, compare, shown

pytestmark = pytest.mark.external_data


@pytest.fixture
def field(external: Path) -> Path:
    return external / "field"


def read(path: Path) -> Shown:
    video = shown(VideoReader(path))
    if not video.state.gaps:
        with VideoReader(path) as reader:
            assert len(reader.frame_times()) == len(video.times)
    return video


def test_lost_packets_are_a_gap(field: Path) -> None:
    video, intact = read(field / "ts_packets_lost.ts"), read(field / "ts_packets_lost.intact.ts")
    comparison = compare(intact, video)
    assert (comparison.made_up, comparison.misplaced, comparison.unnamed) == ([], [], [])
    assert [(round(g.time_s or 0, 2), round(g.stop_s or 0, 2)) for g in video.state.gaps] == [(5.96, 10.0)]


def test_a_variable_rate(field: Path) -> None:
    video = read(field / "vfr_seconds.mp4")
    assert len(video.times) == 66
    assert np.searchsorted(video.times, [2 - 1e-6, 3 - 1e-6]).tolist() == [17, 41]


def test_h264_copied_into_avi(field: Path) -> None:
    video = read(field / "h264_copied_to.avi")
    state = video.state
    assert (len(video.times), round(state.fps, 6), state.stated_fps, state.gaps) == (300, 25, 50, [])
    assert round(state.duration_s, 6) == 12
    assert np.searchsorted(video.times, [2 - 1e-6, 3 - 1e-6]).tolist() == [50, 75]


def test_a_cover_picture_is_no_video(field: Path) -> None:
    state = read(field / "cover_first.mp4").state
    assert (state.n_frames, state.fps, state.stream, state.streams) == (100, 25, 1, (1,))


def test_a_clock_that_was_set_back(field: Path) -> None:
    state = read(field / "clock_set_back.ts").state
    assert (state.n_frames, state.gaps, round(state.duration_s, 6)) == (200, [], 8)
    (jump,) = state.discontinuities
    assert round(jump.time_s, 6) == 4
    assert jump.jump_s == pytest.approx(1.4 - 5004, abs=2)


def test_a_cut_without_encoding(field: Path) -> None:
    state = read(field / "lossless_cut.mp4").state
    assert (state.n_frames, state.gaps) == (62, [])


def test_a_hole(field: Path) -> None:
    path = field / "hole_600s.mp4"
    state = read(path).state
    assert round(state.duration_s, 6) == 604
    assert [(round(h.start_s, 6), round(h.stop_s, 6)) for h in state.holes] == [(2, 602)]
    with VideoReader(path) as reader:
        pieces = list(reader.segments(SegmentationParams(length_s=1.6, frames_per_segment=4)))
    assert max(piece.stop_s - piece.start_s for piece in pieces) <= 1.6 + 1e-6


def test_a_recording_that_begins_between_key_frames(field: Path) -> None:
    state = read(field / "starts_mid_gop.ts").state
    (gap,) = state.gaps
    assert (gap.time_s, gap.stop_s) == (None, 0)


def test_a_mirrored_picture(field: Path) -> None:
    path = field / "hflip.mp4"
    with VideoReader(path) as reader:
        frame = next(reader._frames())[1]
    with VideoReader(path) as reader:
        piece = next(reader.segments(SegmentationParams(length_frames=1, frames_per_segment=1)))
    np.testing.assert_array_equal(piece.pictures[0], frame.to_ndarray(format="rgb24")[:, ::-1])


def test_asf_is_found_in_a_folder(field: Path) -> None:
    assert field / "only.asf" in find_videos([field])
    state = read(field / "only.asf").state
    assert state.n_frames > 1
    assert state.gaps == []
