"""Open once, decode once, forward; memory holds one window, however long the video is."""

import os
import re
import stat
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol

import av
import av.error
import numpy as np
from jaxtyping import UInt8

from headhunt_svc.core.segmentation import Segmenter
from headhunt_svc.errors import VideoDecodeError, VideoError, VideoLimitError, VideoOpenError
from headhunt_svc.params import SegmentationParams
from headhunt_svc.types import Segment

SUFFIXES = frozenset(".3gp .avi .flv .gif .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .webm .wmv".split())

# FFmpeg's names. No playlists, picture sequences, devices or scripts: only containers that hold their own data.
FORMATS = frozenset("asf avi flv gif m4v matroska mov mpeg mpegts mpegvideo ogg webm".split())
CODECS = frozenset(
    "av1 dnxhd dvvideo ffv1 flv gif h263 h264 hevc libdav1d libvpx libvpx-vp9 mjpeg mpeg1video mpeg2video mpeg4 "
    "mpegvideo msmpeg4 msmpeg4v2 prores rawvideo theora vc1 vp6 vp6f vp8 vp9 wmv1 wmv2 wmv3".split()
)
_STATE_SECONDS = ("asf", "flv", "matroska,webm")  # whose headers hold a length but no number of pictures


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """What a video may be; None is no limit. A file is hostile until it was decoded.

    max_pixels: of one picture. formats, codecs: FFmpeg's names of demuxers and decoders.
    """

    max_duration_s: float | None = None
    max_pixels: int = 2**26
    max_frames: int | None = None
    formats: frozenset[str] = FORMATS
    codecs: frozenset[str] = CODECS


@dataclass(frozen=True, slots=True)
class Gap:
    """Pictures that could not be decoded, around time_s (seconds from the first picture; None if unknown)."""

    time_s: float | None
    packets: int
    reason: str


@dataclass(frozen=True, slots=True)
class SegmentPictures:
    """A segment with its sampled pictures uint8[F, height, width, 3], upright, and when its span starts and stops."""

    segment: Segment
    pictures: UInt8[np.ndarray, "frame height width 3"]
    start_s: float
    stop_s: float


class VideoSource(Protocol):
    """What the detector reads: an opened video. VideoReader is one; its docstring says what it raises."""

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
        """Seconds, once all was read."""

    @property
    def gaps(self) -> Sequence[Gap]:
        """What could not be decoded so far."""

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
    """Reads one video; what could not be decoded is in `gaps` after reading.

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
        self._container, self._stream = _open(self.path, self.limits, self.fd)
        try:
            self._check()
        except BaseException:
            self._container.close()
            raise
        return self

    def _check(self) -> None:
        """What the file says about itself; that it may lie is met while reading."""
        codec, limits = self._stream.codec_context, self.limits
        if codec is None or codec.codec.name not in limits.codecs:
            named = codec.codec.name if codec is not None else "unknown"
            raise VideoLimitError(f"{self.path}: codec {named} is not allowed; re-encode it with ffmpeg (h264)")
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
        allowed = self.limits.max_duration_s
        if allowed is not None and duration_s > allowed:
            raise VideoLimitError(f"{self.path}: longer than {allowed:g} s; cut it or raise max_duration_s")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._decoding:  # a thread that reads ahead may be in the middle of a picture
            self._closed = True
            self._container.close()

    def _frames(self) -> Iterator[av.VideoFrame]:
        """Every picture that was decoded from intact data, in order; failures are collected in `gaps`.

        What follows a failure refers to pictures that are missing, and FFmpeg would make them up: packets up to
        the next key frame are part of the gap.
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
        """Lost packets in a row are one gap, named by its first cause."""
        if self.gaps and self.n_frames == self._frames_at_gap:
            last = self.gaps[-1]
            self.gaps[-1] = Gap(last.time_s, last.packets + 1, last.reason)
            return
        self._frames_at_gap = self.n_frames
        at = None
        if packet is not None and packet.pts is not None and packet.time_base is not None:
            at = max(float(packet.pts * packet.time_base) - self._origin, 0.0)
        self.gaps.append(Gap(at, 1, reason))

    def segments(self, params: SegmentationParams) -> Iterator[SegmentPictures]:
        """The video's segments in order, the tail included; every decoded frame is in exactly one."""
        segmenter = Segmenter(self.video_id, params)
        held: deque[tuple[float, av.VideoFrame]] = deque()  # from frame number `base` on
        base = 0
        last, step = 0.0, 1.0 / self.fps

        def close(segment: Segment) -> SegmentPictures:
            chosen = {i: _upright(held[i - base][1]) for i in segment.frame_indices}
            start, stop = (i - base for i in segment.span)
            stop_s = held[stop][0] if stop < len(held) else last + step
            pictures = np.stack([chosen[i] for i in segment.frame_indices])
            return SegmentPictures(segment, pictures, held[start][0], stop_s)

        for frame in self._frames():
            if self.n_frames == 0:
                self._origin = frame.time if frame.time is not None else 0.0
            time_s = frame.time - self._origin if frame.time is not None else -1.0
            if self.n_frames and time_s <= last:
                time_s, self.repaired_times = last + step, self.repaired_times + 1
            self.n_frames, last = self.n_frames + 1, max(time_s, 0.0)
            self._check_duration(last)
            if self.limits.max_frames is not None and self.n_frames > self.limits.max_frames:
                raise VideoLimitError(
                    f"{self.path}: more than {self.limits.max_frames} pictures; cut it or raise max_frames"
                )
            held.append((last, frame))
            for segment in segmenter.push(last):
                yield close(segment)
            while base < segmenter.first_needed:
                held.popleft()
                base += 1
        if not self.n_frames:
            why = f" ({self.gaps[0].reason})" if self.gaps else ""
            raise VideoDecodeError(f"{self.path}: no picture could be decoded{why}; is the file complete?")
        self.duration_s = last + step
        for segment in segmenter.finish():
            yield close(segment)
        self._note_missing()

    def _note_missing(self) -> None:
        """A file that states more pictures or seconds than were decoded has a gap even if no packet failed."""
        stated, stated_s = self._stream.frames, self._stated_s()
        if self.gaps:
            return
        if stated > self.n_frames + 1:  # one less is an encoder's habit, not a loss
            reason = f"the file states {stated} pictures, {self.n_frames} could be decoded"
            self.gaps.append(Gap(None, stated - self.n_frames, reason))
        elif stated_s - self.duration_s > max(0.5, 2 / self.fps):  # how long the last picture stays is never exact
            reason = f"the file states {stated_s:.1f} s, {self.duration_s:.1f} s could be decoded"
            self.gaps.append(Gap(self.duration_s, round((stated_s - self.duration_s) * self.fps), reason))

    def _stated_s(self) -> float:
        """The pictures' length as the file's header states it; 0 where it does not, or means the sound."""
        if self._container.format.name not in _STATE_SECONDS:
            return 0.0
        tag = self._stream.metadata.get("DURATION", "")
        if match := re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", tag):
            hours, minutes, seconds = map(float, match.groups())
            return hours * 3600 + minutes * 60 + seconds - self._origin
        return (self._container.duration or 0) / 1e6 if len(self._container.streams) == 1 else 0.0


