"""Reads videos that separate, limited processes decode, through the interface of VideoReader."""

import atexit
import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType

import numpy as np

from headhunt_svc.errors import VideoDecodeError, VideoError, VideoLimitError, VideoOpenError
from headhunt_svc.names import escape, printable
from headhunt_svc.params import SegmentationParams
from headhunt_svc.types import FrameSpan, Segment
from headhunt_svc.video.container import VideoLimits, open_file
from headhunt_svc.video.memory import OPENING_MIB, PictureSize
from headhunt_svc.video.sandbox import wire
from headhunt_svc.video.sandbox.wire import ProcessLimits
from headhunt_svc.video.source import SegmentPictures, VideoSource

_ERRORS: dict[str, type[VideoError]] = {e.__name__: e for e in (VideoOpenError, VideoDecodeError, VideoLimitError)}
_STATUS_TIMEOUT_S = 5.0  # to wait for the exit status of a process
_BUFFER = 2**22  # bytes of pictures in a socket


class _Starter:
    """Runs the process that decoding processes are forked from: it has imported everything, and reads no video."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._owner = 0  # id of the process that started it

    def ensure(self) -> socket.socket:
        """The socket of the running process; starts one if there is none, or if it belongs to this one's parent."""
        with self._lock:
            own = self._owner == os.getpid()
            if self._control is not None and own and self._process is not None and self._process.poll() is None:
                return self._control
            if self._control is not None:
                self._control.close()
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "headhunt_svc.video.sandbox.worker", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    env={
                        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
                        "OMP_NUM_THREADS": "1",
                        "MALLOC_ARENA_MAX": "2",  # each takes 64 MiB of the address space that is limited
                    },
                    start_new_session=True,  # a signal to the server's group must not end it before its requests
                )
            self._owner = os.getpid()
            return self._control

    def stop(self) -> None:
        """End the process, and with it all decoding processes."""
        with self._lock:
            if self._control is not None and self._owner == os.getpid():
                self._control.close()
                self._control = None
                if self._process is not None:
                    self._process.wait()


_starter = _Starter()
atexit.register(_starter.stop)


def start() -> None:
    """Start the process that decoding processes are forked from, so that the first video does not wait for it."""
    _starter.ensure()


