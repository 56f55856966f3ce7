"""Decodes a video file once, in order: its pictures, when each is shown, and what is lost between them."""

import contextlib
import os
import statistics
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import islice, pairwise
from pathlib import Path
from types import TracebackType

import av
import av.error

from headhunt_svc.errors import VideoDecodeError, VideoLimitError, VideoOpenError
from headhunt_svc.names import escape
from headhunt_svc.video.clock import SAME_RATE, Clock
from headhunt_svc.video.container import (
    NOT_STATED,
    RAW_FORMATS,
    VideoLimits,
    add_rate_command,
    open_container,
    open_file,
    video_streams,
)
from headhunt_svc.video.header import checked_codec, lost_by_header, stated_size
from headhunt_svc.video.memory import PictureSize
from headhunt_svc.video.packets import CheckedPacket, Packets
from headhunt_svc.video.pictures import Orientation
from headhunt_svc.video.skipping import SkipPlan
from headhunt_svc.video.source import Gap, VideoSource

_PERIODS_S = {"mpegts": 2**33 / 90000, "mpeg": 2**33 / 90000}  # after which a container counts from 0 again
_PEEK = 32  # packets that are read at opening, to know the typical rate
_FOLLOWS = "follows a broken picture"
_STRICT = "explode+crccheck+bitstream+buffer"  # errors instead of pictures that the decoder made up


