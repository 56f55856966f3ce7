"""Files of every ending that is looked for in folders are read; pages and lists name the same endings."""

import itertools
import re
import shlex
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest

from conftest import ROOT
from headhunt_svc.errors import VideoError, VideoOpenError
from headhunt_svc.params import SegmentationParams
from headhunt_svc.serve.uploads import looks_like_video
from headhunt_svc.settings import Settings
from headhunt_svc.video.container import FORMATS
from headhunt_svc.video.files import FORMAT_SUFFIXES, SUFFIXES, find_videos, read_times
from headhunt_svc.video.opening import open_video
from headhunt_svc.video.reader import VideoReader
from helpers.raw_streams import without_rate, write_dhav

N, FPS, SIZE = 40, 25, (64, 48)
SECOND = SegmentationParams(length_s=0.4, frames_per_segment=10)
CODECS = {
    ".264": "libx264", ".265": "libx265", ".3gp": "mpeg4", ".asf": "wmv2", ".avi": "mpeg4", ".flv": "flv",
    ".gif": "gif", ".h264": "libx264", ".h265": "libx265", ".hevc": "libx265", ".m2ts": "mpeg2video",
    ".m2v": "mpeg2video", ".m4v": "mpeg4", ".mkv": "libx264", ".mov": "libx264", ".mp4": "libx264",
    ".mpeg": "mpeg2video", ".mpg": "mpeg2video", ".mts": "libx264", ".ogv": "libvpx", ".ts": "libx264",
    ".webm": "libvpx", ".wmv": "wmv2", ".y4m": "wrapped_avframe",
}  # fmt: skip
MUXERS = {".264": "h264", ".265": "hevc", ".h265": "hevc", ".m2v": "mpeg2video", ".y4m": "yuv4mpegpipe", ".m4v": "mp4"}


def write(path: Path, codec: str, b_frames: int = 2) -> Path:
    """N pictures with moving noise, so that no two are alike."""
    noise = np.random.default_rng(5).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    with av.open(str(path), "w", format=MUXERS.get(path.suffix.lower())) as container:
        stream = container.add_stream(codec, rate=FPS, options=options)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        stream.codec_context.gop_size = 12
        if codec in ("libx264", "libx265", "mpeg2video"):
            stream.codec_context.max_b_frames = b_frames
        for i in range(N):
            frame = av.VideoFrame.from_ndarray(np.roll(noise, 3 * i, 1), format="rgb24").reformat(format=stream.pix_fmt)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def make(path: Path) -> Path:
    """A file of this ending."""
    if path.suffix.lower() == ".dav":
        return write_dhav(path, write(path.with_suffix(".mp4"), "libx264", b_frames=0), FPS, SIZE)
    return write(path, CODECS[path.suffix.lower()])


def pictures(path: Path, sandbox: Settings | None = None) -> tuple[list[bytes], list[float]]:
    """What the segments hold, and when they begin."""
    with open_video(path, sandbox=sandbox) as video:
        pieces = list(video.segments(SECOND))
        assert not video.gaps
        assert video.n_frames == N
    return [p.tobytes() for piece in pieces for p in piece.pictures], [piece.start_s for piece in pieces]


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_a_file_of_every_ending_is_found_in_a_folder_and_read(tmp_path: Path, suffix: str) -> None:
    path = make(tmp_path / f"a{suffix.upper()}")
    assert path in find_videos([tmp_path])
    expected = [i * 0.4 for i in range(4)]
    shown, starts = pictures(path)
    np.testing.assert_allclose(starts, expected, atol=0.011)  # FLV, Matroska: ms; GIF: 10 ms
    assert len(set(shown)) == N
    assert len(read_times(path)[0].seconds) == N
    assert looks_like_video(path.read_bytes()[:4096])
    assert pictures(path, Settings()) == (shown, starts)


def test_the_endings_of_every_container_are_listed() -> None:
    """Without `m4v`, which is raw MPEG-4 and not what has this ending; webm is matroska."""
    assert set(FORMAT_SUFFIXES) == FORMATS - {"m4v", "webm"}
    endings = list(itertools.chain(*FORMAT_SUFFIXES.values()))
    assert sorted(endings) == sorted(SUFFIXES)


