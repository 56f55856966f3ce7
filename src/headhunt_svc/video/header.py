"""Compares what a file states with the limits, and with what was read of it."""

import math
import re
from pathlib import Path

import av

from headhunt_svc.errors import VideoLimitError
from headhunt_svc.video.container import VideoLimits
from headhunt_svc.video.memory import PictureSize
from headhunt_svc.video.source import Gap

_WITH_SECONDS_ONLY = ("asf", "flv", "matroska,webm")  # containers whose headers count no pictures


def checked_codec(path: Path, stream: av.VideoStream, limits: VideoLimits) -> av.VideoCodecContext:
    """The decoder, if it and the size that the file states are within the limits.

    Raises:
        VideoLimitError: they are not.
    """
    codec = stream.codec_context
    if codec is None or codec.codec.name not in limits.codecs:
        name = codec.codec.name if codec is not None else "unknown"
        raise VideoLimitError(f"{path}: codec {name} is not allowed; re-encode it with ffmpeg (h264)")
    if codec.width * codec.height > limits.max_pixels:
        size = f"{codec.width} x {codec.height}"
        raise VideoLimitError(
            f"{path}: {size} is more than {limits.max_pixels} pixels; scale it down or raise max_pixels"
        )
    return codec


def stated_size(codec: av.VideoCodecContext, fps: float, limits: VideoLimits) -> PictureSize:
    """What the file states about its pictures; where it does not state a size, the largest that is allowed."""
    if not codec.width * codec.height or codec.format is None:
        side = math.isqrt(limits.max_pixels)
        return PictureSize(side, side, 3 * side * side, fps)
    decoded_bytes = codec.width * codec.height * codec.format.padded_bits_per_pixel // 8
    return PictureSize(codec.width, codec.height, decoded_bytes, fps)


def lost_by_header(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    n_packets: int,
    origin_s: float | None,
    duration_s: float,
    fps: float,
) -> Gap | None:
    """The gap of a file whose header states more pictures or seconds than were read, though no packet failed.

    n_packets: read, those that the edit list hides included. origin_s: timestamp of the first picture; None: the clock
    jumps, so that no length can be compared. duration_s, fps: of what was read.
    """
    lost = stream.frames - n_packets
    if lost > 1:  # some encoders count one too many
        return Gap(None, lost, f"the file states {stream.frames} pictures, {lost} more than could be decoded")
    lost_s = 0.0 if origin_s is None else _stated_s(container, stream, origin_s) - duration_s
    if lost_s > max(0.5, 2 / fps):  # the last picture's duration is not exact
        reason = f"the file states {duration_s + lost_s:.1f} s, {duration_s:.1f} s could be decoded"
        return Gap(duration_s, max(round(lost_s * fps), 1), reason)
    return None


def _stated_s(container: av.container.InputContainer, stream: av.VideoStream, origin_s: float) -> float:
    """The length of the picture stream in the file's header; 0 if there is none, or it may be that of the sound."""
    if container.format.name not in _WITH_SECONDS_ONLY:
        return 0.0
    tag = stream.metadata.get("DURATION", "")
    if match := re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", tag):
        hours, minutes, seconds = map(float, match.groups())
        return hours * 3600 + minutes * 60 + seconds - origin_s
    return (container.duration or 0) / 1e6 if len(container.streams) == 1 else 0.0
