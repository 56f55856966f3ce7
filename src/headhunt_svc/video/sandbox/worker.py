"""Decodes videos for SandboxedReader: `main` has imported everything and forks one limited process for each video.

The process for the next video is forked ahead, because forking takes a third of the time to open a short file. It waits
for its video with nothing open but a socket.
"""

import contextlib
import importlib
import os
import pkgutil
import resource
import selectors
import signal
import socket
import struct
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Never

import av

from headhunt_svc.errors import VideoDecodeError, VideoLimitError, VideoOpenError
from headhunt_svc.video.memory import OPENING_MIB
from headhunt_svc.video.reader import VideoReader
from headhunt_svc.video.sandbox import seccomp, wire

_PDEATHSIG, _DUMPABLE = 1, 4  # prctl
_JOBS = 3  # the only file descriptor of a process that waits for its video, besides /dev/null
_VIDEO, _DATA = 3, 4  # those of a decoding process
_FDS = struct.Struct("3i")  # video, data, status: the file descriptors that come with a job
_MAX_FILES = 16
MAX_JOB = 2**16


@dataclass(slots=True)
class _Started:
    """A running decoding process: its id, its pidfd, and the socket that its exit status goes to."""

    pid: int
    process: int
    status: socket.socket
    ended: bool = False


class _Spare:
    """Forks the process of the next video ahead."""

    def __init__(self) -> None:
        self._pid = 0
        self._jobs: socket.socket | None = None  # to the process that waits; None: there is none

    def fork(self) -> socket.socket:
        """The socket of the process that waits; forks one if there is none."""
        if self._jobs is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._pid = os.fork()
                if not self._pid:
                    _decoding_process(theirs.fileno())
            self._jobs = ours
        return self._jobs

    def give(self, job: memoryview, fds: list[int]) -> int:
        """Give the process that waits its video; its id. If it has died meanwhile, another one gets the video."""
        waiting = self.fork()
        try:
            socket.send_fds(waiting, [job], fds)
        except OSError:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._close()
            socket.send_fds(self.fork(), [job], fds)
        self._close()
        return self._pid

    def _close(self) -> None:
        if self._jobs is not None:
            self._jobs.close()
            self._jobs = None


def main(control_fd: int) -> None:
    """Run jobs from the socket until it closes; send each exit status over the socket that came with the job."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a supervisor may send them to all children of the server,
        signal.signal(number, signal.SIG_IGN)  # but the server decides when decoding stops
    os.environ.clear()
    for module in pkgutil.walk_packages(av.__path__, "av."):  # a confined process cannot import
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    control = socket.socket(fileno=control_fd)
    spare = _Spare()
    spare.fork()
    with selectors.DefaultSelector() as events:
        events.register(control, selectors.EVENT_READ)
        while True:
            for key, _ in events.select():
                if key.fileobj is control:
                    if not _begin(control, spare, events):
                        return  # and the decoding processes with it (PDEATHSIG)
                elif key.fileobj != key.data.status or not _allow(key.data):
                    _end(key.data, events)
                    with contextlib.suppress(OSError):  # no more processes now: the next video tries again
                        spare.fork()  # not before: while a video begins, both cores of a small machine are busy


def _begin(control: socket.socket, spare: _Spare, events: selectors.BaseSelector) -> bool:
    """Give a job to a decoding process and watch for its end; False: the reader's process has closed the socket.

    The job's text is erased, so that no process that is forked later holds a name of this video.
    """
    text = bytearray(MAX_JOB)
    length, ancillary, _, _ = control.recvmsg_into([text], socket.CMSG_LEN(_FDS.size))
    if not length:
        return False
    video, data, status = _FDS.unpack(ancillary[0][2])
    pid = spare.give(memoryview(text)[:length], [video, data])
    text[:length] = bytes(length)
    os.close(video)
    os.close(data)
    started = _Started(pid, os.pidfd_open(pid), socket.socket(fileno=status))
    events.register(started.process, selectors.EVENT_READ, started)  # it has ended
    events.register(started.status, selectors.EVENT_READ, started)  # its reader has closed
    return True


def _allow(started: _Started) -> bool:
    """Give a decoding process the memory that its reader asks for, within its hard limit; False: the reader is gone."""
    if started.ended:
        return True
    try:
        (more_mib,) = wire.NUMBER.unpack(started.status.recv(wire.NUMBER.size))
        soft, hard = resource.prlimit(started.pid, resource.RLIMIT_AS)
        resource.prlimit(started.pid, resource.RLIMIT_AS, (min(soft + more_mib * 2**20, hard), hard))
        started.status.sendall(wire.NUMBER.pack(wire.ALLOWED))
    except (OSError, struct.error):
        return False
    return True


def _end(started: _Started, events: selectors.BaseSelector) -> None:
    """Kill a decoding process if it still runs, and send its exit status."""
    if started.ended:
        return  # both events came together
    started.ended = True
    signal.pidfd_send_signal(started.process, signal.SIGKILL)
    _, status = os.waitpid(started.pid, 0)
    events.unregister(started.process)
    events.unregister(started.status)
    os.close(started.process)
    with contextlib.suppress(OSError), started.status as reader:  # which may have closed
        reader.sendall(wire.NUMBER.pack(os.waitstatus_to_exitcode(status)))


def _decoding_process(jobs: int) -> Never:
    """Wait for one video, decode it in this process, without the parent's files and with limits, and exit."""
    try:
        seccomp.prctl(_PDEATHSIG, signal.SIGKILL)
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        os.dup2(jobs, _JOBS)
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        os.closerange(_JOBS + 1, most)
        if os.getppid() == 1:
            os._exit(0)
        waiting = socket.socket(fileno=_JOBS)
        text, (video, data), _, _ = socket.recv_fds(waiting, MAX_JOB, 2)
        waiting.detach()
        os.dup2(video, _VIDEO)  # in place of the socket that brought it
        os.dup2(data, _DATA)
        os.closerange(_DATA + 1, most)
        job = wire.Job.model_validate_json(text)
        answers = socket.socket(fileno=_DATA)
        _limit(job.process)
        _decode(job, answers)
        os._exit(0)
    except MemoryError:
        os._exit(wire.OUT_OF_MEMORY)
    except BaseException:
        os._exit(1)