def open_file(path: Path) -> int:
    """A file descriptor to read a video from; it is an ordinary file and not empty.

    Raises:
        VideoOpenError: it cannot be opened, is empty, or is not an ordinary file.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # opening a FIFO must not wait for a writer
    except FileNotFoundError as exc:
        raise VideoOpenError(f"{path}: no such file") from exc
    except (OSError, ValueError) as exc:
        raise VideoOpenError(f"{path}: cannot be opened ({getattr(exc, 'strerror', exc)})") from exc
    about = os.fstat(fd)
    if stat.S_ISREG(about.st_mode) and about.st_size:
        return fd
    os.close(fd)
    found = "the file is empty" if stat.S_ISREG(about.st_mode) else "not an ordinary file"
    raise VideoOpenError(f"{path}: {found}")


def _open(path: Path, limits: VideoLimits, fd: int | None) -> tuple[av.container.InputContainer, av.VideoStream]:
    own = open_file(path) if fd is None else None
    # FFmpeg is handed the open file and no means to open another: whatever the file refers to cannot be reached
    options = {
        "fd": str(fd if own is None else own),
        "protocol_whitelist": "fd",
        "format_whitelist": ",".join(sorted(limits.formats)),
        "codec_whitelist": ",".join(sorted(limits.codecs)),
        "enable_drefs": "0",
        "max_pixels": str(limits.max_pixels),
    }
    try:
        container = av.open("fd:", options=options)
    except (av.error.FFmpegError, OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or str(exc)
        allowed = ", ".join(sorted(limits.formats))
        raise VideoOpenError(f"{path}: not a video that can be read, in one of {allowed} ({reason})") from exc
    finally:
        if own is not None:
            os.close(own)  # FFmpeg has a duplicate
    if not container.streams.video:
        container.close()
        raise VideoOpenError(f"{path}: no picture stream in the file (sound only?)")
    stream = container.streams.video[0]
    stream.thread_type = "SLICE"  # with frame threads, what is lost after an error depends on the number of cores
    return container, stream


def _quarter_turns(frame: av.VideoFrame) -> int:
    """Counter-clockwise, as the container asks for."""
    return round(frame.rotation / 90) % 4


def _upright_size(frame: av.VideoFrame) -> tuple[int, int]:
    """Width and height."""
    return (frame.height, frame.width) if _quarter_turns(frame) % 2 else (frame.width, frame.height)


def _upright(frame: av.VideoFrame) -> UInt8[np.ndarray, "height width 3"]:
    """RGB with the container's rotation applied."""
    picture = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(picture, k=_quarter_turns(frame)))


def count_frames(path: Path) -> tuple[int, float]:
    """(pictures, frame rate) by counting packets, without decoding.

    Raises:
        VideoOpenError: see VideoReader.
    """
    with VideoReader(path) as video:
        try:
            n = sum(1 for packet in video._container.demux(video._stream) if packet.size)
        except av.error.FFmpegError as exc:
            raise VideoOpenError(f"{path}: the file is broken ({exc.strerror})") from exc
        return n, video.fps


def find_videos(paths: list[Path]) -> list[Path]:
    """The videos among files and folders (searched by file name ending), in order, each once.

    Raises:
        VideoError: a path does not exist, or a folder holds no video.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if not path.is_dir():
            if not path.exists():
                raise VideoOpenError(f"{path}: no such file")
            found[path] = None
            continue
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not inside:
            raise VideoError(f"{path}: no video in this folder (looked for {', '.join(sorted(SUFFIXES))})")
        found |= dict.fromkeys(inside)
    return list(found)