@dataclass(slots=True)
class SandboxedReader(VideoSource):
    """Reads one video in a separate process within limits: the same segments, times and gaps as VideoReader's.

    Pictures come through a socket, which blocks the decoder while the reader is busy.

    Raises:
        See VideoReader, and:
        VideoLimitError: more memory, processor time or waiting than `process` allows.
        VideoDecodeError: the decoding process crashed.
    """

    path: Path
    limits: VideoLimits = field(default_factory=VideoLimits)
    process: ProcessLimits = field(default_factory=ProcessLimits)
    number: int | None = None
    size: PictureSize = field(init=False)  # what the file states, once it is open
    _data: socket.socket = field(init=False, repr=False)
    _status: socket.socket = field(init=False, repr=False)  # closing it ends the process; its exit status comes here
    _allowed_mib: int = field(init=False, repr=False)
    _ends: list[socket.socket] = field(init=False, repr=False, default_factory=list)  # what `stop` shuts down
    _stopped: bool = field(init=False, repr=False, default=False)

    def __post_init__(self) -> None:
        self.video_id = self.video_id or escape(self.path.name)

    def __enter__(self) -> "SandboxedReader":
        video = open_file(self.path)
        self._allowed_mib = min(OPENING_MIB, self.process.memory_mib)
        try:
            self._data, data = socket.socketpair()
            self._status, status = socket.socketpair()
            with data, status:
                for end in (self._data, data):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
                self._data.settimeout(self.process.stall_s)
                self._status.settimeout(_STATUS_TIMEOUT_S)
                name = printable(str(self.path))
                job = wire.Job(path=name, stream=self.number, video=self.limits, process=self.process)
                fds = [video, data.fileno(), status.fileno()]
                socket.send_fds(_starter.ensure(), [job.model_dump_json().encode()], fds)
        finally:
            os.close(video)
        self._ends[:] = [self._data, self._status]
        if self._stopped:
            self.stop()
        try:
            opened = self._receive()
            if not isinstance(opened, wire.Opened):
                raise self._invalid()
            self._update(opened.progress)
            self.size = opened.size
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def stop(self) -> None:
        """End decoding from another thread, at once: whoever waits for pictures gets a VideoDecodeError."""
        self._stopped = True
        for end in list(self._ends):
            with contextlib.suppress(OSError):  # closed meanwhile
                end.shutdown(socket.SHUT_RDWR)

    def _close(self) -> None:
        """End the decoding process if it still runs."""
        self._data.close()
        self._status.close()

    def allow(self, memory_mib: int) -> None:
        """Let the process use so much memory, at most that of its limits; before `segments`, which allows that.

        Raises:
            See the class.
        """
        more_mib = min(memory_mib, self.process.memory_mib) - self._allowed_mib
        if more_mib <= 0:
            return
        try:
            self._status.sendall(wire.NUMBER.pack(more_mib))
        except OSError:
            raise self._died() from None
        status = self._next_status()
        if status != wire.ALLOWED:
            raise self._error_of(status)
        self._allowed_mib += more_mib

    def segments(self, params: SegmentationParams) -> Iterator[SegmentPictures]:
        """See VideoReader."""
        if self._allowed_mib == min(OPENING_MIB, self.process.memory_mib):
            self.allow(self.process.memory_mib)
        with contextlib.suppress(BrokenPipeError):  # _receive raises the reason
            wire.send(self._data, wire.Cut(params=params))
        while isinstance(message := self._receive(), wire.Piece):
            self._update(message.progress)
            height, width = message.shape[1:3]
            if message.shape[0] != params.frames_per_segment or height * width > self.limits.max_pixels:
                raise self._invalid()
            if height * width > self.size.width * self.size.height:
                stated = f"{self.size.width} x {self.size.height}"
                raise VideoLimitError(
                    f"{self.path}: pictures of {width} x {height}, larger than the file states ({stated}); "
                    "re-encode it with ffmpeg"
                )
            pictures = np.empty(message.shape, np.uint8)
            self._fill(pictures)
            span = FrameSpan(message.start, message.stop)
            segment = Segment(self.video_id, message.index, span, message.frame_indices)
            piece = SegmentPictures(segment, pictures, message.start_s, message.stop_s)
            del pictures  # else they stay while the next ones arrive
            yield piece
            del piece
        if not isinstance(message, wire.End):
            raise self._invalid()
        self._update(message.progress)

    def _update(self, progress: wire.Progress) -> None:
        gaps = [*self.gaps[: progress.gaps_from], *progress.state.gaps]
        self.update(replace(progress.state, gaps=gaps))

    def _receive(self) -> wire.Answer:
        try:
            message = wire.receive(self._data)
        except (EOFError, ConnectionError):
            raise self._died() from None
        except TimeoutError:
            raise self._stalled() from None
        except ValueError as exc:
            raise self._invalid() from exc
        if self._stopped:  # what had already arrived still lies in the socket
            raise self._error_of(None)
        if not isinstance(message, wire.Failed):
            return message
        if message.error == "memory":
            raise self._too_much_memory()
        if message.error == "bug":
            raise RuntimeError(f"{self.path}: decoding failed: {message.message}")
        raise _ERRORS[message.error](message.message)

    def _fill(self, pictures: np.ndarray) -> None:
        try:
            wire.receive_into(self._data, pictures.data.cast("B"))
        except (EOFError, ConnectionError):
            raise self._died() from None
        except TimeoutError:
            raise self._stalled() from None

    def _died(self) -> Exception:
        """The error of a decoding process that has ended."""
        return self._error_of(None if self._stopped else self._next_status())

    def _next_status(self) -> int | None:
        """The next number from the process that decoding processes are forked from; None if it has ended, too."""
        try:
            (status,) = wire.NUMBER.unpack(self._status.recv(wire.NUMBER.size))
        except (struct.error, OSError):
            return None
        return int(status)

    def _error_of(self, status: int | None) -> Exception:
        """The error for the exit status of a decoding process."""
        if status is None:
            return VideoDecodeError(f"{self.path}: the decoding process was stopped; try again")
        if status == -signal.SIGXCPU:
            return VideoLimitError(
                f"{self.path}: decoding took more than {self.process.cpu_s} s of processor time; "
                "cut it or raise decode_cpu_s"
            )
        if status < 0:
            cause = f"by signal {signal.Signals(-status).name}"
            return VideoDecodeError(f"{self.path}: the decoder crashed ({cause}); re-encode the video with ffmpeg")
        if status == wire.OUT_OF_MEMORY:
            return self._too_much_memory()
        return RuntimeError(f"{self.path}: the decoding process ended with status {status} and said nothing")

    def _too_much_memory(self) -> VideoError:
        if self._allowed_mib == self.process.memory_mib:
            way_out = "scale it down or raise decode_memory_mib"
        else:
            way_out = "re-encode it at a constant rate (ffmpeg -r 25), scale it down, or raise memory_mib"
        return VideoLimitError(f"{self.path}: decoding needs more than {self._allowed_mib} MiB; {way_out}")

    def _stalled(self) -> VideoError:
        return VideoLimitError(
            f"{self.path}: no new pictures within {self.process.stall_s:g} s; "
            "re-encode the video or raise decode_stall_s"
        )

    def _invalid(self) -> VideoError:
        return VideoDecodeError(f"{self.path}: the decoder gave an answer that makes no sense; is the file intact?")
