"""Keeps the last received packets of a camera, and cuts clips out of them without encoding anew."""

import io
import tempfile
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from av.bitstream import BitStreamFilterContext

from headhunt_svc.errors import OutputError, unwritable
from headhunt_svc.storage.files import write_file

_IN_MP4 = frozenset({"h264", "hevc", "av1", "mpeg4"})  # browsers play most of these; others go into Matroska
_WITH_SETS = frozenset({"h264", "hevc", "av1", "mpeg4", "mpeg2video"})
_TICKS = 90_000  # a second in clips


@dataclass(frozen=True, slots=True)
class _Held:
    """A packet: when its picture is shown (stream time), and its data; in a clip's temporary file instead: where."""

    time_s: float
    is_key: bool
    size: int
    data: bytes = b""


class _Template:
    """What a clip must state about a stream: codec, size, parameter sets. It outlives the connection."""

    def __init__(
        self, stream: av.VideoStream, size: tuple[int, int] | None = None, extradata: bytes | None = None
    ) -> None:
        self._container = av.open(io.BytesIO(), "w", format="matroska")
        self.stream = self._container.add_stream_from_template(stream, opaque=True)
        codec = self.stream.codec_context
        self.ending = ".mp4" if codec.codec.canonical_name in _IN_MP4 else ".mkv"
        if size is not None:
            codec.width, codec.height = size
        if extradata is not None:
            codec.extradata = extradata

    def resized(self, size: tuple[int, int], key_frame: bytes) -> "_Template":
        """The same for pictures of another size, whose parameter sets are in a key frame."""
        return _Template(self.stream, size, _parameter_sets(self.stream, key_frame))


def _parameter_sets(stream: av.VideoStream, key_frame: bytes) -> bytes | None:
    """The parameter sets at the beginning of a key frame, for codecs that have them there."""
    if stream.codec_context.codec.canonical_name not in _WITH_SETS:
        return None
    packet = av.Packet(key_frame)
    packet.stream, packet.is_keyframe = stream, True
    for filtered in BitStreamFilterContext("extract_extradata", stream).filter(packet):
        if filtered.has_sidedata("new_extradata"):
            return bytes(filtered.get_sidedata("new_extradata"))
    return None


class PacketRing:
    """The packets of one camera from key frame to key frame, as received: at least the last `seconds`.

    Two threads may use it: the stream's, which pushes, and the one that starts and finishes clips. It outlives
    connections, each of which begins it anew.

    most_bytes: beyond, the oldest packets go. clip_most_s: a clip ends after so many seconds.
    """

    def __init__(self, seconds: float = 30.0, most_bytes: int = 2**26, clip_most_s: float = 120.0) -> None:
        self._seconds, self._most_bytes, self._clip_most_s = seconds, most_bytes, clip_most_s
        self._lock = threading.Lock()
        self._groups: deque[list[_Held]] = deque()  # each begins with a key frame
        self._writers: list[ClipWriter] = []
        self._template: _Template | None = None
        self._is_broken = False  # packets are missing since the last key frame
        self.n_bytes = 0

    def begin(self, stream: av.VideoStream) -> None:
        """A stream begins, with times of its own: clips that are open hold only what came before."""
        template = _Template(stream)
        self.end()
        with self._lock:
            self._template = template

    def skip(self) -> None:
        """Packets are missing here: nothing more is held until the next key frame."""
        with self._lock:
            self._is_broken = True

    def resize(self, size: tuple[int, int]) -> None:
        """The pictures since the last key frame have another size: clips that are open end before."""
        with self._lock:
            group = self._groups.pop() if self._groups else []
            for writer in self._writers:
                writer.end_before(group[0].time_s if group else None)
            template = self._template
            self._groups.clear()
            self._writers.clear()
            if group and template is not None:
                self._template = template.resized(size, group[0].data)
                self._groups.append(group)
            self.n_bytes = sum(held.size for held in group)

    def end(self) -> None:
        """The connection is over: forget its packets. Clips that are open keep what they hold."""
        with self._lock:
            self._groups.clear()
            self._writers.clear()
            self._template, self.n_bytes = None, 0

    def push(self, packet: "av.Packet[av.VideoStream]", time_s: float) -> None:
        """Add the next received packet; time_s: when its picture is shown, in stream time."""
        held = _Held(time_s, packet.is_keyframe, packet.size, bytes(packet))
        with self._lock:
            if held.is_key:
                self._groups.append([])
                self._is_broken = False
            elif not self._groups or self._is_broken:
                return
            self._groups[-1].append(held)
            self.n_bytes += held.size
            while self._has_too_much(time_s):
                self.n_bytes -= sum(one.size for one in self._groups.popleft())
            self._writers = [writer for writer in self._writers if writer.push(held)]

    def _has_too_much(self, now_s: float) -> bool:
        if not self._groups:
            return False
        is_old = len(self._groups) > 1 and self._groups[1][0].time_s <= now_s - self._seconds
        return is_old or self.n_bytes > self._most_bytes

    def start_clip(self, path: Path, since_s: float) -> "ClipWriter":
        """Begin a clip at the key frame at or before since_s, or at the oldest one that is held.

        path: without its ending; the clip has .mp4, or .mkv where MP4 does not hold the codec.

        Raises:
            OutputError: nothing can be written beside the path.
        """
        writer = ClipWriter(path, self._clip_most_s)
        with self._lock:
            if self._template is None:
                return writer
            writer.begin(self._template)
            first = max((i for i, group in enumerate(self._groups) if group[0].time_s <= since_s), default=0)
            for group in list(self._groups)[first:]:
                for held in group:
                    writer.push(held)
            self._writers.append(writer)
        return writer


