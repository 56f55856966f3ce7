"""Finds video files, and counts their frames."""

from pathlib import Path

from headhunt_svc.errors import VideoError
from headhunt_svc.video.reader import VideoReader

SUFFIXES = frozenset(".3gp .avi .flv .gif .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .webm .wmv".split())


def count_frames(path: Path) -> tuple[int, float]:
    """(number of pictures, frame rate) of a file, without decoding it.

    Raises:
        VideoOpenError: see VideoReader.
    """
    with VideoReader(path=path) as video:
        return len(video.frame_times()), video.fps


def find_videos(paths: list[Path]) -> list[Path]:
    """List videos: files as given, those in folders by file name ending; in order, each once.

    Raises:
        VideoError: a folder holds no video. Whether a file exists is seen when it is opened.
    """
    videos: dict[Path, None] = {}
    for path in paths:
        if not path.is_dir():
            videos[path] = None
            continue
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not inside:
            raise VideoError(f"{path}: no video in this folder (looked for {', '.join(sorted(SUFFIXES))})")
        videos |= dict.fromkeys(inside)
    return list(videos)
