"""Open once, decode once, forward; memory holds one window, however long the video is."""

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
from headhunt_svc.errors import VideoDecodeError, VideoError, VideoOpenError
from headhunt_svc.params import SegmentationParams
from headhunt_svc.types import Segment

SUFFIXES = frozenset(".3gp .avi .flv .gif .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .webm .wmv".split())


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

    def segments(self, video_id: str, params: SegmentationParams) -> Iterator[SegmentPictures]:
        """The video's segments in order, each with its pictures."""


@dataclass(slots=True)
class VideoReader:
    """Reads one video; what could not be decoded is in `gaps` after reading.

        with VideoReader(path) as video:
            for piece in video.segments("camera-1", params.segmentation):
                ...

    Raises:
        VideoOpenError: not a video, empty, or without a picture stream.
        VideoDecodeError: no picture at all could be decoded.
    """

    path: Path
    gaps: list[Gap] = field(default_factory=list)
    n_frames: int = 0
    repaired_times: int = 0  # frames whose timestamp was missing or went back; placed one frame after the last
    duration_s: float = 0.0
    fps: float = 0.0
    _origin: float = 0.0  # time of the first picture in the file
    _frames_at_gap: int = -1
    _container: av.container.InputContainer = field(init=False, repr=False)
    _stream: av.VideoStream = field(init=False, repr=False)

    def __enter__(self) -> "VideoReader":
        self._container, self._stream = _open(self.path)
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.fps = float(rate) if rate else 0.0
        if self.fps <= 0:
            self._container.close()
            raise VideoOpenError(f"{self.path}: the file states no frame rate; re-encode it with ffmpeg")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
                if picture.is_corrupt:
                    self._add_gap(packet, "broken picture")
                    broken = True
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

    def segments(self, video_id: str, params: SegmentationParams) -> Iterator[SegmentPictures]:
        """The video's segments in order, the tail included; every decoded frame is in exactly one."""
        segmenter = Segmenter(video_id, params)
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
        """A file that states more pictures than were decoded has a gap even if no packet failed."""
        stated = self._stream.frames
        if not self.gaps and stated > self.n_frames + 1:  # one less is an encoder's habit, not a loss
            reason = f"the file states {stated} pictures, {self.n_frames} could be decoded"
            self.gaps.append(Gap(None, stated - self.n_frames, reason))


def _open(path: Path) -> tuple[av.container.InputContainer, av.VideoStream]:
    if not path.exists():
        raise VideoOpenError(f"{path}: no such file")
    if path.is_file() and path.stat().st_size == 0:
        raise VideoOpenError(f"{path}: the file is empty")
    try:
        # only this file: no playlist or container may pull in other files or connections
        container = av.open(str(path), options={"protocol_whitelist": "file"})
    except (av.error.FFmpegError, OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or str(exc)
        raise VideoOpenError(f"{path}: not a video that FFmpeg can read ({reason})") from exc
    if not container.streams.video:
        container.close()
        raise VideoOpenError(f"{path}: no picture stream in the file (sound only?)")
    stream = container.streams.video[0]
    stream.thread_type = "SLICE"  # with frame threads, what is lost after an error depends on the number of cores
    return container, stream


def _upright(frame: av.VideoFrame) -> UInt8[np.ndarray, "height width 3"]:
    """RGB with the container's rotation applied (rotation: degrees counter-clockwise)."""
    picture = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(picture, k=round(frame.rotation / 90) % 4))


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
            found[path] = None
            continue
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not inside:
            raise VideoError(f"{path}: no video in this folder (looked for {', '.join(sorted(SUFFIXES))})")
        found |= dict.fromkeys(inside)
    return list(found)
