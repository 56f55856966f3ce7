"""Cuts clips out of video files without encoding anew: from the key frame before to the end of the last picture."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

import av
import av.error

from headhunt_svc.errors import VideoError
from headhunt_svc.events.opening import opened
from headhunt_svc.storage.files import write_file

_IN_MP4 = frozenset({"h264", "hevc", "av1", "mpeg4"})  # browsers play most of these; others go into Matroska
_MOST_WAITING = 64  # more pictures than any codec reorders
Packet: TypeAlias = "av.Packet[av.VideoStream]"


class Clip(NamedTuple):
    """A clip, and when its first picture is, in seconds from the first one of its video."""

    path: Path
    start_s: float


class ClipError(VideoError):
    """No clip can be cut out of this file."""


def cut(path: Path, start_s: float, stop_s: float, target: Path, stream: int | None = None) -> Clip:
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
            begins: list[float] = []
            write_file(
                result, lambda part: begins.append(_copy(container, pictures, start_s, stop_s, part, result.suffix))
            )
    except (av.error.FFmpegError, ValueError) as exc:
        raise ClipError(f"{path}: no clip can be cut out of it ({exc})") from exc
    return Clip(result, begins[-1])


def _copy(
    container: av.container.InputContainer,
    pictures: av.VideoStream,
    start_s: float,
    stop_s: float,
    target: Path,
    ending: str,
) -> float:
    """Copy the packets; returns when the first picture is, in seconds from the first one of the file."""
    if pictures.time_base is None:
        raise ClipError("the stream has no clock")
    origin = _first_time(container, pictures)
    start, stop = (origin + int(seconds / pictures.time_base) for seconds in (start_s, stop_s))
    options = {"movflags": "faststart"} if ending == ".mp4" else {}
    packets = _with_times(_from_key_frame(container, pictures, start, origin))
    with av.open(str(target), "w", format="mp4" if ending == ".mp4" else "matroska", options=options) as output:
        copied = output.add_stream_from_template(pictures)
        shift = last = None
        for packet, pts, dts in packets:
            shift = pts if shift is None else shift
            if last is not None and dts >= stop and pts > last:  # the pictures before need none that follows
                break
            last = pts if last is None else max(last, pts)
            packet.pts, packet.dts, packet.stream = pts - shift, dts - shift, copied
            output.mux(packet)
        if shift is None:
            raise ClipError("no key frame there")
    return float((shift - origin) * pictures.time_base)


def _first_time(container: av.container.InputContainer, pictures: av.VideoStream) -> int:
    """The time of the first picture, in the stream's clock: `start_time`, where the file states it."""
    if pictures.start_time is not None:
        return int(pictures.start_time)
    times = (packet.pts for packet in container.demux(pictures) if packet.pts is not None)
    first = next(times, None)
    if first is None:
        raise ClipError("no picture has a time")
    return first


def _from_key_frame(
    container: av.container.InputContainer, pictures: av.VideoStream, start: int, origin: int
) -> Iterator[Packet]:
    """The packets from the last key frame before `start` on; where there is none, from the first one behind it.

    In containers without an index FFmpeg may land behind: then it looks further ahead.
    """
    assert pictures.time_base is not None
    back, step = 0, int(1 / pictures.time_base)
    while True:
        place = max(start - back, origin)
        container.seek(place, stream=pictures, backward=True)
        packets = (packet for packet in container.demux(pictures) if packet.size)
        first = next((packet for packet in packets if packet.is_keyframe), None)
        if place == origin or (first is not None and first.pts is not None and first.pts <= start):
            break
        back = 2 * back + step
    if first is not None:
        yield first
        yield from packets


def _with_times(packets: Iterable[Packet]) -> Iterator[tuple[Packet, int, int]]:
    """Packets with the times when they are shown and decoded.

    Matroska states no decoding times, and FFmpeg does not know the first ones: they are just before the first that it
    knows, in order.
    """
    waiting: list[Packet] = []
    for packet in packets:
        if packet.pts is None or len(waiting) > _MOST_WAITING:
            raise ClipError("a picture has no time")
        waiting.append(packet)
        if packet.dts is not None:
            for i, one in enumerate(waiting):
                yield one, one.pts or 0, packet.dts - (len(waiting) - 1 - i)
            waiting.clear()
    if waiting:
        raise ClipError("a picture has no time")
