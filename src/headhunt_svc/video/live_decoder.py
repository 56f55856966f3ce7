"""Turns the packets of a live stream into segments; what was lost on the way is counted, and nothing is made up."""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import islice

import av
import av.error

from headhunt_svc.core.segmentation import Segmenter
from headhunt_svc.errors import VideoOpenError
from headhunt_svc.params import SegmentationParams
from headhunt_svc.types import Segment
from headhunt_svc.video.arrival import ArrivalClock
from headhunt_svc.video.clock import Clock, Discontinuity
from headhunt_svc.video.nal import BitstreamCheck
from headhunt_svc.video.packets import CheckedPacket
from headhunt_svc.video.pictures import Orientation
from headhunt_svc.video.receiving import WITHOUT_CLOCK, Packet, Received, Receiver, Source
from headhunt_svc.video.ring import PacketRing
from headhunt_svc.video.source import Gap, VideoState
from headhunt_svc.video.stillness import Changes

STRICT = "explode+crccheck+bitstream+buffer"  # errors instead of pictures that the decoder made up
_BEGINS, _FOLLOWS, _LATE = "no key frame has come yet", "follows a broken picture", "the decoder is behind"
NOTICE_S = 10.0  # what was wrong for a moment is said for so long
_LISTED = 100  # gaps, holes and discontinuities that are remembered one by one
_AHEAD_S = 2.0  # of the data's arrival: no picture can be so early, so the stream's clock jumped
_BACK_S = 2.0  # pictures are sent in another order than they are shown, but not by so much
_EARLY = 2  # pictures without a time that are placed before the first one that has one
_UNTIMED = 50  # pictures without a time, until it is clear that the stream states none


@dataclass(frozen=True, slots=True)
class Piece:
    """A complete segment with its sampled frames, not converted yet.

    lost_s, late_s: time between it and the segment before: no pictures arrived, or the decoder was behind. state: what
    is known about the stream at its end.
    """

    segment: Segment
    frames: tuple[av.VideoFrame, ...]
    start_s: float
    stop_s: float
    lost_s: float
    late_s: float
    state: VideoState


class PacketTrust:
    """Says of each packet of a stream whether it can be decoded to what the camera sent."""

    def __init__(self, stream: av.VideoStream) -> None:
        self._codec = stream.codec_context.codec.canonical_name
        self._bitstream = self._new(stream.codec_context.extradata)

    def _new(self, extradata: bytes | None) -> BitstreamCheck | None:
        return BitstreamCheck(self._codec, extradata) if self._codec in ("h264", "hevc") else None

    def check(self, packet: Packet) -> CheckedPacket:
        """The packet with what is wrong with it."""
        if packet.is_keyframe and packet.has_sidedata("new_extradata"):
            self._bitstream = self._new(bytes(packet.get_sidedata("new_extradata")))
        problem, lost_before = "data was lost on the way" if packet.is_corrupt else None, False
        if self._bitstream is not None:
            data = memoryview(packet)
            damage = self._bitstream.problem(data)
            if damage and packet.is_keyframe:  # is it the picture itself, or what came before?
                self._bitstream.restart()
                lost_before, damage = True, self._bitstream.problem(data)
            problem = problem or damage
        return CheckedPacket(packet, problem, lost_before)


