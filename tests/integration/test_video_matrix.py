"""Every picture that is scored, and its time, is what ffmpeg shows; where we differ on purpose, exactly how.

docs/video.md has the table of differences.
"""

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headhunt_svc.errors import VideoOpenError
from headhunt_svc.params import SegmentationParams
from headhunt_svc.video.reader import VideoReader
from headhunt_svc.video.sandbox import SandboxedReader
from headhunt_svc.video.source import VideoState
from helpers.ffmpeg import Folder, ffmpeg, needs_ffmpeg, pictures
from helpers.losses import Shown, shown

pytestmark = needs_ffmpeg
SECONDS, RATE = 2, 25
N = SECONDS * RATE
GOP = 25  # pictures from a key frame to the next

Recipe = Callable[[Folder, Path], object]


def source(size: str = "96x72", rate: int = RATE, seconds: float = SECONDS) -> tuple[str, ...]:
    return "-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}:duration={seconds}"


def x264(b_frames: int = 2) -> tuple[str, ...]:
    options = ("-preset", "veryfast", "-g", str(GOP), "-bf", str(b_frames), "-pix_fmt", "yuv420p", "-threads", "1")
    return "-c:v", "libx264", *options


def encoded(*arguments: str) -> Recipe:
    return lambda folder, path: ffmpeg(*source(), "-threads", "1", *arguments, path)


def copied(name: str, *before: str, after: tuple[str, ...] = ()) -> Recipe:
    return lambda folder, path: ffmpeg(*before, "-i", folder.file(name), "-c", "copy", *after, path)