class ClipWriter:
    """A clip that grows until it is finished, or is as long as a clip may be.

    Its packets wait in a file without a name, so a killed process leaves nothing behind.
    """

    def __init__(self, path: Path, most_s: float) -> None:
        self._path, self._most_s = path, most_s
        self._lock = threading.Lock()
        self._template: _Template | None = None
        self._packets: list[_Held] = []
        self._problem: OSError | None = None
        self._is_done = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=path.parent)
        except OSError as exc:
            raise unwritable(path, exc) from exc

    def begin(self, template: _Template) -> None:
        """What the stream is."""
        self._template = template

    def push(self, held: _Held) -> bool:
        """Add a packet; does the clip take more?"""
        with self._lock:
            is_full = bool(self._packets) and held.time_s - self._packets[0].time_s >= self._most_s
            if self._is_done or is_full or self._problem or not (self._packets or held.is_key):
                return not (self._is_done or is_full or self._problem)
            try:
                self._file.write(held.data)
            except OSError as exc:
                self._problem = exc
                return False
            self._packets.append(_Held(held.time_s, held.is_key, held.size))
            return True

    def end_before(self, time_s: float | None) -> None:
        """Take nothing more, and forget the packets from the last key frame on, if its picture is at time_s."""
        with self._lock:
            places = (i for i, held in enumerate(self._packets) if held.is_key and held.time_s == time_s)
            del self._packets[next(places, len(self._packets)) :]

    @property
    def start_s(self) -> float | None:
        """When its first picture is, in stream time; None: it has none."""
        return self._packets[0].time_s if self._packets else None

    def finish(self, until_s: float) -> Path | None:
        """Write the clip up to the picture at until_s, or to the last one received; None: none was received.

        Raises:
            OutputError: the clip could not be written.
        """
        with self._lock:
            self._is_done = True
            try:
                if self._problem:
                    raise unwritable(self._path, self._problem) from self._problem
                if self._template is None or not self._packets:
                    return None
                template = self._template
                path = self._path.with_name(self._path.name + template.ending)
                write_file(path, lambda part: self._write(part, template, until_s))
                return path
            except (av.error.FFmpegError, ValueError) as exc:
                raise OutputError(f"{self._path}: no clip can be made of the camera's packets ({exc})") from exc
            finally:
                self._file.close()

    def abandon(self) -> None:
        """Forget the clip."""
        with self._lock:
            self._is_done = True
            self._file.close()

    def _write(self, path: Path, template: _Template, until_s: float) -> None:
        shown, decoded = _ticks(self._packets)
        until = round((until_s - self._packets[0].time_s) * _TICKS)
        mp4 = template.ending == ".mp4"
        options = {"movflags": "faststart"} if mp4 else {}
        self._file.seek(0)
        with av.open(str(path), "w", format="mp4" if mp4 else "matroska", options=options) as output:
            copied = output.add_stream_from_template(template.stream, opaque=True)
            lengths = [*np.diff(decoded), 0]
            lengths[-1] = lengths[-2] if len(lengths) > 1 else _TICKS // 10
            for held, pts, dts, length in zip(self._packets, shown, decoded, lengths, strict=True):
                data = self._file.read(held.size)
                if dts >= until and dts > 0:  # what follows is shown later, and nothing before needs it
                    break
                packet = av.Packet(data)
                packet.pts, packet.dts, packet.duration = int(pts), int(dts), int(length)
                packet.time_base, packet.is_keyframe, packet.stream = Fraction(1, _TICKS), held.is_key, copied
                output.mux(packet)


def _ticks(packets: Sequence[_Held]) -> tuple[np.ndarray, np.ndarray]:
    """When the pictures of packets are shown and decoded; the first one of all is shown at 0.

    They are decoded in the order of the packets, at a time when another picture is shown, and as late as possible.
    """
    shown = np.round((np.array([held.time_s for held in packets]) - packets[0].time_s) * _TICKS).astype(np.int64)
    order = np.argsort(shown, kind="stable")
    places = np.arange(len(shown))
    rising = np.maximum.accumulate(shown[order] - places) + places  # no two at the same time
    shown[order] = rising
    return shown, rising - max(int((rising - shown).max()), 0)
