"""Decodes a video once, in order, into segments with their pictures; memory holds one window of it."""

import re
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, runtime_checkable

import av
import av.error
import numpy as np
from jaxtyping import UInt8

from headhunt_svc.core.segmentation import Segmenter
from headhunt_svc.errors import VideoDecodeError, VideoLimitError, VideoOpenError
from headhunt_svc.params import SegmentationParams
from headhunt_svc.types import Segment
from headhunt_svc.video.container import VideoLimits, open_container

_WITHOUT_FRAME_COUNT = ("asf", "flv", "matroska,webm")  # containers whose headers hold a length in seconds instead


@dataclass(frozen=True, slots=True)
class Gap:
    """Pictures that could not be decoded, around time_s (seconds from the first picture; None if unknown)."""

    time_s: float | None
    packets: int
    reason: str


@dataclass(frozen=True, slots=True)
class SegmentPictures:
    """A segment with its sampled pictures, upright, and when its span starts and stops."""

    segment: Segment
    pictures: UInt8[np.ndarray, "frame height width 3"]
    start_s: float
    stop_s: float


@runtime_checkable
class VideoSource(Protocol):
    """An opened video, as the detector reads it; VideoReader's docstring lists the errors."""

    @property
    def video_id(self) -> str:
        """The name in reports and logs."""

    @property
    def fps(self) -> float:
        """Frames per second, as the file states."""

    @property
    def n_frames(self) -> int:
        """Frames decoded so far."""

    @property
    def duration_s(self) -> float:
        """Length of the whole video; 0 until it was read to its end."""

    @property
    def gaps(self) -> Sequence[Gap]:
        """Stretches that could not be decoded so far."""

    @property
    def repaired_times(self) -> int:
        """Frames whose timestamp was missing or went back."""

    def __enter__(self) -> "VideoSource": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def segments(self, params: SegmentationParams) -> Iterator[SegmentPictures]:
        """The video's segments in order, each with its pictures."""