@dataclass(slots=True)
class VideoDecoder(VideoSource):
    """An open video file, which gives its pictures one after another; VideoReader cuts them into segments.

    Its fields and errors are those of VideoReader, whose docstring lists them.
    """

    path: Path
    limits: VideoLimits = field(default_factory=VideoLimits)
    fd: int | None = None
    number: int | None = None
    _fd: int = -1  # of the open file
    _closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, repr=False)
    _stated: float = 0.0  # frames per second in the header; 0: none
    _is_raw: bool = False
    _counts_pictures: bool = False  # the container numbers them as they are decoded, and states no times
    _tick_s: tuple[int, int] = (1, 1)  # the unit of timestamps, as a fraction: Fraction takes longer than the rest
    _size: tuple[int, int] | None = None  # of the first picture
    _orientation: Orientation = field(default_factory=Orientation, repr=False)
    _discarded: int = 0  # packets that the edit list hides
    _n_chunks: int = 0  # places of pictures in an AVI file, the empty ones too
    _skip: str | None = None  # why packets before the next key frame are not decoded
    _in_decoder: bool = False  # may the decoder hold pictures?
    _anew: int | None = None  # timestamp of the key frame that decoding began with; None: in no such group
    _decode_times: list[int] = field(default_factory=list)  # of pictures in the decoder, a heap; AVI only
    _frames_at_gap: int = -1
    _head: deque[CheckedPacket] = field(default_factory=deque)
    _plan: SkipPlan | None = field(default=None, repr=False)  # None: pictures are not decoded at all
    _clock: Clock = field(init=False, repr=False)
    _packets: Packets = field(init=False, repr=False)
    _container: av.container.InputContainer = field(init=False, repr=False)
    _stream: av.VideoStream = field(init=False, repr=False)
    _decoding: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _closed: bool = False

    def __post_init__(self) -> None:
        self.video_id = self.video_id or escape(self.path.name)

    def _open(self) -> None:
        """Open the file, and know its typical rate."""
        if self.fd is None:
            self._fd = open_file(self.path)
            self._closing.callback(os.close, self._fd)
        else:
            self._fd = self.fd
        try:
            self._container, self._stream = open_container(self.path, self.limits, self._fd, self.number)
            self._closing.callback(self._container.close)
            self._is_raw, self._counts_pictures = (
                self._container.format.name in kinds for kinds in (RAW_FORMATS, ("avi",))
            )
            self._tick_s = self._stream.time_base.as_integer_ratio() if self._stream.time_base else (1, 1)
            self._check_header()
            self._packets = Packets(self._container, self._stream, self._fd)
            self._estimate_rate()
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._decoding:  # a thread that reads ahead may be in the middle of a picture
            self._closed = True
            self._closing.close()

    def _check_header(self) -> None:
        """Compare the file's own statements with the limits; reading checks them again, as a header may lie."""
        codec = checked_codec(self.path, self._stream, self.limits)
        if self._container.format.name not in ("mpegts", "mpeg"):  # theirs is a difference of clocks, set or not
            self._check_duration((self._container.duration or 0) / 1e6)
        codec.options = {"max_pixels": str(self.limits.max_pixels), "err_detect": _STRICT}
        self.stream, self.streams = self._stream.index, tuple(s.index for s in video_streams(self._container))

    @property
    def size(self) -> PictureSize:
        """What the file states about its pictures, once it is open."""
        return stated_size(self._stream.codec_context, self.fps, self.limits)

    def _check_duration(self, duration_s: float) -> None:
        limit = self.limits.max_duration_s
        if limit is not None and duration_s > limit:
            raise VideoLimitError(f"{self.path}: longer than {limit:g} s; cut it or raise max_duration_s")

    def _estimate_rate(self) -> None:
        """Take the typical rate from the first packets; the file's statement, where that says the same.

        Raises:
            VideoOpenError: a raw stream that does not state its rate: its pictures have no times.
        """
        with contextlib.suppress(av.error.FFmpegError):  # reading the rest meets it again
            self._head.extend(islice(self._packets, _PEEK))
        guessed = self._stream.guessed_rate
        rate = guessed if self._is_raw else self._stream.average_rate
        self._stated = float(rate) if rate and rate != NOT_STATED else 0.0
        if self._is_raw and not self._stated:
            raise VideoOpenError(
                f"{self.path}: a raw stream that does not state its frame rate; add that of the camera: "
                + add_rate_command(self.path, self._container.format.name)
            )
        packets = [item.packet for item in self._head]
        times = sorted(
            {t for p in packets if (t := self._seconds(p.dts if self._counts_pictures else p.pts)) is not None}
        )
        length_s = next((self._seconds(p.duration) for p in packets if p.duration), None)
        step_s = statistics.median(b - a for a, b in pairwise(times)) if len(times) > 1 else length_s
        typical = 1 / step_s if step_s else self._stated or float(guessed or 0)
        if typical <= 0:
            raise VideoOpenError(f"{self.path}: neither the file nor its frames state a rate; re-encode it with ffmpeg")
        self._set_rate(typical)
        self._clock = self._new_clock()
        self._clock.holes, self._clock.discontinuities = self.holes, self.discontinuities

    def _new_clock(self) -> Clock:
        return Clock(1 / self.fps, _PERIODS_S.get(self._container.format.name))

    def _set_rate(self, typical: float) -> None:
        """Take the rate of the frames, or what the container states, if that is the same."""
        same = abs(typical - self._stated) <= SAME_RATE * self._stated
        self.fps = self._stated if same else typical
        self.stated_fps = self._stated if self._stated and not same else None

    def _seconds(self, ticks: int | None) -> float | None:
        numerator, denominator = self._tick_s
        return None if ticks is None else ticks * numerator / denominator

    def _intact(self) -> Iterator[CheckedPacket | None]:
        """The packets that can be decoded to what was recorded; None where some are missing, which become `gaps`.

        After a loss, packets up to the next key frame are part of the gap, and those after it that are shown before it:
        they refer to missing pictures, which FFmpeg would make up.
        """
        self._skip = "the recording begins between key frames"
        while (item := self._next_packet()) is not None:
            packet, problem, lost_before = item[:3]
            if problem is None and packet.is_keyframe:
                if lost_before:
                    yield None
                    self._add_gap(packet, "pictures before this one are missing")
                self._anew = packet.pts if self._skip or lost_before else None
                self._skip = None
            elif lost_before and problem is None:
                problem = "pictures that this one refers to are missing"
            if problem or self._skip:
                yield None
                self._add_gap(packet, problem or self._skip or _FOLLOWS)
                self._skip = self._skip or _FOLLOWS
                continue
            if self._anew is not None and packet.pts is not None and packet.pts < self._anew:
                self._add_gap(packet, _FOLLOWS)
                continue
            self._discarded += packet.is_discard
            if packet.dts is not None:
                self._n_chunks = max(self._n_chunks, packet.dts + 1)
            yield item
        self.unfinished = self._packets.unfinished

    def _frames(self) -> Iterator[tuple[float | None, av.VideoFrame | None]]:
        """Pictures, in the order of their showing, with their timestamps; None: nobody needs it, it is not decoded."""
        for item in self._intact():
            if item is None:
                if self._in_decoder:
                    if not self._counts_pictures:  # else a picture may wait for lost ones that are shown before it
                        yield from self._decode(None)
                    self._restart_decoder()
                yield from self._undecoded()
            elif item.is_needed:
                yield from self._decode(item.packet)
        if self._in_decoder:
            yield from self._decode(None)
        yield from self._undecoded()

    def _undecoded(self, is_damaged: bool = False) -> Iterator[tuple[float | None, None]]:
        """Pictures left that are not decoded, when the decoder is empty or met damage (SkipPlan.rest)."""
        for ticks in self._plan.rest(is_damaged) if self._plan is not None else ():
            yield self._seconds(ticks), None

    def _next_packet(self) -> CheckedPacket | None:
        """The next packet; None at the end, or where the file breaks off."""
        try:
            return self._plan.next_packet() if self._plan is not None else self._read_packet()
        except av.error.FFmpegError as exc:
            self._add_gap(None, exc.strerror or type(exc).__name__)
            return None

    def _read_packet(self) -> CheckedPacket | None:
        with self._decoding:
            if self._closed:
                return None
            return self._head.popleft() if self._head else next(self._packets, None)

    def _restart_decoder(self) -> None:
        with self._decoding:
            if not self._closed:
                self._stream.codec_context.flush_buffers()
        self._in_decoder, self._decode_times = False, []

    def _decode(
        self, packet: "av.Packet[av.VideoStream] | None"
    ) -> Iterator[tuple[float | None, av.VideoFrame | None]]:
        """The pictures that a packet completes, with those before them that are not decoded; None: those left."""
        self._in_decoder = True
        if packet is not None and packet.dts is not None and self._counts_pictures:
            heappush(self._decode_times, packet.dts)
        try:
            with self._decoding:
                if self._closed:
                    return
                pictures = self._stream.codec_context.decode(packet)
        except av.error.FFmpegError as exc:
            yield from self._undecoded(is_damaged=True)
            self._lose(packet, exc.strerror or type(exc).__name__)
            return
        for picture in pictures:
            size = self._orientation.upright_size(picture)
            timestamp = self._timestamp(picture)
            self._size = self._size or size
            if picture.is_corrupt or size != self._size:
                yield from self._undecoded(is_damaged=True)
            skipped, was_given = self._plan.before(picture.pts) if self._plan is not None else ((), False)
            for ticks in skipped:
                yield self._seconds(ticks), None
            if was_given:
                continue
            if picture.is_corrupt:
                self._lose(packet, "broken picture", timestamp)
                return
            if size != self._size:
                text = f"pictures of {size[0]} x {size[1]} in a video of {self._size[0]} x {self._size[1]}"
                self._add_gap(packet, text)
            elif timestamp is None and self.n_frames == self._frames_at_gap:
                self._add_gap(packet, "a picture without a time follows lost ones")
            else:
                yield timestamp, picture

    def _lose(self, packet: "av.Packet[av.VideoStream] | None", reason: str, timestamp: float | None = None) -> None:
        """Give up everything up to the next key frame."""
        self._add_gap(packet, reason, timestamp)
        self._restart_decoder()
        self._skip = _FOLLOWS

    def _timestamp(self, picture: av.VideoFrame) -> float | None:
        """When a picture is shown, in the file's seconds."""
        if self._is_raw:
            return self.n_frames / self.fps
        ticks = picture.pts
        if self._counts_pictures:  # each picture has a packet, in another order: the earliest goes with the earliest
            ticks = heappop(self._decode_times) if self._decode_times else None
        return self._seconds(ticks)

    def _add_gap(self, packet: "av.Packet[av.VideoStream] | None", reason: str, timestamp: float | None = None) -> None:
        """Note a lost packet, at its picture's timestamp; those in a row are one gap, with the first one's reason."""
        if timestamp is None and packet is not None:
            timestamp = self._seconds(packet.pts if packet.pts is not None else packet.dts)
        time_s = None if timestamp is None else self._clock.seconds(timestamp)
        if timestamp is not None:
            self._clock.lose(timestamp)
        if self.gaps and self.n_frames == self._frames_at_gap:
            gap = self.gaps[-1]
            if time_s is not None and gap.time_s is not None and self._clock.last_s < time_s < gap.time_s:
                gap = replace(gap, time_s=time_s)  # packets come in another order than pictures
            self.gaps[-1] = replace(gap, packets=gap.packets + 1)
            return
        self._frames_at_gap = self.n_frames
        self.gaps.append(Gap(time_s, 1, reason))

    def _count_frame(self) -> None:
        """Count the picture that the clock has moved to, and check the limits."""
        if self.gaps and self.n_frames == self._frames_at_gap:
            self.gaps[-1] = replace(self.gaps[-1], stop_s=self._clock.last_s)
        self.n_frames += 1
        self.repaired_times = self._clock.repaired_times
        self._check_duration(self._clock.last_s)
        if self.limits.max_frames is not None and self.n_frames > self.limits.max_frames:
            raise VideoLimitError(
                f"{self.path}: more than {self.limits.max_frames} pictures; cut it or raise max_frames"
            )

    def _finish(self) -> None:
        """Say what is known at the end of the file."""
        if not self.n_frames:
            cause = f" ({self.gaps[0].reason})" if self.gaps else ""
            raise VideoDecodeError(f"{self.path}: no picture could be decoded{cause}; is the file complete?")
        self.duration_s = self._clock.last_s + self._clock.step_s
        if (rate := self._clock.rate) is not None:
            self._set_rate(rate)
        if not self.gaps:
            packets = self._n_chunks if self._counts_pictures else self.n_frames + self._discarded
            origin_s = None if self.discontinuities else self._clock.origin_s
            lost = lost_by_header(self._container, self._stream, packets, origin_s, self.duration_s, self.fps)
            self.gaps.extend([lost] if lost else [])