def _limit(limits: wire.ProcessLimits) -> None:
    """Set resource limits and, where there is one, the filter of system calls."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    opening, memory = (used + mib * 2**20 for mib in (min(OPENING_MIB, limits.memory_mib), limits.memory_mib))
    for resource_id, soft, hard in (
        (resource.RLIMIT_AS, opening, memory),  # `_allow` raises it; a confined process cannot
        (resource.RLIMIT_CPU, limits.cpu_s, limits.cpu_s + 1),
        (resource.RLIMIT_NOFILE, _MAX_FILES, _MAX_FILES),
        (resource.RLIMIT_FSIZE, 0, 0),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        resource.setrlimit(resource_id, (soft, hard))
    seccomp.prctl(_DUMPABLE, 0)
    if seccomp.available():
        seccomp.confine()


def _decode(job: wire.Job, data: socket.socket) -> None:
    """Send a video's segments, or the error that ended it."""
    gaps_sent = 0

    def progress(reader: VideoReader) -> wire.Progress:
        nonlocal gaps_sent
        first = max(gaps_sent - 1, 0)  # the last gap may have grown
        gaps_sent = len(reader.gaps)
        return wire.Progress(state=replace(reader.state(), gaps=reader.gaps[first:]), gaps_from=first)

    try:
        with VideoReader(Path(job.path), job.video, _VIDEO, job.stream) as reader:
            wire.send(data, wire.Opened(progress=progress(reader), size=reader.size))
            cut = wire.Cut.model_validate_json(wire.receive_text(data))
            for piece in reader.segments(cut.params):
                message = wire.Piece(
                    progress=progress(reader),
                    index=piece.segment.index,
                    start=piece.segment.span.start,
                    stop=piece.segment.span.stop,
                    frame_indices=piece.segment.frame_indices,
                    start_s=piece.start_s,
                    stop_s=piece.stop_s,
                    shape=piece.pictures.shape,
                )
                wire.send(data, message, piece.pictures)
                del piece  # else its pictures stay while the next segment is decoded
            wire.send(data, wire.End(progress=progress(reader)))
    except EOFError:
        return
    except VideoOpenError as exc:
        _fail(data, "VideoOpenError", str(exc))
    except VideoDecodeError as exc:
        _fail(data, "VideoDecodeError", str(exc))
    except VideoLimitError as exc:
        _fail(data, "VideoLimitError", str(exc))
    except (MemoryError, BlockingIOError):  # EAGAIN: no memory for the stack of one of FFmpeg's threads
        _fail(data, "memory", "")
    except Exception as exc:
        _fail(data, "bug", f"{type(exc).__name__}: {exc}")


def _fail(data: socket.socket, error: wire.Error, message: str) -> None:
    wire.send(data, wire.Failed(error=error, message=message[:4000]))


if __name__ == "__main__":
    main(int(sys.argv[1]))
