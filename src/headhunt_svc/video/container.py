"""Opens video files through FFmpeg within limits. A file is treated as hostile: see docs/security.md."""

import os
import shlex
import stat
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av.stream import Disposition

from headhunt_svc.errors import VideoOpenError
from headhunt_svc.video.ending import INTERRUPTED, lacks_index

# FFmpeg's names. Only containers that hold their own data: no playlists, picture sequences, devices or scripts.
FORMATS = frozenset(
    "asf avi dhav flv gif h264 hevc m4v matroska mov mpeg mpegts mpegvideo ogg webm yuv4mpegpipe".split()
)
CODECS = frozenset(
    "av1 dnxhd dvvideo ffv1 flv gif h263 h264 hevc libdav1d libvpx libvpx-vp9 mjpeg mpeg1video mpeg2video mpeg4 "
    "mpegvideo msmpeg4 msmpeg4v2 prores rawvideo theora vc1 vp6 vp6f vp8 vp9 wmv1 wmv2 wmv3".split()
)
RAW_FORMATS = frozenset("h264 hevc m4v mpegvideo".split())  # no container: pictures without timestamps
_QUIET_SLICES = frozenset(("h264", "mpeg1video", "mpeg2video"))  # decoders whose slice threads swallow errors
NOT_STATED = Fraction(7, 1000)  # frames per second, given to FFmpeg for raw streams that do not state theirs
STILLS = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """Limits that a video must keep; None is no limit.

    max_pixels: of one picture. formats, codecs: FFmpeg's names of demuxers and decoders.
    """

    max_duration_s: float | None = None
    max_pixels: int = 2**26
    max_frames: int | None = None
    formats: frozenset[str] = FORMATS
    codecs: frozenset[str] = CODECS


def open_file(path: Path) -> int:
    """Open an ordinary file that is not empty, as a file descriptor.

    Raises:
        VideoOpenError: it cannot be opened, is empty, or is not an ordinary file.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # opening a FIFO must not wait for a writer
    except FileNotFoundError as exc:
        raise VideoOpenError(f"{path}: no such file") from exc
    except (OSError, ValueError) as exc:
        raise VideoOpenError(f"{path}: cannot be opened ({getattr(exc, 'strerror', exc)})") from exc
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode) and status.st_size:
        return fd
    os.close(fd)
    problem = "the file is empty" if stat.S_ISREG(status.st_mode) else "not an ordinary file"
    raise VideoOpenError(f"{path}: {problem}")


def add_rate_command(path: Path, format_name: str) -> str:
    """The ffmpeg command that gives a raw stream of 25 frames per second its rate, without loss.

    It writes the rate into an H.264 stream. Others are encoded anew: ffmpeg cannot copy pictures that have no times.
    """
    target = path.with_suffix(".rate.h264" if format_name == "h264" else ".mkv")
    source, target_name = (f"./{p.name}" if p.name.startswith("-") or ":" in p.name else p.name for p in (path, target))
    if format_name == "h264":
        command = ["ffmpeg", "-i", source, "-c", "copy", "-bsf:v", "h264_metadata=tick_rate=50", target_name]
        return f"{shlex.join(command)} (tick_rate is twice the rate)"
    return shlex.join(["ffmpeg", "-framerate", "25", "-i", source, "-c:v", "libx264", "-qp", "0", target_name])


def open_container(
    path: Path, limits: VideoLimits, fd: int, stream: int | None = None
) -> tuple[av.container.InputContainer, av.VideoStream]:
    """Open a video and its picture stream; FFmpeg gets the open file only, so it cannot reach what the file refers to.

    stream: its number in the file; by default the one that players show.

    Raises:
        VideoOpenError: not a video in an allowed container, or without (such) a picture stream.
    """
    options = {
        "fd": str(fd),
        "framerate": str(NOT_STATED),  # of a raw stream; else FFmpeg says 25 where it does not know
        "protocol_whitelist": "fd",
        "format_whitelist": ",".join(sorted(limits.formats)),
        "codec_whitelist": ",".join(sorted(limits.codecs)),
        "enable_drefs": "0",
        "max_pixels": str(limits.max_pixels),
    }
    try:
        container = av.open("fd:", options=options)
    except (av.error.FFmpegError, OSError, ValueError) as exc:
        with os.fdopen(int(options["fd"]), "rb", closefd=False) as file:
            if lacks_index(file):
                raise VideoOpenError(f"{path}: {INTERRUPTED}") from exc
        reason = getattr(exc, "strerror", None) or str(exc)
        allowed = ", ".join(sorted(limits.formats))
        raise VideoOpenError(f"{path}: not a video that can be read, in one of {allowed} ({reason})") from exc
    try:
        chosen = _choose_stream(path, container, stream)
    except VideoOpenError:
        container.close()
        raise
    chosen.thread_type = "SLICE"  # with frame threads, what is lost after an error depends on the number of cores
    codec = chosen.codec_context
    if codec is not None and codec.codec.name in _QUIET_SLICES:
        codec.thread_count = 1
    return container, chosen


def video_streams(container: av.container.InputContainer) -> tuple[av.VideoStream, ...]:
    """The moving pictures of a file: no cover, no thumbnails."""
    return tuple(s for s in container.streams.video if not s.disposition & STILLS)


def _choose_stream(path: Path, container: av.container.InputContainer, number: int | None) -> av.VideoStream:
    """The stream of this number, or the default one, or FFmpeg's choice of several."""
    streams = video_streams(container)
    if not container.streams:
        raise VideoOpenError(f"{path}: {INTERRUPTED}")
    if not streams:
        kind = "a cover picture only" if container.streams.video else "sound only?"
        raise VideoOpenError(f"{path}: no picture stream in the file ({kind})")
    if number is not None:
        if number not in (s.index for s in streams):
            numbers = ", ".join(str(s.index) for s in streams)
            raise VideoOpenError(f"{path}: stream {number} is not one of its video streams ({numbers})")
        return next(s for s in streams if s.index == number)
    best = container.streams.best("video")
    defaults = tuple(s for s in streams if s.disposition & Disposition.default) or streams
    return next((s for s in defaults if best is not None and s.index == best.index), defaults[0])
