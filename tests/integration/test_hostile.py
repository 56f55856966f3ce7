"""Hostile files through both readers: refused or partial with gaps, and nothing but the file is opened."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import pytest

from conftest import write_video
from headhunt_svc.errors import VideoError
from headhunt_svc.params import SegmentationParams
from headhunt_svc.video.container import VideoLimits
from headhunt_svc.video.reader import VideoReader
from headhunt_svc.video.sandbox import SandboxedReader
from headhunt_svc.video.source import VideoSource
from helpers.hostile import HOSTILE_FILES, MAX_FRAMES, REFUSED, Trap, dref_alias

S = SegmentationParams(length_s=1.6, frames_per_segment=4)
LIMITS = VideoLimits(max_duration_s=60, max_pixels=2**22, max_frames=MAX_FRAMES)
Reader = Callable[[Path], VideoSource]


@pytest.fixture(params=[VideoReader, SandboxedReader])
def reader(request: pytest.FixtureRequest) -> Reader:
    return partial(request.param, limits=LIMITS)


def outcome(reader: Reader, path: Path) -> object:
    """Segments, gaps and times; or the error's class and words."""
    try:
        with reader(path) as video:
            pieces = [(p.segment, p.start_s, p.stop_s, p.pictures.tobytes()) for p in video.segments(S)]
            return pieces, video.n_frames, video.duration_s, list(video.gaps), video.repaired_times
    except VideoError as exc:
        return type(exc), str(exc)


@pytest.mark.parametrize("name", HOSTILE_FILES)
def test_a_hostile_file_gets_nothing(tmp_path: Path, name: str, reader: Reader) -> None:
    with Trap(tmp_path) as trap:
        path = HOSTILE_FILES[name](tmp_path / "clip.mp4", trap)
        canary, before = trap.canary.stat(), set(tmp_path.iterdir())
        found = outcome(reader, path)
        assert trap.sprung == []
        assert set(tmp_path.iterdir()) == before
        assert trap.canary.stat() == canary
    if name in REFUSED:
        assert issubclass(found[0], VideoError)
        assert str(path) in found[1]
    elif len(found) > 2:
        pieces, n_frames, _, gaps, _ = found
        assert sum(len(segment.span) for segment, *_ in pieces) == n_frames
        assert n_frames <= 60
        if "cut at" in name:
            assert n_frames < 60
            assert gaps


def test_the_trap_springs_where_nothing_protects(tmp_path: Path) -> None:
    with Trap(tmp_path) as trap:
        playlist = HOSTILE_FILES["concat script"](tmp_path / "clip.mp4", trap)
        av.open(str(playlist), format="concat", options={"safe": "0"}).close()
        assert trap.sprung == ["file"]
        av.open(str(dref_alias(tmp_path / "alias.mp4", trap)), options={"enable_drefs": "1"}).close()
        assert trap.sprung == ["file"]
        playlist = HOSTILE_FILES["HLS playlist of a URL"](tmp_path / "clip.m3u8", trap)
        with pytest.raises(av.error.FFmpegError):
            av.open(str(playlist), timeout=1, options={"protocol_whitelist": "file,http,tcp"})
        assert trap.sprung == ["network"]


@pytest.mark.parametrize("name", HOSTILE_FILES)
def test_both_readers_tell_the_same(tmp_path: Path, name: str) -> None:
    with Trap(tmp_path) as trap:
        path = HOSTILE_FILES[name](tmp_path / "clip.mp4", trap)
    assert outcome(partial(SandboxedReader, limits=LIMITS), path) == outcome(partial(VideoReader, limits=LIMITS), path)


@pytest.mark.parametrize("name", ["clip%03d.png", "concat:a|b.mp4", "data:video.mp4", "http:clip.mp4"])
def test_a_file_name_is_no_instruction(tmp_path: Path, name: str, reader: Reader) -> None:
    path = write_video(tmp_path / "a.mp4", 20).rename(tmp_path / name)
    assert outcome(reader, path)[1] == 20


def test_a_fifo_or_folder_is_not_waited_for(tmp_path: Path, reader: Reader) -> None:
    os.mkfifo(tmp_path / "fifo.mp4")
    for path in (tmp_path / "fifo.mp4", tmp_path):
        assert "not an ordinary file" in outcome(reader, path)[1]
