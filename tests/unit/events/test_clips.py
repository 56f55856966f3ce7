"""Clips hold the packets of their file as they are; FFmpeg's decoder says which pictures those are."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from headhunt_svc.errors import VideoOpenError
from headhunt_svc.events.clips import ClipError, cut

FPS = 10


def film(path: Path, codec: str = "libx264", gop: int = 10, n: int = 60, b_frames: int = 2, first_s: int = 0) -> Path:
    """Pictures whose brightness counts; a key frame every `gop`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.gop_size = gop
        if codec != "mjpeg":
            stream.max_b_frames = b_frames
        for i in range(n):
            picture = np.full((48, 64, 3), 4 * i, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = FPS * first_s + i, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def numbers(path: Path) -> tuple[list[int], list[float]]:
    """Which pictures a file shows, by their brightness, and when."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    shown = [round(float(f.to_ndarray(format="rgb24").mean()) / 4) for f in frames]
    return shown, [float(f.time or 0) for f in frames]


@pytest.mark.parametrize(
    ("name", "codec", "ending"),
    [("a.mp4", "libx264", ".mp4"), ("a.mkv", "libx264", ".mp4"), ("a.ts", "libx264", ".mp4"),
     ("a.avi", "mjpeg", ".mkv"), ("a.webm", "libvpx-vp9", ".mkv")],
)  # fmt: skip
def test_a_clip_begins_with_a_key_frame_and_holds_all_that_was_asked_for(
    tmp_path: Path, name: str, codec: str, ending: str
) -> None:
    path = film(tmp_path / name, codec)
    clip, start_s = cut(path, 2.35, 4.0, tmp_path / "clip")
    assert clip == tmp_path / f"clip{ending}"
    shown, times = numbers(clip)
    assert shown == list(range(shown[0], shown[-1] + 1))
    assert shown[0] in ((23,) if codec == "mjpeg" else (20,))
    assert start_s == pytest.approx(shown[0] / FPS, abs=0.01)
    assert shown[-1] in range(39, 45)  # B-frames bring the pictures that they refer to
    assert times[0] == pytest.approx(0, abs=0.001)
    np.testing.assert_allclose(np.diff(times), 1 / FPS, atol=0.002)


def test_the_packets_are_those_of_the_file(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4")
    clip = cut(path, 1.0, 3.0, tmp_path / "clip").path
    with av.open(str(path)) as source, av.open(str(clip)) as copy:
        originals = {bytes(p) for p in source.demux(video=0) if p.size}
        copied = [bytes(p) for p in copy.demux(video=0) if p.size]
    assert copied
    assert set(copied) <= originals


def test_the_edges_of_the_file(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", n=20)
    assert numbers(cut(path, 0.0, 99.0, tmp_path / "whole").path)[0] == list(range(20))
    late = numbers(cut(path, 50.0, 99.0, tmp_path / "late").path)[0]  # the last group of pictures
    assert late == list(range(10, 20))


def test_a_stream_that_does_not_begin_at_zero(tmp_path: Path) -> None:
    """Seconds count from the first picture."""
    path = film(tmp_path / "a.ts", first_s=100, b_frames=0)
    with av.open(str(path)) as container:
        start, base = container.streams.video[0].start_time, container.streams.video[0].time_base
        assert start is not None
        assert base is not None
        assert float(start * base) >= 100
    assert numbers(cut(path, 0.0, 1.0, tmp_path / "clip").path)[0] == list(range(10))


def test_what_has_no_clip(tmp_path: Path) -> None:
    raw = film(tmp_path / "a.h264")  # no times
    with pytest.raises(ClipError, match="no picture has a time"):
        cut(raw, 1.0, 2.0, tmp_path / "clip")
    (tmp_path / "b.mp4").write_bytes(b"no video")
    with pytest.raises(VideoOpenError):
        cut(tmp_path / "b.mp4", 0.0, 1.0, tmp_path / "clip")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h264", "b.mp4"]
