"""The index reads the times of frames from packets; they are those that the decoder gives."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from headhunt_svc.params import SegmentationParams
from headhunt_svc.video.files import read_times
from headhunt_svc.video.reader import VideoReader

EVERY_FRAME = SegmentationParams(length_frames=1, frames_per_segment=1)


def write(path: Path, times_ms: list[int], b_frames: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1000)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 12
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.options = {"bf": str(b_frames), "b-adapt": "0"}
        noise = np.random.default_rng(0)
        for t in times_ms:
            frame = av.VideoFrame.from_ndarray(noise.integers(0, 255, (48, 64, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = t, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def decoded(path: Path) -> tuple[np.ndarray, VideoReader]:
    with VideoReader(path) as video:
        return np.array([piece.start_s for piece in video.segments(EVERY_FRAME)]), video


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
@pytest.mark.parametrize("b_frames", [0, 3])
@pytest.mark.parametrize("seed", range(3))
def test_times_of_random_pauses_and_holes(tmp_path: Path, suffix: str, b_frames: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps = rng.choice([20, 40, 50, 200, 900], 60)
    steps[rng.choice(60, 3, replace=False)] = rng.integers(2500, 900_000, 3)
    times_ms = np.cumsum([0, *steps])
    path = tmp_path / f"a.{suffix}"
    write(path, times_ms.tolist(), b_frames)
    times, state = read_times(path)
    expected, video = decoded(path)
    np.testing.assert_allclose(times.seconds, times_ms / 1000, atol=1e-4)
    np.testing.assert_array_equal(times.seconds, expected)
    assert state == video.state()


@pytest.mark.parametrize("b_frames", [0, 3])
def test_times_and_gaps_around_losses_and_a_clock_that_was_set(tmp_path: Path, b_frames: int) -> None:
    parts = []
    for start_s in (4000, 5, 9000):
        write(tmp_path / "part.ts", [1000 * start_s + 40 * i for i in range(50)], b_frames)
        content = (tmp_path / "part.ts").read_bytes()
        middle = len(content) // 188 // 2 * 188
        parts.append(content[:middle] + content[middle + 3 * 188 :])
    (tmp_path / "a.ts").write_bytes(b"".join(parts))
    times, state = read_times(tmp_path / "a.ts")
    expected, video = decoded(tmp_path / "a.ts")
    np.testing.assert_array_equal(times.seconds, expected)
    assert len(state.discontinuities) == 2
    assert len(state.gaps) >= 3
    assert (state.discontinuities, state.holes) == (video.discontinuities, video.holes)
    assert [(g.time_s, g.stop_s) for g in state.gaps] == [(g.time_s, g.stop_s) for g in video.gaps]
