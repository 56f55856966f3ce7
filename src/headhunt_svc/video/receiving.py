"""Receives the packets of a live stream, or of a file that stands for one, in a thread that waits for no decoder."""

import contextlib
import os
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple, TypeAlias, cast

import av
import av.error

from headhunt_svc.errors import VideoError, VideoLimitError
from headhunt_svc.video.container import RAW_FORMATS, VideoLimits, open_container, open_file
from headhunt_svc.video.rtp_losses import Losses
from headhunt_svc.video.streams import StreamAddress, open_stream

_POLL_S = 0.1  # between two looks whether somebody wants to stop
_JOIN_S = 0.5  # to wait for a thread whose stream says something; a silent one ends at its timeout
WITHOUT_CLOCK = RAW_FORMATS | {"mpjpeg"}  # formats for which FFmpeg makes up a clock of 25 pictures per second
Packet: TypeAlias = "av.Packet[av.VideoStream]"


@dataclass(frozen=True, slots=True)
class LoopedFile:
    """A file that is shown again and again in real time, as a camera would."""

    path: Path


class StreamEndedError(Exception):
    """The stream gives nothing more; the message says why."""


class Source(ABC):
    """Where packets come from."""

    stream: av.VideoStream
    format_name: str

    @abstractmethod
    def packets(self) -> Generator[Packet]:
        """The packets of the pictures, each when it arrives; is_corrupt: data of it may be lost.

        Raises:
            StreamEndedError: there are no more.
        """

    @abstractmethod
    def close(self) -> None:
        """Give everything back; no other method runs."""