@pytest.mark.parametrize("page", ["README.md", "docs/security.md", "docs/video.md"])
def test_pages_list_the_endings(page: str) -> None:
    lists = re.findall(r"`((?:\.[a-z0-9]+\s+)+\.[a-z0-9]+)`", (ROOT / page).read_text(encoding="utf-8"))
    assert [text.split() for text in lists] == [sorted(SUFFIXES)]


@pytest.mark.parametrize(("suffix", "b_frames"), [(".h264", 3), (".264", 0), (".265", 3)])
def test_a_raw_stream_without_a_rate_is_refused_with_a_command_that_mends_it(
    tmp_path: Path, suffix: str, b_frames: int
) -> None:
    path = tmp_path / f"-it's: raw{suffix}"
    whole = write(tmp_path / f"whole{suffix}", CODECS[suffix], b_frames)
    if suffix == ".265":
        hidden = ["-c:v", "libx265", "-x265-params", f"vui-timing-info=0:lossless=1:bframes={b_frames}", "-f", "hevc"]
        subprocess.run(["ffmpeg", "-v", "error", "-i", whole, *hidden, f"file:{path}"], check=True)
    else:
        path.write_bytes(without_rate(whole.read_bytes()))
    with pytest.raises(VideoOpenError, match="does not state its frame rate") as refused, VideoReader(path):
        pass
    command = shlex.split(str(refused.value).partition("camera: ")[2].partition(" (tick_rate")[0])
    subprocess.run([command[0], "-v", "error", *command[1:]], cwd=tmp_path, check=True)
    shown, starts = pictures(tmp_path / command[-1])
    assert (shown, starts) == pictures(whole)


@pytest.mark.parametrize("head", [b"", b"DAHUA" + bytes(0x400 - 5)])
def test_a_recording_of_dahua_reads_as_its_stream(tmp_path: Path, head: bytes) -> None:
    source = write(tmp_path / "a.mp4", "libx264", b_frames=0)
    path = write_dhav(tmp_path / "a.dav", source, FPS, SIZE, head)
    shown, starts = pictures(path)
    expected, times = pictures(source)
    assert shown == expected
    np.testing.assert_allclose(starts, times, atol=1e-6)
    with VideoReader(path) as video:
        assert video.fps == FPS
        np.testing.assert_allclose(video.frame_times(), np.arange(N) / FPS, atol=1e-6)
        assert video.unfinished is None


def damage_of(data: bytes, seed: int) -> bytes:
    """A cut end, or a hole of 20 to 1500 bytes."""
    random = np.random.default_rng(seed)
    start = int(random.integers(len(data) // 8, len(data)))
    return data[:start] + (data[start + int(random.integers(20, 1500)) :] if seed % 2 else b"")


def test_losses_in_a_recording_of_dahua_are_gaps_and_no_picture_is_made_up(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", "libx264", b_frames=0)
    data = write_dhav(tmp_path / "a.dav", source, FPS, SIZE).read_bytes()
    intact = set(pictures(source)[0])
    path, silent = tmp_path / "b.dav", 0
    for seed in range(60):
        path.write_bytes(damage_of(data, seed))
        try:
            with VideoReader(path) as video:
                scored = [p.tobytes() for piece in video.segments(SECOND) for p in piece.pictures]
        except VideoError:
            continue
        assert set(scored) <= intact, seed
        silent += video.n_frames < N and not video.gaps and not video.unfinished
    assert silent <= 3  # cut between two frames, or so that less than the first bytes of the next one are there


def test_a_recording_that_was_interrupted_is_told(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", "libx264", b_frames=0)
    path = write_dhav(tmp_path / "a.dav", source, FPS, SIZE)
    path.write_bytes(path.read_bytes()[:-300])
    with VideoReader(path) as video:
        list(video.segments(SECOND))
        assert video.unfinished == "the last frame is cut off"
        assert video.gaps
