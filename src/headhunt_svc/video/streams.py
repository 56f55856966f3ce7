"""Opens live streams and cameras through FFmpeg, with time limits and without a password in any message."""

import errno
import time
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

import av
import av.error
import numpy as np
from jaxtyping import UInt8

from headhunt_svc.errors import VideoAccessError, VideoDecodeError, VideoOpenError
from headhunt_svc.video.container import FORMATS, VideoLimits
from headhunt_svc.video.pictures import Orientation

_PROTOCOLS = {"rtsp": "rtsp,rtp,udp,tcp,tls", "http": "http,https,tcp,tls", "device": ""}
_FORMATS = {"rtsp": "rtsp,sdp,rtp", "http": ",".join(sorted(FORMATS | {"mpjpeg"})), "device": "video4linux2"}
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (av.error.HTTPUnauthorizedError, "user name or password is missing or wrong (401)"),
    (av.error.HTTPForbiddenError, "this user may not see the stream (403)"),
    (av.error.HTTPNotFoundError, "there is no such stream (404): look for its path in the camera's manual"),
    (av.error.ConnectionRefusedError, "nothing listens at this address (connection refused)"),
    (av.error.FileNotFoundError, "there is no such device"),
)
_REFUSALS = (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError)


@dataclass(frozen=True, slots=True)
class StreamAddress:
    """Where a stream is. url: holds the password; shown: for people; transport: of RTSP."""

    url: str
    shown: str
    kind: Literal["rtsp", "http", "device"]
    transport: Literal["tcp", "udp"] = "tcp"

    def __repr__(self) -> str:
        return f"StreamAddress({self.shown})"


@dataclass(frozen=True, slots=True)
class StreamPicture:
    """The first picture of a stream, and what the stream states."""

    picture: UInt8[np.ndarray, "height width 3"]
    codec: str
    fps: float | None


def open_stream(
    address: StreamAddress, timeout_s: float, limits: VideoLimits | None = None
) -> tuple[av.container.InputContainer, av.VideoStream]:
    """Open a stream; opening and each read take at most timeout_s.

    Raises:
        VideoOpenError: no answer, no access (then as VideoAccessError), no pictures, or a codec that is not allowed.
    """
    limits = limits or VideoLimits()
    options = {
        "protocol_whitelist": _PROTOCOLS[address.kind],
        "format_whitelist": _FORMATS[address.kind],
        "codec_whitelist": ",".join(sorted(limits.codecs)),
        "max_pixels": str(limits.max_pixels),
    }
    if address.kind == "rtsp":
        options["rtsp_transport"] = address.transport
        if address.transport == "tcp":  # packets are in order; with a queue for them, FFmpeg says which are missing
            options["reorder_queue_size"] = "2"
    kind = "v4l2" if address.kind == "device" else None
    started = time.monotonic()
    try:
        container = av.open(address.url, format=kind, options=options, timeout=(timeout_s, timeout_s))
    except (av.error.FFmpegError, OSError, ValueError) as exc:
        reason = _reason(exc, time.monotonic() - started >= timeout_s, timeout_s)
        error = VideoAccessError if isinstance(exc, _REFUSALS) else VideoOpenError
        raise error(f"{address.shown}: {reason}") from None  # FFmpeg's error holds the password
    streams = container.streams.video
    codec = streams[0].codec_context if streams else None
    if codec is None or codec.codec.name not in limits.codecs:
        container.close()
        name = "no pictures" if not streams else f"a codec that is not allowed ({codec.codec.name if codec else '?'})"
        raise VideoOpenError(f"{address.shown}: the stream has {name}")
    return container, streams[0]


def first_picture(address: StreamAddress, timeout_s: float) -> StreamPicture:
    """Open a stream and decode one picture, in at most about three times timeout_s.

    Raises:
        VideoOpenError: see open_stream.
        VideoDecodeError: it answers, and no picture comes.
    """
    container, stream = open_stream(address, timeout_s)
    with closing(container):
        deadline = time.monotonic() + timeout_s
        try:
            for packet in container.demux(stream):
                for frame in _pictures(packet):
                    rate = stream.average_rate
                    picture = Orientation().upright(frame)
                    return StreamPicture(picture, stream.codec_context.name, float(rate) if rate else None)
                if time.monotonic() > deadline:
                    raise VideoDecodeError(
                        f"{address.shown}: it answers, but no picture could be decoded within {timeout_s:g} s"
                    )
        except av.error.FFmpegError as exc:
            late = time.monotonic() > deadline
            raise VideoDecodeError(f"{address.shown}: {_reason(exc, late, timeout_s)}") from None
    raise VideoDecodeError(f"{address.shown}: it answers, but ends before its first picture")


def _pictures(packet: "av.Packet[av.VideoStream]") -> list[av.VideoFrame]:
    """The pictures that a packet completes; none of a broken one, as one may be joined in the middle of a stream."""
    try:
        return packet.decode()
    except av.error.InvalidDataError:
        return []


def _reason(exc: Exception, late: bool, timeout_s: float) -> str:
    """Why FFmpeg failed, without the address that its own message holds."""
    for kind, reason in _REASONS:
        if isinstance(exc, kind):
            return reason
    if getattr(exc, "errno", None) == errno.EACCES:
        return "no permission to read it"
    if getattr(exc, "errno", None) == errno.EPERM:  # -1: FFmpeg's RTSP has no better number
        return "the connection broke"
    if late or isinstance(exc, av.error.ExitError | av.error.TimeoutError):
        return f"no answer within {timeout_s:g} s"
    reason = getattr(exc, "strerror", None) or type(exc).__name__
    return f"cannot be opened ({reason}): are host, port and path right?"
