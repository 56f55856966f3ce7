"""Finds video files, and reads when their frames are shown."""

import os
from pathlib import Path

from headhunt_svc.core.frame_times import FrameTimes
from headhunt_svc.errors import VideoError
from headhunt_svc.video.reader import VideoReader
from headhunt_svc.video.source import VideoState

# FFmpeg's container -> endings of file names, in small letters
FORMAT_SUFFIXES: dict[str, tuple[str, ...]] = {
    "asf": (".asf", ".wmv"),
    "avi": (".avi",),
    "dhav": (".dav",),
    "flv": (".flv",),
    "gif": (".gif",),
    "h264": (".264", ".h264"),
    "hevc": (".265", ".h265", ".hevc"),
    "matroska": (".mkv", ".webm"),
    "mov": (".3gp", ".m4v", ".mov", ".mp4"),
    "mpeg": (".mpeg", ".mpg"),
    "mpegts": (".m2ts", ".mts", ".ts"),
    "mpegvideo": (".m2v",),
    "ogg": (".ogv",),
    "yuv4mpegpipe": (".y4m",),
}
SUFFIXES = frozenset(suffix for suffixes in FORMAT_SUFFIXES.values() for suffix in suffixes)


def read_times(path: Path) -> tuple[FrameTimes, VideoState]:
    """When the pictures of a file are shown, and what else is known about it without decoding it.

    Raises:
        VideoOpenError, VideoDecodeError: see VideoReader.
    """
    with VideoReader(path=path) as video:
        seconds = video.frame_times()
        return FrameTimes(seconds, video.duration_s, video.fps), video.state()


def find_videos(paths: list[Path]) -> list[Path]:
    """List videos: files as given, those in folders by file name ending; in order, each once.

    Raises:
        VideoError: a folder holds no video. Whether a file exists is seen when it is opened.
    """
    videos: dict[Path, None] = {}
    for path in paths:
        if not os.path.isdir(path):  # noqa: PTH112 - no folder either: a name that is too long
            videos[path] = None
            continue
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not inside:
            raise VideoError(f"{path}: no video in this folder (looked for {', '.join(sorted(SUFFIXES))})")
        videos |= dict.fromkeys(inside)
    return list(videos)