class AddressSource(Source):
    """A stream from an address. Raises VideoOpenError."""

    def __init__(self, address: StreamAddress, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._losses = Losses() if address.kind == "rtsp" else None
        with self._losses or contextlib.nullcontext():
            self._container, self.stream = open_stream(address, timeout_s)
        self.format_name = self._container.format.name

    def packets(self) -> Generator[Packet]:
        """See Source. Sound alone is no picture: without pictures for timeout_s, the stream has ended."""
        number, asked_s = self.stream.index, time.monotonic()
        last_s = asked_s
        try:
            with self._losses or contextlib.nullcontext():
                for packet in self._container.demux():
                    now_s = time.monotonic()
                    if packet.stream_index == number and packet.size:
                        last_s = now_s
                        if self._losses is not None and self._losses.may_concern_next(now_s - asked_s):
                            packet.is_corrupt = True
                        yield cast(Packet, packet)
                    elif now_s - last_s > self._timeout_s:
                        raise StreamEndedError(f"no picture for {self._timeout_s:g} s")
                    asked_s = time.monotonic()
        except av.error.FFmpegError as exc:
            if time.monotonic() - asked_s >= self._timeout_s:
                raise StreamEndedError(f"no data for {self._timeout_s:g} s") from None
            reason = exc.strerror or type(exc).__name__  # all of its text holds the password
            raise StreamEndedError(f"the connection broke ({reason})") from None
        raise StreamEndedError("the stream ended")

    def close(self) -> None:
        """See Source."""
        self._container.close()


class LoopSource(Source):
    """A file's packets in real time, again and again; its times go on.

    wait: for so many seconds; returns True to stop.

    Raises:
        VideoOpenError, VideoLimitError: it cannot be read.
    """

    def __init__(self, file: LoopedFile, wait: Callable[[float], bool]) -> None:
        self._path, self._wait = file.path, wait
        self._limits = VideoLimits()
        self._fd, self._container, self.stream = self._open()
        codec = self.stream.codec_context
        self.format_name = self._container.format.name
        if codec is None or codec.codec.name not in self._limits.codecs or self.format_name in RAW_FORMATS:
            self.close()
            raise VideoLimitError(f"{self._path}: a file to loop must have a codec that is allowed, and times")

    def _open(self) -> tuple[int, av.container.InputContainer, av.VideoStream]:
        fd = open_file(self._path)
        try:
            return fd, *open_container(self._path, self._limits, fd)
        except BaseException:
            os.close(fd)
            raise

    def packets(self) -> Generator[Packet]:
        """See Source."""
        started_s, shift = time.monotonic(), 0
        first: int | None = None
        for _ in count():
            try:
                fd, container, stream = self._open()
            except VideoError as exc:
                raise StreamEndedError(str(exc)) from exc
            try:
                start: int | None = None
                stop = 0
                for packet in container.demux(stream):
                    place = packet.dts if packet.dts is not None else packet.pts
                    if not packet.size or place is None:
                        continue
                    first = place if first is None else first
                    shown = packet.pts if packet.pts is not None else place
                    if not packet.is_discard:
                        start = shown if start is None else min(start, shown)
                        stop = max(stop, shown + max(packet.duration or 0, 1))
                    _move(packet, shift)
                    due_s = started_s + float((place + shift - first) * packet.time_base)
                    if self._wait(due_s - time.monotonic()):
                        return
                    yield packet
            except av.error.FFmpegError as exc:
                raise StreamEndedError(f"{self._path}: {exc.strerror or type(exc).__name__}") from exc
            finally:
                container.close()
                os.close(fd)
            if start is None or stop <= start:
                raise StreamEndedError(f"{self._path}: no picture has a time")
            shift += stop - start

    def close(self) -> None:
        """See Source."""
        self._container.close()
        os.close(self._fd)


def _move(packet: Packet, shift: int) -> None:
    if packet.pts is not None:
        packet.pts += shift
    if packet.dts is not None:
        packet.dts += shift


class Received(NamedTuple):
    """A packet, when it arrived (monotonic clock, wall clock), and how many before it had no room."""

    packet: Packet
    arrived_s: float
    wall_s: float
    n_missing: int


class Receiver:
    """Holds received packets until they are decoded. most_bytes: beyond, what waits is thrown away and counted."""

    def __init__(self, source: Source, name: str, stopped: Callable[[], bool], most_bytes: int = 2**26) -> None:
        self._source, self._stopped, self._most_bytes = source, stopped, most_bytes
        self._waiting: deque[Received] = deque()
        self._changed = threading.Condition()
        self._n_bytes = self._n_missing = 0
        self._error: BaseException | None = None
        self.ends: str | None = None
        self._released = threading.Event()  # nobody decodes any more: the container may be closed
        self._thread = threading.Thread(target=self._work, name=f"receive {name}", daemon=True)
        self._thread.start()

    def take(self) -> Received | None:
        """The next packet, when there is one; None at the end, or when stopped."""
        with self._changed:
            while not self._waiting and self.ends is None and self._error is None and not self._stopped():
                self._changed.wait(_POLL_S)
            if self._stopped():
                return None
            if self._waiting:
                received = self._waiting.popleft()
                self._n_bytes -= received.packet.size
                return received
            if self._error is not None:
                raise self._error
            return None

    def arrivals(self, n: int, timeout_s: float) -> list[float]:
        """When the first n packets that wait arrived, as soon as they are there; fewer after timeout_s."""
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._waiting) >= n or self.ends or self._error or self._stopped(), timeout_s
            )
            return [received.arrived_s for received in islice(self._waiting, n)]

    def release(self) -> None:
        """Nobody decodes any more: close the source, as soon as it does not read."""
        self._released.set()
        self._thread.join(_JOIN_S)

    def _work(self) -> None:
        try:
            self._receive()
        except StreamEndedError as exc:
            self._end(str(exc), None)
        except BaseException as exc:  # raised again where the packets are taken
            self._end(None, exc)
        else:
            self._end("closed", None)
        self._released.wait()
        self._source.close()

    def _receive(self) -> None:
        with contextlib.closing(self._source.packets()) as packets:
            for packet in packets:
                if self._stopped():
                    return
                with self._changed:
                    if self._n_bytes + packet.size > self._most_bytes:
                        self._n_missing += len(self._waiting)
                        self._waiting.clear()
                        self._n_bytes = 0
                    self._waiting.append(Received(packet, time.monotonic(), time.time(), self._n_missing))
                    self._n_bytes, self._n_missing = self._n_bytes + packet.size, 0
                    self._changed.notify()

    def _end(self, why: str | None, error: BaseException | None) -> None:
        with self._changed:
            self.ends, self._error = why, error
            self._changed.notify_all()