class LiveDecoder:
    """Decodes what a receiver got, one picture at a time, and cuts it into segments.

    late_s: when packets wait for longer, those up to a key frame that waits for less than half of it are dropped.

    Raises:
        VideoOpenError: the stream does not state its rate, and no two pictures arrive.
    """

    def __init__(
        self,
        source: Source,
        receiver: Receiver,
        video_id: str,
        fps: float,
        late_s: float,
        max_pixels: int,
        ring: PacketRing | None,
    ) -> None:
        self._stream, self._receiver, self._video_id, self._late_s = source.stream, receiver, video_id, late_s
        self._by_arrival = source.format_name in WITHOUT_CLOCK
        self._ring = ring
        codec = source.stream.codec_context
        codec.options = {"max_pixels": str(max_pixels), "err_detect": STRICT}
        codec.thread_count = 1  # no picture waits for threads to be busy
        codec.thread_type = "NONE"
        self._codec = codec
        self._trust = PacketTrust(source.stream)
        self._tick_s = source.stream.time_base.as_integer_ratio() if source.stream.time_base else (1, 1)
        self.clock, self.arrivals, self.changes = Clock(1 / fps), ArrivalClock(), Changes()
        self.fps = fps
        self.gaps: list[Gap] = []
        self.lost_packets = self.dropped_packets = self.n_frames = 0
        self.size: tuple[int, int] | None = None
        self.last_s: float | None = None  # of the last picture
        self._skip: str | None = _BEGINS
        self._anew: int | None = None  # timestamp of the key frame that decoding began with; None: in no such group
        self._in_decoder = False
        self._decode_times: list[int] = []  # of pictures in the decoder that state no other time
        self._n_untimed = 0
        self._untimed: deque[av.VideoFrame] = deque(maxlen=_EARLY)  # the last of these
        self._shift = 0  # ticks by which the stream's clock jumped
        self._noticed: tuple[str | None, float] = None, 0.0  # what was wrong last, and when
        self._has_begun = False  # with a key frame
        self._origin: int | None = None  # timestamp of the first packet that has one, until a picture is decoded
        self._packet_s = 0.0  # stream time of the last packet's picture
        self._frames_at_gap = -1
        self._orientation = Orientation()
        self._stop_s = 0.0  # of the last segment
        self._was_late = False  # since then
        self._buffer: deque[tuple[float, av.VideoFrame]] = deque()  # times and frames, the first of them number `_base`
        self._base = 0

    @property
    def problem(self) -> str | None:
        """What is wrong with the stream, or was a moment ago."""
        if self._skip in (_BEGINS, _LATE):
            return self._skip
        text, noticed_s = self._noticed
        return text if time.monotonic() - noticed_s < NOTICE_S else None

    def _notice(self, text: str) -> None:
        self._noticed = text, time.monotonic()

    def state(self) -> VideoState:
        """What is known about the stream."""
        return VideoState(
            fps=self.fps,
            n_frames=self.n_frames,
            gaps=list(self.gaps),
            holes=list(self.clock.holes),
            discontinuities=list(self.clock.discontinuities),
            repaired_times=self.clock.repaired_times,
            stream=self._stream.index,
            is_live=True,
        )

    def pieces(self, params: SegmentationParams) -> Iterator[Piece]:
        """The segments, each as soon as it is complete."""
        self._params, self._segmenter = params, Segmenter(self._video_id, params)
        try:
            while (received := self._receiver.take()) is not None:
                yield from self._receive(received)
            yield from self._drain()
            yield from self._cut()
        finally:
            if self._ring is not None:
                self._ring.end()

    def _receive(self, received: Received) -> Iterator[Piece]:
        packet = received.packet
        self._place(received)
        if self._ring is not None and received.n_missing:
            self._ring.skip()
        if self._ring is not None and self._has_begun:
            self._ring.push(packet, self._packet_s)
        age_s = time.monotonic() - received.arrived_s
        checked = self._trust.check(packet)
        if received.n_missing or (age_s > self._late_s and self._skip is not _LATE):
            yield from self._drain()
            yield from self._cut()
            self._skip, self._was_late = _LATE, True
            self.dropped_packets += received.n_missing
        if self._skip is _LATE and not (packet.is_keyframe and age_s <= self._late_s / 2):
            self.dropped_packets += 1
            return
        yield from self._decode_intact(checked, received)

    def _place(self, received: Received) -> None:
        """Find the stream time of a packet's picture; where the stream's clock jumped, move the packet's times."""
        packet, (numerator, denominator) = received.packet, self._tick_s
        if self._by_arrival:
            packet.pts, packet.dts = int(received.arrived_s * denominator / numerator), None
        if packet.pts is not None:
            packet.pts -= self._shift
        if packet.dts is not None:
            packet.dts -= self._shift
        if packet.is_keyframe and not self.n_frames:
            self._begin()
        ticks = packet.pts if packet.pts is not None else packet.dts
        if ticks is None or not self._has_begun:
            return
        self._origin = ticks if self._origin is None else self._origin
        origin_s = self.clock.origin_s if self.n_frames else self._origin * numerator / denominator
        time_s = ticks * numerator / denominator - origin_s
        if (delay_s := self.arrivals.least_delay_s) is not None:
            expected_s = max(received.arrived_s - delay_s, self._packet_s + self.clock.step_s)
            if time_s > expected_s + _AHEAD_S or time_s < self._packet_s - _BACK_S:
                self._jump(packet, round((time_s - expected_s) * denominator / numerator))
                self.clock.discontinuities.append(Discontinuity(expected_s, time_s - expected_s))
                self._notice(f"the stream's clock jumped by {time_s - expected_s:.0f} s")
                time_s = expected_s
        self._packet_s = time_s
        if (step_s := self.arrivals.push(received.arrived_s, received.wall_s, time_s)) is not None:
            self._notice(f"this computer's clock was set by {step_s:.1f} s")

    def _begin(self) -> None:
        """The stream begins here, with a key frame; what was before could not be decoded."""
        self._has_begun, self._origin, self._packet_s = True, None, 0.0
        self.arrivals.jump()
        if self._ring is not None:
            self._ring.begin(self._stream)

    def _jump(self, packet: Packet, ticks: int) -> None:
        self._shift += ticks
        if packet.pts is not None:
            packet.pts -= ticks
        if packet.dts is not None:
            packet.dts -= ticks

    def _decode_intact(self, checked: CheckedPacket, received: Received) -> Iterator[Piece]:
        """Decode a packet, unless what it shows would be made up: see VideoReader."""
        packet, problem, lost_before = checked[:3]
        if problem is None and packet.is_keyframe:
            if lost_before and self._skip is None:
                yield from self._drain()
                self._add_gap("pictures before this one are missing")
            self._anew = packet.pts if self._skip or lost_before else None
            self._skip = None
        elif lost_before and problem is None:
            problem = "pictures that this one refers to are missing"
        if problem or self._skip:
            yield from self._drain()
            if self._skip is not _BEGINS:
                self._add_gap(problem or self._skip or _FOLLOWS)
                self._skip = self._skip or _FOLLOWS
            return
        if self._anew is not None and packet.pts is not None and packet.pts < self._anew:
            if self.n_frames:  # else the stream was joined there
                self._add_gap(_FOLLOWS)
            return
        yield from self._decode(packet)

    def _drain(self) -> Iterator[Piece]:
        """The pictures that are left in the decoder, which begins anew."""
        if self._in_decoder:
            yield from self._decode(None)
            self._restart()

    def _restart(self) -> None:
        self._codec.flush_buffers()
        self._in_decoder, self._decode_times = False, []

    def _decode(self, packet: "Packet | None") -> Iterator[Piece]:
        self._in_decoder = True
        if packet is not None and packet.pts is None and packet.dts is not None:
            heappush(self._decode_times, packet.dts)
        try:
            pictures = self._codec.decode(packet)
        except av.error.FFmpegError as exc:
            self._lose(exc.strerror or type(exc).__name__)
            return
        for picture in pictures:
            if picture.is_corrupt:
                self._lose("broken picture")
                return
            yield from self._show(picture)

    def _lose(self, reason: str) -> None:
        """Give up everything up to the next key frame."""
        self._add_gap(reason)
        self._restart()
        self._skip = _FOLLOWS

    def _show(self, picture: av.VideoFrame) -> Iterator[Piece]:
        """Add the next picture to its segment; the segments that are complete with it."""
        ticks = picture.pts
        if ticks is None:
            ticks = heappop(self._decode_times) if self._decode_times else None
        if ticks is None and not self.n_frames:  # RTSP states no time for the first one: it is a step before the next
            self._n_untimed += 1
            self._by_arrival = self._by_arrival or self._n_untimed >= _UNTIMED
            self._untimed.append(picture)
            return
        timestamp = None if ticks is None else ticks * self._tick_s[0] / self._tick_s[1]
        while self._untimed and timestamp is not None:
            yield from self._add(self._untimed[0], timestamp - len(self._untimed) / self.fps)
            self._untimed.popleft()
            self.clock.repaired_times += 1
        yield from self._add(picture, timestamp)

    def _add(self, picture: av.VideoFrame, timestamp: float | None) -> Iterator[Piece]:
        """Add a picture whose time is known, or which follows the one before."""
        is_hole = self.clock.push(timestamp)
        size = self._orientation.upright_size(picture)
        is_resized = self.size is not None and size != self.size
        if is_hole or is_resized:
            yield from self._cut(None if is_hole else self.clock.last_s)
        if is_resized:
            self._notice("the picture is now {} x {}, and was {} x {}".format(*size, *(self.size or size)))
            if self._ring is not None:
                self._ring.resize(size)
        self.size = size
        if self.gaps and self.n_frames == self._frames_at_gap:
            self.gaps[-1] = replace(self.gaps[-1], stop_s=self.clock.last_s)
        self.n_frames += 1
        self.last_s = self.clock.last_s
        self.changes.push(picture, self.last_s)
        self._buffer.append((self.last_s, picture))
        for segment in self._segmenter.push(self.last_s):
            yield self._piece(segment)
        while self._base < self._segmenter.first_needed:
            self._buffer.popleft()
            self._base += 1

    def _cut(self, next_s: float | None = None) -> Iterator[Piece]:
        """End the segment before a hole, a loss, or pictures of another size, which begin at next_s."""
        for segment in self._segmenter.finish():
            yield self._piece(segment, next_s)
        self._buffer.clear()
        self._base = self.n_frames
        self._segmenter = Segmenter(
            self._video_id, self._params, first_frame=self._base, first_index=self._segmenter.n_segments
        )

    def _piece(self, segment: Segment, next_s: float | None = None) -> Piece:
        """A complete segment; next_s: when the picture behind it is shown, if that is not in the buffer."""
        start, stop = (i - self._base for i in segment.span)
        start_s = self._buffer[start][0]
        if stop < len(self._buffer):
            stop_s = self._buffer[stop][0]
        else:
            stop_s = next_s if next_s is not None else self._buffer[-1][0] + self.clock.step_s
        frames = tuple(self._buffer[i - self._base][1] for i in segment.frame_indices)
        between_s = max(start_s - self._stop_s, 0.0)
        lost_s, late_s = (0.0, between_s) if self._was_late else (between_s, 0.0)
        self._stop_s, self._was_late = stop_s, False
        self.clock.forget(_LISTED)
        return Piece(segment, frames, start_s, stop_s, lost_s, late_s, self.state())

    def _add_gap(self, reason: str) -> None:
        """Note a lost packet, at its picture's time; those in a row are one gap, with the first one's reason."""
        self.lost_packets += 1
        self._notice("pictures are lost on the way")
        time_s = self._packet_s if self.n_frames else None
        if self.n_frames:
            self.clock.lose(self.clock.origin_s + self._packet_s)
        if self.gaps and self.n_frames == self._frames_at_gap:
            gap = self.gaps[-1]
            self.gaps[-1] = replace(gap, packets=gap.packets + 1)
            return
        self._frames_at_gap = self.n_frames
        self.gaps.append(Gap(time_s, 1, reason))
        if len(self.gaps) > _LISTED:
            first, second = self.gaps[:2]
            self.gaps[:2] = [Gap(first.time_s, first.packets + second.packets, "earlier losses", second.stop_s)]


def stated_rate(stream: av.VideoStream) -> float | None:
    """Pictures per second, as the stream states it or FFmpeg measured it; None where that makes no sense."""
    rates = (float(rate) for rate in (stream.average_rate, stream.guessed_rate) if rate)
    return next((rate for rate in islice(rates, 2) if 0.1 <= rate <= 240), None)


def measured_rate(times_s: list[float]) -> float:
    """Pictures per second by when packets arrived.

    Raises:
        VideoOpenError: there are not enough.
    """
    if len(times_s) < 2 or times_s[-1] <= times_s[0]:
        raise VideoOpenError("the stream states no rate, and its pictures do not come one after the other")
    return (len(times_s) - 1) / (times_s[-1] - times_s[0])
