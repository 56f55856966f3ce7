"""Cuts clips out of video files without encoding anew: from the key frame before to the end of the last picture."""

import logging
from fractions import Fraction
from pathlib import Path

import av
import av.error

from headhunt_svc.errors import VideoError
from headhunt_svc.storage.files import write_file
from headhunt_svc.events.opening import opened

logger = logging.getLogger(__name__)
_IN_MP4 = frozenset({"h264", "hevc", "av1", "mpeg4"})  # browsers play most of these; others go into Matroska
ENDINGS = (".mp4", ".mkv")


class ClipError(VideoError):
    """No clip can be cut out of this file."""


def cut(path: Path, start_s: float, stop_s: float, target: Path, stream: int | None = None) -> Path:
    """Write the pictures from the key frame before start_s to stop_s, in seconds from the first picture.

    target: without its ending; the result has .mp4, or .mkv where MP4 does not hold the codec.
    stream: the number of the video stream; by default the one that players show.

    Raises:
        ClipError: the file has no pictures or no times there. VideoError: it cannot be opened. OutputError.
    """
    try:
        with opened(path, stream) as (container, pictures):
            codec = pictures.codec_context
            name = codec.codec.canonical_name if codec is not None else ""
            result = target.with_name(target.name + (".mp4" if name in _IN_MP4 else ".mkv"))
            write_file(result, lambda part: _copy(container, pictures, start_s, stop_s, part, result.suffix))
    except (av.error.FFmpegError, ValueError) as exc:
        raise ClipError(f"{path}: no clip can be cut out of it ({exc})") from exc
    return result


def _copy(
    container: av.container.InputContainer,
    pictures: av.VideoStream,
    start_s: float,
    stop_s: float,
    target: Path,
    ending: str,
) -> None:
    base = pictures.time_base
    if base is None:
        raise ClipError("the stream has no clock")
    origin = _first_time(container, pictures)
    start, stop = origin + Fraction(start_s) / base, origin + Fraction(stop_s) / base
    container.seek(max(int(start), origin), stream=pictures, backward=True)
    options = {"movflags": "faststart"} if ending == ".mp4" else {}
    with av.open(str(target), "w", format="mp4" if ending == ".mp4" else "matroska", options=options) as output:
        copied = output.add_stream_from_template(pictures)
        shift: int | None = None
        for packet in container.demux(pictures):
            if packet.pts is None or packet.dts is None:
                if packet.size:
                    raise ClipError("a picture has no time")
                continue
            if shift is None:
                if not packet.is_keyframe:
                    continue
                shift = packet.pts
            if packet.dts >= stop:
                break
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = copied
            output.mux(packet)
        if shift is None:
            raise ClipError("no key frame there")


def _first_time(container: av.container.InputContainer, pictures: av.VideoStream) -> int:
    """The time of the first picture, in the stream's clock: `start_time`, where the file states it."""
    if pictures.start_time is not None:
        return int(pictures.start_time)
    times = (packet.pts for packet in container.demux(pictures) if packet.pts is not None)
    first = next(times, None)
    if first is None:
        raise ClipError("no picture has a time")
    return first