@dataclass(slots=True)
class VideoReader:
    """Reads one video in this process; `gaps` lists what could not be decoded.

        with VideoReader(path) as video:
            for piece in video.segments(params.segmentation):
                ...

    video_id: its name in segments; the file's name by default.
    fd: an open file to read instead of opening the path, which then only names the video.

    Raises:
        VideoOpenError: not a video in an allowed container, empty, or without a picture stream.
        VideoLimitError: beyond one of the limits, at opening or, where the file does not say so, while reading.
        VideoDecodeError: no picture at all could be decoded.
    """

    path: Path
    limits: VideoLimits = field(default_factory=VideoLimits)
    fd: int | None = None
    video_id: str = ""
    gaps: list[Gap] = field(default_factory=list)
    n_frames: int = 0
    repaired_times: int = 0  # frames whose timestamp was missing or went back; placed one frame after the last
    duration_s: float = 0.0
    fps: float = 0.0
    _origin: float = 0.0  # time of the first picture in the file
    _frames_at_gap: int = -1
    _size: tuple[int, int] | None = None  # of the first picture
    _container: av.container.InputContainer = field(init=False, repr=False)
    _stream: av.VideoStream = field(init=False, repr=False)
    _decoding: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _closed: bool = False

    def __post_init__(self) -> None:
        self.video_id = self.video_id or self.path.name

    def __enter__(self) -> "VideoReader":
        self._container, self._stream = open_container(self.path, self.limits, self.fd)
        try:
            self._check_header()
        except BaseException:
            self._container.close()
            raise
        return self

    def _check_header(self) -> None:
        """Compare the file's own statements with the limits; reading checks them again, as a header may lie."""
        codec, limits = self._stream.codec_context, self.limits
        if codec is None or codec.codec.name not in limits.codecs:
            name = codec.codec.name if codec is not None else "unknown"
            raise VideoLimitError(f"{self.path}: codec {name} is not allowed; re-encode it with ffmpeg (h264)")
        if codec.width * codec.height > limits.max_pixels:
            size = f"{codec.width} x {codec.height}"
            raise VideoLimitError(
                f"{self.path}: {size} is more than {limits.max_pixels} pixels; scale it down or raise max_pixels"
            )
        self._check_duration((self._container.duration or 0) / 1e6)
        codec.options = {"max_pixels": str(limits.max_pixels)}  # for a stream that grows later
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.fps = float(rate) if rate else 0.0
        if self.fps <= 0:
            raise VideoOpenError(f"{self.path}: the file states no frame rate; re-encode it with ffmpeg")

    def _check_duration(self, duration_s: float) -> None:
        limit = self.limits.max_duration_s
        if limit is not None and duration_s > limit:
            raise VideoLimitError(f"{self.path}: longer than {limit:g} s; cut it or raise max_duration_s")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._decoding:  # a thread that reads ahead may be in the middle of a picture
            self._closed = True
            self._container.close()

    def _frames(self) -> Iterator[av.VideoFrame]:
        """Decode pictures from intact data, in order; failures become `gaps`.

        Packets behind a failure, up to the next key frame, are part of the gap: they refer to missing pictures, which
        FFmpeg would make up.
        """
        packets = self._container.demux(self._stream)
        broken = False
        while True:
            packet = None
            try:
                with self._decoding:
                    if self._closed:
                        return
                    packet = next(packets)
                    if broken and packet.size and not packet.is_keyframe:
                        self._add_gap(packet, "follows a broken picture")
                        continue
                    broken = broken and not packet.size
                    pictures = packet.decode()
            except StopIteration:
                return
            except av.error.FFmpegError as exc:
                self._add_gap(packet, exc.strerror or type(exc).__name__)
                if packet is None:
                    return  # the file itself ends or breaks here
                broken = True
                self._stream.codec_context.flush_buffers()
                continue
            for picture in pictures:
                size = _upright_size(picture)
                self._size = self._size or size
                if picture.is_corrupt:
                    self._add_gap(packet, "broken picture")
                    broken = True
                elif size != self._size:
                    self._add_gap(
                        packet, f"pictures of {size[0]} x {size[1]} in a video of {self._size[0]} x {self._size[1]}"
                    )
                elif not broken:
                    yield picture

    def _add_gap(self, packet: "av.Packet[av.VideoStream] | None", reason: str) -> None:
        """Note a lost packet; lost packets in a row are one gap, with the first one's reason."""
        if self.gaps and self.n_frames == self._frames_at_gap:
            last = self.gaps[-1]
            self.gaps[-1] = Gap(last.time_s, last.packets + 1, last.reason)
            return
        self._frames_at_gap = self.n_frames
        time_s = None
        if packet is not None and packet.pts is not None and packet.time_base is not None:
            time_s = max(float(packet.pts * packet.time_base) - self._origin, 0.0)
        self.gaps.append(Gap(time_s, 1, reason))

    def segments(self, params: SegmentationParams) -> Iterator[SegmentPictures]:
        """The video's segments in order, the tail included; every decoded frame is in exactly one."""
        segmenter = Segmenter(self.video_id, params)
        buffer: deque[tuple[float, av.VideoFrame]] = deque()  # times and frames, the first of them number `base`
        base = 0
        last_s, step_s = 0.0, 1.0 / self.fps

        def with_pictures(segment: Segment) -> SegmentPictures:
            pictures = {i: _upright(buffer[i - base][1]) for i in segment.frame_indices}
            start, stop = (i - base for i in segment.span)
            stop_s = buffer[stop][0] if stop < len(buffer) else last_s + step_s
            return SegmentPictures(
                segment, np.stack([pictures[i] for i in segment.frame_indices]), buffer[start][0], stop_s
            )

        for frame in self._frames():
            if self.n_frames == 0:
                self._origin = frame.time if frame.time is not None else 0.0
            time_s = frame.time - self._origin if frame.time is not None else -1.0
            if self.n_frames and time_s <= last_s:
                time_s, self.repaired_times = last_s + step_s, self.repaired_times + 1
            self.n_frames, last_s = self.n_frames + 1, max(time_s, 0.0)
            self._check_duration(last_s)
            if self.limits.max_frames is not None and self.n_frames > self.limits.max_frames:
                raise VideoLimitError(
                    f"{self.path}: more than {self.limits.max_frames} pictures; cut it or raise max_frames"
                )
            buffer.append((last_s, frame))
            for segment in segmenter.push(last_s):
                yield with_pictures(segment)
            while base < segmenter.first_needed:
                buffer.popleft()
                base += 1
        if not self.n_frames:
            cause = f" ({self.gaps[0].reason})" if self.gaps else ""
            raise VideoDecodeError(f"{self.path}: no picture could be decoded{cause}; is the file complete?")
        self.duration_s = last_s + step_s
        for segment in segmenter.finish():
            yield with_pictures(segment)
        self._add_gap_of_header()

    def count_packets(self) -> int:
        """The number of pictures, counted without decoding.

        Raises:
            VideoOpenError: the file breaks off.
        """
        try:
            return sum(1 for packet in self._container.demux(self._stream) if packet.size)
        except av.error.FFmpegError as exc:
            raise VideoOpenError(f"{self.path}: the file is broken ({exc.strerror})") from exc

    def _add_gap_of_header(self) -> None:
        """Add a gap, if no packet failed, where the header states more pictures or seconds than were decoded."""
        stated, stated_s = self._stream.frames, self._stated_s()
        if self.gaps:
            return
        if stated > self.n_frames + 1:  # some encoders count one too many
            reason = f"the file states {stated} pictures, {self.n_frames} could be decoded"
            self.gaps.append(Gap(None, stated - self.n_frames, reason))
        elif stated_s - self.duration_s > max(0.5, 2 / self.fps):  # the last picture's duration is not exact
            reason = f"the file states {stated_s:.1f} s, {self.duration_s:.1f} s could be decoded"
            self.gaps.append(Gap(self.duration_s, round((stated_s - self.duration_s) * self.fps), reason))

    def _stated_s(self) -> float:
        """The length of the picture stream in the file's header; 0 if there is none, or it may be that of the sound."""
        if self._container.format.name not in _WITHOUT_FRAME_COUNT:
            return 0.0
        tag = self._stream.metadata.get("DURATION", "")
        if match := re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", tag):
            hours, minutes, seconds = map(float, match.groups())
            return hours * 3600 + minutes * 60 + seconds - self._origin
        return (self._container.duration or 0) / 1e6 if len(self._container.streams) == 1 else 0.0


def _quarter_turns(frame: av.VideoFrame) -> int:
    """The rotation that the container asks for, counter-clockwise."""
    return round(frame.rotation / 90) % 4


def _upright_size(frame: av.VideoFrame) -> tuple[int, int]:
    """Width and height after the rotation."""
    return (frame.height, frame.width) if _quarter_turns(frame) % 2 else (frame.width, frame.height)


def _upright(frame: av.VideoFrame) -> UInt8[np.ndarray, "height width 3"]:
    """The picture as RGB, with the container's rotation applied."""
    picture = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(picture, k=_quarter_turns(frame)))
