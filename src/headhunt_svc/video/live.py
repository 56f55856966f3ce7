"""A camera's live stream as a video: the detector scores it like a file, segment by segment, as its pictures come."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType

from headhunt_svc.params import SegmentationParams
from headhunt_svc.video.container import VideoLimits
from headhunt_svc.video.live_decoder import LiveDecoder, Piece, measured_rate, stated_rate
from headhunt_svc.video.pictures import Orientation
from headhunt_svc.video.receiving import (
    WITHOUT_CLOCK,
    AddressSource,
    LoopedFile,
    LoopSource,
    Receiver,
    Source,
)
from headhunt_svc.video.ring import PacketRing
from headhunt_svc.video.source import SegmentPictures, VideoSource
from headhunt_svc.video.streams import StreamAddress

__all__ = ["LiveFacts", "LiveVideo", "LoopedFile"]

_POLL_S = 0.1  # between two looks whether somebody wants to stop
_JOIN_S = 2.0  # to wait for the decoder to stop
_MEASURED = 5  # packets whose arrival tells the rate of a stream that does not state it


@dataclass(frozen=True, slots=True)
class LiveFacts:
    """What is known about a live stream now.

    last_picture: when the last picture was taken that shows something new (UTC); while the stream is frozen, that is
    when it froze. offered_s: stream time so far, up to the last complete segment: offered_s = taken_s (by the model) +
    dropped_s (the model or the decoder was behind) + lost_s (no pictures arrived) + waiting_s (for the model).
    lost_packets: could not be decoded to what the camera sent; dropped_packets: the decoder was behind.
    wall_clock_steps: how often this computer's clock was set. problem: what is wrong now, or was a moment ago.
    ends: why there is no more.
    """

    last_picture: datetime | None = None
    frozen: bool = False
    offered_s: float = 0.0
    taken_s: float = 0.0
    dropped_s: float = 0.0
    lost_s: float = 0.0
    waiting_s: float = 0.0
    dropped_segments: int = 0
    lost_packets: int = 0
    dropped_packets: int = 0
    size: tuple[int, int] | None = None
    wall_clock_steps: int = 0
    problem: str | None = None
    ends: str | None = None


class LiveVideo(VideoSource):
    """One connection to a camera; use it in a `with`, and read `segments` once.

    Segments come as soon as they are complete. Where they are taken more slowly, the oldest that wait are dropped.
    When the stream breaks off, `segments` ends, and `ends` says why. Another thread may ask for facts and times.

    timeout_s: for opening, and between two pictures. queue: how many segments may wait. late_s: see LiveDecoder.
    freeze_s: after so long without a new picture, the stream is frozen; None: never. stop: returns True to end soon.
    ring: gets the received packets.

    Raises:
        VideoOpenError: the stream cannot be opened.
    """

    def __init__(
        self,
        address: StreamAddress | LoopedFile,
        video_id: str,
        *,
        timeout_s: float = 10.0,
        queue: int = 2,
        late_s: float = 5.0,
        freeze_s: float | None = 60.0,
        stop: Callable[[], bool] = lambda: False,
        ring: PacketRing | None = None,
    ) -> None:
        super().__init__(video_id=video_id, is_live=True)
        self.address, self.ring = address, ring
        self._timeout_s, self._late_s, self._freeze_s = timeout_s, late_s, freeze_s
        self._queue_length, self._stop = queue, stop
        self._closed = threading.Event()
        self._changed = threading.Condition()
        self._waiting: deque[Piece] = deque()
        self._counts = LiveFacts()
        self._is_done = False  # nothing more is decoded
        self._error: BaseException | None = None
        self._orientation = Orientation()
        self._thread: threading.Thread | None = None
        self._decoder: LiveDecoder | None = None
        self.ends: str | None = None

    def __enter__(self) -> "LiveVideo":
        source = self._open()
        try:
            self._receiver = Receiver(source, self.video_id, self._stopped)
        except BaseException:
            source.close()
            raise
        try:
            rate = None if source.format_name in WITHOUT_CLOCK else stated_rate(source.stream)
            self.fps = rate or measured_rate(self._receiver.arrivals(_MEASURED, self._timeout_s))
            self._decoder = LiveDecoder(
                source, self._receiver, self.video_id, self.fps, self._late_s, VideoLimits().max_pixels, self.ring
            )
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _open(self) -> Source:
        if isinstance(self.address, LoopedFile):
            return LoopSource(self.address, self._wait)
        return AddressSource(self.address, self._timeout_s)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(_JOIN_S)
        else:
            self._receiver.release()
        with self._changed:
            self._drop_waiting(0)

    def _stopped(self) -> bool:
        return self._closed.is_set() or self._stop()

    def _wait(self, seconds: float) -> bool:
        """Wait until it is time, or somebody stops the video; has anybody?"""
        until_s = time.monotonic() + seconds
        while not self._stopped() and (left_s := until_s - time.monotonic()) > 0:
            self._closed.wait(min(left_s, _POLL_S))
        return self._stopped()

    def segments(self, params: SegmentationParams) -> Iterator[SegmentPictures]:
        """The stream's segments, each when it is complete; ends with the stream."""
        assert self._decoder is not None
        pieces = self._decoder.pieces(params)
        self._thread = threading.Thread(
            target=self._decode, args=(pieces,), name=f"decode {self.video_id}", daemon=True
        )
        self._thread.start()
        while (piece := self._take()) is not None:
            self.update(piece.state)
            pictures = self._orientation.all_upright(piece.frames)
            segment, start_s, stop_s = piece.segment, piece.start_s, piece.stop_s
            del piece  # else its frames stay while the model works
            yield SegmentPictures(segment, pictures, start_s, stop_s)
            del pictures

    def _take(self) -> Piece | None:
        """The next segment, when there is one."""
        with self._changed:
            while not (self._waiting or self._is_done or self._stopped()):
                self._changed.wait(_POLL_S)
            if self._stopped():
                self._drop_waiting(0)
                self.ends = "closed"
                return None
            if self._waiting:
                piece = self._waiting.popleft()
                length_s = piece.stop_s - piece.start_s
                self._count(taken_s=length_s, waiting_s=-length_s)
                return piece
            if self._error is not None:
                raise self._error
            self.ends = self._receiver.ends
            return None

    def _decode(self, pieces: Iterator[Piece]) -> None:
        """Run in a thread of its own: decode until the stream ends."""
        error: BaseException | None = None
        try:
            for piece in pieces:
                self._offer(piece)
        except BaseException as exc:  # raised again where the segments are taken
            error = exc
        finally:
            with self._changed:
                self._error, self._is_done = error, True
                self._changed.notify_all()
            self._receiver.release()

    def _offer(self, piece: Piece) -> None:
        length_s = piece.stop_s - piece.start_s
        with self._changed:
            between_s = piece.lost_s + piece.late_s
            self._count(offered_s=length_s + between_s, waiting_s=length_s, lost_s=piece.lost_s, dropped_s=piece.late_s)
            self._waiting.append(piece)
            self._drop_waiting(self._queue_length)
            self._changed.notify_all()

    def _drop_waiting(self, kept: int) -> None:
        """Drop the oldest segments that wait, but for a number that is kept."""
        while len(self._waiting) > kept:
            piece = self._waiting.popleft()
            length_s = piece.stop_s - piece.start_s
            self._count(dropped_s=length_s, waiting_s=-length_s, dropped_segments=1)

    def _count(self, **more: float) -> None:
        self._counts = replace(self._counts, **{name: getattr(self._counts, name) + n for name, n in more.items()})

    def utc(self, time_s: float) -> datetime:
        """When the picture at time_s of the stream was taken, by this computer's clock.

        Raises:
            ValueError: no picture has arrived yet.
        """
        if self._decoder is None:
            raise ValueError("the stream is not open yet")
        return self._decoder.arrivals.utc(time_s)

    def facts(self) -> LiveFacts:
        """What is known now."""
        with self._changed:
            counts = self._counts
        decoder = self._decoder
        if decoder is None:
            return replace(counts, problem="the stream is not open yet")
        last_s, changed_s = decoder.last_s, decoder.changes.changed_s
        if last_s is None or changed_s is None:
            return replace(counts, problem=decoder.problem, ends=self.ends)
        frozen = self._freeze_s is not None and last_s - changed_s >= self._freeze_s
        problem = f"the picture has not changed for {last_s - changed_s:.0f} s" if frozen else decoder.problem
        return replace(
            counts,
            last_picture=self.utc(changed_s if frozen else last_s),
            frozen=frozen,
            lost_packets=decoder.lost_packets,
            dropped_packets=decoder.dropped_packets,
            size=decoder.size,
            wall_clock_steps=decoder.arrivals.steps,
            problem=problem,
            ends=self.ends,
        )