def cut(name: str, start: float, stop: float, unit: int = 1) -> Recipe:
    """A part of a file, by shares of its length; `unit`: bytes of which a multiple is left out at its start."""

    def make(folder: Folder, path: Path) -> None:
        data = folder.file(name).read_bytes()
        path.write_bytes(data[int(start * len(data)) // unit * unit : int(stop * len(data))])

    return make


def joined(*names: str) -> Recipe:
    return lambda folder, path: path.write_bytes(b"".join(folder.file(name).read_bytes() for name in names))


def turned(name: str, a: int, b: int, c: int, d: int) -> Recipe:
    """Another display matrix in an MP4 file's track header."""

    def make(folder: Folder, path: Path) -> None:
        data = bytearray(folder.file(name).read_bytes())
        place = data.index(b"tkhd") + 4 + 40
        data[place : place + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
        path.write_bytes(data)

    return make


YUV = ("-pix_fmt", "yuv420p")
VARIABLE = "select='not(mod(n,2))+gt(n,50)*not(mod(n,3))'"
LATE = 5000  # seconds
WAIT = 60

RECIPES: dict[str, Recipe] = {
    "h264.mp4": encoded(*x264(0)),
    "h264b.mp4": encoded(*x264()),
    "slices.mp4": encoded(*x264(), "-slices", "4"),
    "hevc.mp4": encoded(*YUV, *"-c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=25:pools=1".split()),
    "mpeg4.mp4": encoded(*YUV, *"-c:v mpeg4 -g 25 -bf 2".split()),
    "vp9.webm": encoded(*YUV, *"-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 25".split()),
    "vp8.webm": encoded(*YUV, *"-c:v libvpx -deadline realtime -cpu-used 8".split()),
    "av1.mkv": encoded(*YUV, *"-c:v libaom-av1 -usage realtime -cpu-used 8 -g 25".split()),
    "prores.mov": encoded("-c:v", "prores"),
    "mjpeg.avi": encoded("-pix_fmt", "yuvj420p", "-c:v", "mjpeg"),
    "wmv2.wmv": encoded(*YUV, "-c:v", "wmv2", "-g", "25"),
    "wmv1.asf": encoded(*YUV, "-c:v", "wmv1", "-g", "25"),
    "flv1.flv": encoded(*YUV, "-c:v", "flv", "-g", "25"),
    "mpeg1.mpg": encoded(*YUV, *"-c:v mpeg1video -g 12 -bf 2".split()),
    "mpeg2.ts": encoded(*YUV, *"-c:v mpeg2video -g 12 -bf 2".split()),
    "theora.ogv": encoded(*YUV, "-c:v", "libtheora", "-q:v", "7"),
    "picture.gif": encoded(),
    "plain.y4m": encoded(*YUV),
    "h264b.264": copied("h264b.mp4"),
    "hevc.265": copied("hevc.mp4"),
    "mpeg2.m2v": copied("mpeg2.ts"),
    **{f"h264.{kind}": copied("h264.mp4") for kind in ("mov", "mkv", "ts", "flv")},
    **{f"h264b.{kind}": copied("h264b.mp4") for kind in ("mov", "mkv", "ts", "flv")},
    **{f"hevc.{kind}": copied("hevc.mp4") for kind in ("mov", "mkv", "ts")},
    "mpeg4.mkv": copied("mpeg4.mp4"),
    "vp9.mp4": copied("vp9.webm"),
    "av1.mp4": copied("av1.mkv"),
    "mjpeg.mkv": copied("mjpeg.avi"),
    "mpeg2.mpg": copied("mpeg2.ts"),
    "quarter.mp4": copied("h264b.mp4", after=("-metadata:s:v:0", "rotate=90")),
    "half.mp4": copied("h264b.mp4", after=("-metadata:s:v:0", "rotate=180")),
    "three_quarters.mp4": copied("h264b.mp4", after=("-metadata:s:v:0", "rotate=270")),
    "mirrored.mp4": turned("h264b.mp4", -1, 0, 0, 1),
    "upside_down.mp4": turned("h264b.mp4", 1, 0, 0, -1),
    "transposed.mp4": turned("h264b.mp4", 0, 1, 1, 0),
    "across.mp4": turned("h264b.mp4", 0, -1, -1, 0),
    "variable.mp4": lambda folder, path: ffmpeg(
        *source(rate=50), "-vf", VARIABLE, "-fps_mode", "vfr", *x264(), path
    ),
    "variable.mkv": copied("variable.mp4"),
    "edit_list.mp4": copied("h264b.mp4", "-ss", "0.6"),
    "edit_list_hevc.mov": copied("hevc.mp4", "-ss", "1.3"),
    "cover.png": lambda folder, path: ffmpeg(*source("64x64"), "-frames:v", "1", path),
    "cover_first.mp4": lambda folder, path: ffmpeg(
        "-i", folder.file("cover.png"), "-i", folder.file("h264b.mp4"), "-map", "0", "-map", "1", "-c", "copy",
        "-disposition:v:0", "attached_pic", path,
    ),
    "two.mkv": lambda folder, path: ffmpeg(
        *source("64x48"), *source(), "-map", "0", "-map", "1", *x264(), "-disposition:v:0", "0",
        "-disposition:v:1", "default", path,
    ),
    "hole.mp4": lambda folder, path: ffmpeg(
        *source(), "-vf", f"setpts='PTS+gte(N,{GOP})*{WAIT}/TB'", "-fps_mode", "passthrough", *x264(), path
    ),
    "hole.ts": copied("hole.mp4"),
    "copied.avi": copied("h264.mp4"),
    "copied_b.avi": copied("h264b.mp4"),
    "mpeg4_b.avi": copied("mpeg4.mp4"),
    "late.ts": copied("h264b.mp4", after=("-output_ts_offset", str(LATE))),
    "again.ts": joined("h264b.ts", "h264b.ts"),
    "back.ts": joined("late.ts", "h264b.ts"),
    "ahead.ts": joined("h264b.ts", "late.ts"),
    "front.ts": cut("h264b.ts", 0.1, 1, 188),
    "front_mpeg2.ts": cut("mpeg2.ts", 0.3, 1, 188),
    "open.ts": encoded(*x264(), "-x264-params", "open-gop=1:keyint=25:b-pyramid=none"),
    "front_open.ts": cut("open.ts", 0.1, 1, 188),
    **{f"end.{kind}": cut(f"h264b.{kind}", 0, 0.6) for kind in ("mp4", "mkv", "ts", "flv")},
    "end.avi": cut("mjpeg.avi", 0, 0.6),
}  # fmt: skip


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(tmp_path_factory.mktemp("matrix"), RECIPES)


def read(path: Path, number: int | None = None) -> Shown:
    return shown(VideoReader(path, number=number))


def clean(state: VideoState) -> bool:
    """Nothing is reported about the file."""
    names = ("gaps", "holes", "discontinuities", "repaired_times", "unfinished")
    return not any(getattr(state, name) for name in names)


SAME = [
    name
    for name in RECIPES
    if not name.startswith(("end.", "front", "again", "back", "ahead", "hole", "two", "cover.png"))
    and not (name.endswith(".avi") and name != "mjpeg.avi")
]


@pytest.mark.parametrize("name", SAME)
def test_the_same_pictures_at_the_same_times(folder: Folder, name: str) -> None:
    path = folder.file(name)
    times, hashes = pictures(path)
    video = read(path)
    assert list(video.hashes) == hashes
    np.testing.assert_allclose(video.times, times, atol=1e-6)
    assert clean(video.state)
    with VideoReader(path) as reader:
        np.testing.assert_allclose(reader.frame_times(), times, atol=1e-6)


# -- where we differ on purpose: the table in docs/video.md ------------------------------------------------------------
@pytest.mark.parametrize("name", ["copied.avi", "copied_b.avi", "mpeg4_b.avi"])
def test_an_avi_files_pictures_are_counted(folder: Folder, name: str) -> None:
    """It numbers them as they are decoded; ffmpeg shows them at these numbers, so unevenly if there are B-frames."""
    times, hashes = pictures(folder.file(name))
    video = read(folder.file(name))
    assert list(video.hashes) == hashes
    np.testing.assert_allclose(video.times, np.arange(N) / RATE, atol=1e-6)
    np.testing.assert_allclose(video.times, times, atol=1 / RATE + 1e-6)
    assert clean(video.state)
    assert (round(video.state.fps, 6), video.state.stated_fps) == (RATE, 2 * RATE)


@pytest.mark.parametrize(("name", "jump_s"), [("again.ts", -2), ("back.ts", -2 - LATE), ("ahead.ts", LATE - 2)])
def test_jumps_of_the_clock_are_removed(folder: Folder, name: str, jump_s: float) -> None:
    """The packets' counter breaks at the joint, as where some are lost; but the clock says that it is a joint."""
    times, hashes = pictures(folder.file(name))
    video = read(folder.file(name))
    assert (list(video.hashes), video.state.gaps) == (hashes, [])
    np.testing.assert_allclose(video.times, np.arange(2 * N) / RATE, atol=1e-6)
    (jump,) = video.state.discontinuities
    assert (round(jump.time_s, 6), round(jump.jump_s, 2)) == (SECONDS, pytest.approx(jump_s, abs=0.1))
    # ffmpeg repairs a small jump itself
    assert np.allclose(times, np.arange(2 * N) / RATE, atol=1e-6) == (name == "again.ts")


@pytest.mark.parametrize("name", ["hole.mp4", "hole.ts"])
def test_a_hole_is_named(folder: Folder, name: str) -> None:
    """Pictures and times are ffmpeg's; no segment reaches across."""
    path = folder.file(name)
    times, hashes = pictures(path)
    video = read(path)
    assert list(video.hashes) == hashes
    np.testing.assert_allclose(video.times, times, atol=1e-6)
    assert [(round(h.start_s, 6), round(h.stop_s, 6)) for h in video.state.holes] == [(1, 1 + WAIT)]
    assert (video.state.gaps, round(video.state.fps, 6), round(video.state.duration_s, 6)) == ([], RATE, SECONDS + WAIT)
    with VideoReader(path) as reader:
        spans = [
            (piece.start_s, piece.stop_s)
            for piece in reader.segments(SegmentationParams(length_s=0.8, frames_per_segment=2))
        ]
    np.testing.assert_allclose(spans, [(0, 0.8), (0.8, 1), (61, 61.8), (61.8, 62)], atol=1e-6)


def test_of_two_streams_the_default_one_is_taken(folder: Folder) -> None:
    path = folder.file("two.mkv")
    video, other = read(path), read(path, number=0)
    assert (video.state.stream, video.state.streams, other.state.stream) == (1, (0, 1), 0)
    assert (list(video.times), list(video.hashes)) == pictures(path, 1)
    assert (list(other.times), list(other.hashes)) == pictures(path, 0)


@pytest.mark.parametrize("name", ["front.ts", "front_mpeg2.ts", "front_open.ts"])
def test_a_recording_that_begins_between_key_frames_begins_with_a_gap(folder: Folder, name: str) -> None:
    times, hashes = pictures(folder.file(name))
    video = read(folder.file(name))
    assert list(video.hashes) == hashes
    np.testing.assert_allclose(video.times, times, atol=1e-6)
    (gap,) = video.state.gaps
    assert (gap.time_s, gap.stop_s, gap.reason) == (None, 0, "the recording begins between key frames")
    assert clean(replace(video.state, gaps=[]))


@pytest.mark.parametrize(("name", "lost"), [("end.mkv", [25]), ("end.ts", [26]), ("end.flv", []), ("end.avi", [])])
def test_the_last_picture_of_a_file_that_was_cut_off_is_a_gap(folder: Folder, name: str, lost: list[int]) -> None:
    """ffmpeg shows it as far as it goes; `lost` are its numbers."""
    times, hashes = pictures(folder.file(name))
    video = read(folder.file(name))
    kept = [i for i in range(len(hashes)) if i not in lost]
    assert list(video.hashes) == [hashes[i] for i in kept]
    np.testing.assert_allclose(video.times, [times[i] for i in kept], atol=1e-6)
    assert video.state.unfinished
    (gap,) = video.state.gaps
    assert (gap.packets, gap.stop_s) == (1, None)


def test_an_mp4_file_that_was_cut_off_was_probably_interrupted(folder: Folder) -> None:
    with pytest.raises(VideoOpenError, match="interrupted before its index"):
        read(folder.file("end.mp4"))


def test_after_a_loss_nothing_is_shown_until_the_next_key_frame(folder: Folder, tmp_path: Path) -> None:
    """ffmpeg shows what its decoder makes up."""
    data = folder.file("h264.ts").read_bytes()
    at = len(data) // 4 // 188 * 188
    (lossy := tmp_path / "lossy.ts").write_bytes(data[:at] + data[at + 3 * 188 :])
    intact, (_, concealed) = pictures(folder.file("h264.ts")), pictures(lossy)
    made_up = [i for i, digest in enumerate(concealed) if digest not in intact[1]]
    video = read(lossy)
    first = N - GOP - (len(video.hashes) - GOP)
    assert made_up
    assert list(video.hashes) == intact[1][: GOP - first] + intact[1][GOP:]
    (gap,) = video.state.gaps
    assert gap.time_s == pytest.approx((GOP - first) / RATE)
    assert gap.stop_s == pytest.approx(GOP / RATE)
    assert min(made_up) >= GOP - first


@pytest.mark.parametrize("name", ["edit_list.mp4", "across.mp4", "again.ts", "front_open.ts", "copied_b.avi"])
def test_the_sandboxed_reader_gives_the_same_to_the_bit(folder: Folder, name: str) -> None:
    assert shown(SandboxedReader(folder.file(name))) == read(folder.file(name))
