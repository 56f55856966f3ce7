"""Files that want something else than to be watched, made on the spot; and watchers for what they want."""

import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from PIL import Image

from conftest import write_video

MAX_FRAMES = 500  # of the limits that the suite reads with
CANARY = "canary.mp4"


@dataclass
class Trap:
    """A folder with a canary beside the hostile file, and a port on loopback: both say if somebody came."""

    folder: Path
    canary: Path = field(init=False)
    url: str = field(init=False)

    def __enter__(self) -> "Trap":
        self.canary = write_video(self.folder / CANARY, 10)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/x.ts"
        libc = ctypes.CDLL(None, use_errno=True)
        self._watch = libc.inotify_init1(os.O_NONBLOCK)
        assert libc.inotify_add_watch(self._watch, os.fsencode(self.canary), 0x20) >= 0  # IN_OPEN
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.close()
        os.close(self._watch)

    @property
    def sprung(self) -> list[str]:
        """What was touched since the last look."""
        touched = []
        with contextlib.suppress(BlockingIOError):
            os.read(self._watch, 4096)
            touched.append("file")
        with contextlib.suppress(BlockingIOError):
            self._listener.accept()[0].close()
            touched.append("network")
        return touched


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        yield kind, data[at + 8 : at + size]
        at += size


def _rewritten(data: bytes, path: tuple[bytes, ...], change: Callable[[bytes], bytes]) -> bytes:
    """An mp4 with the box at `path` changed; what is before moov keeps its place."""
    if not path:
        return change(data)
    return b"".join(
        struct.pack(">I4s", len(new) + 8, kind) + new
        for kind, body in _boxes(data)
        for new in [_rewritten(body, path[1:], change) if kind == path[0] else body]
    )


def _with_reference(path: Path, entry: bytes) -> Path:
    """A video whose data are said to lie elsewhere."""
    write_video(path, 10)
    table = struct.pack(">II", 0, 1) + struct.pack(">I", len(entry) + 4) + entry
    where = (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref")
    path.write_bytes(_rewritten(path.read_bytes(), where, lambda _: table))
    return path


def _dref_url(path: Path, trap: Trap) -> Path:
    return _with_reference(path, b"url " + struct.pack(">I", 0) + trap.url.encode() + b"\0")


def dref_alias(path: Path, trap: Trap) -> Path:
    """A QuickTime alias to the canary: FFmpeg follows it where it is allowed to."""
    target = str(trap.canary).encode()
    target += b"\0" * (len(target) % 2)
    record = b"alis" + bytes(4) + bytes(10) + bytes(28) + bytes(12)
    record += bytes([len(CANARY)]) + CANARY.encode().ljust(63, b"\0")
    record += bytes(16) + struct.pack(">HH", 1, 1) + bytes(16)
    record += struct.pack(">HH", 2, len(target)) + target + struct.pack(">HH", 0xFFFF, 0)
    return _with_reference(path, record)


def _text(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def _hls(path: Path, target: str) -> Path:
    return _text(path, f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n")


def _dash(path: Path, trap: Trap) -> Path:
    return _text(
        path,
        '<?xml version="1.0"?>'
        '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S">'
        '<Period><AdaptationSet mimeType="video/mp4"><Representation id="0" bandwidth="1">'
        f"<BaseURL>{trap.url}</BaseURL></Representation></AdaptationSet></Period></MPD>",
    )


def _image(path: Path, trap: Trap) -> Path:
    Image.new("RGB", (32, 32)).save(path, format="PNG")
    return path


def sound_only(path: Path, trap: Trap | None = None) -> Path:
    """A file with a sound track and no pictures."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _no_frames(path: Path, trap: Trap) -> Path:
    """Everything but the pictures' data."""
    data = write_video(path, 10).read_bytes()
    path.write_bytes(_rewritten(data, (b"mdat",), lambda body: bytes(len(body))))
    return path


def _huge_gif(path: Path, trap: Trap) -> Path:
    data = bytearray(write_video(path.with_suffix(".gif"), 3, codec="gif").read_bytes())
    data[6:10] = struct.pack("<HH", 65535, 65535)
    path.write_bytes(data)
    return path


def _huge_avi(raw: bool) -> Callable[[Path, Trap], Path]:
    """A header of 100 000 x 100 000; where the data are not raw, they know better."""

    def make(path: Path, trap: Trap) -> Path:
        data = bytearray(write_video(path.with_suffix(".avi"), 10, codec="mpeg4").read_bytes())
        strf = data.index(b"strf") + 8
        for at in (data.index(b"avih") + 8 + 32, strf + 4):
            data[at : at + 8] = struct.pack("<II", 100_000, 100_000)
        if raw:
            data[strf + 16 : strf + 20] = bytes(4)
            handler = data.index(b"vids") + 4
            data[handler : handler + 4] = b"DIB "
        path.write_bytes(data)
        return path

    return make


def _endless_gif(path: Path, trap: Trap) -> Path:
    """Some hundred kB that are a hundred times as many pictures as are allowed."""
    size = struct.pack("<HH", 1000, 1000)
    head = b"GIF89a" + size + b"\x80\0\0" + bytes(6)
    picture = b"!\xf9\x04\0\x01\0\0\0" + b"," + struct.pack("<HHHH", 0, 0, 1, 1) + b"\0\x02\x02D\x01\0"
    path.write_bytes(head + picture * (100 * MAX_FRAMES) + b";")
    return path


def _sample_sizes(size: int) -> Callable[[Path, Trap], Path]:
    """A table of 2^32 - 1 sizes of pictures, which is not there; or one size for all of them."""

    def make(path: Path, trap: Trap) -> Path:
        table = bytes(4) + struct.pack(">II", size, 2**32 - 1)
        place = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsz")
        path.write_bytes(_rewritten(write_video(path, 10).read_bytes(), place, lambda _: table))
        return path

    return make


def _with_attachment(path: Path, trap: Trap) -> Path:
    """A Matroska file that brings along another file, under the name of one that is there."""
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.add_attachment(str(trap.canary), "text/html", b"<script>")
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    return path


def _at(make: Callable[[Path, str], Path], target: str) -> Callable[[Path, Trap], Path]:
    return lambda path, trap: make(path, str(getattr(trap, target)))


# every one of them is refused; `partial` below may be read with gaps
REFUSED: dict[str, Callable[[Path, Trap], Path]] = {
    "empty": lambda path, trap: _text(path, ""),
    "text": lambda path, trap: _text(path, "hello " * 1000),
    "image": _image,
    "sound only": sound_only,
    "no frames": _no_frames,
    "HLS playlist of a file": _at(_hls, "canary"),
    "HLS playlist of a URL": _at(_hls, "url"),
    "concat script": lambda path, trap: _text(path, f"ffconcat version 1.0\nfile '{trap.canary}'\n"),
    "DASH manifest": _dash,
    "session description": lambda path, trap: _text(
        path, "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    ),
    "gif of 65535 x 65535": _huge_gif,
    "header of 100 000 x 100 000": _huge_avi(raw=True),
    "endless gif": _endless_gif,
    "2^32 sizes of pictures": _sample_sizes(0),
    "2^32 pictures of one byte": _sample_sizes(1),
}


def _truncated(suffix: str, codec: str, tenth: int) -> Callable[[Path, Trap], Path]:
    def make(path: Path, trap: Trap) -> Path:
        data = write_video(path.with_name(f"whole{suffix}"), 60, codec=codec).read_bytes()
        path.write_bytes(data[: len(data) * tenth // 10])
        return path

    return make


def _mutated(seed: int) -> Callable[[Path, Trap], Path]:
    def make(path: Path, trap: Trap) -> Path:
        rng = np.random.default_rng(seed)
        data = np.frombuffer(write_video(path, 40).read_bytes(), np.uint8).copy()
        where = rng.choice(len(data), int(rng.integers(1, 60)), replace=False)
        data[where] = rng.integers(0, 256, len(where), np.uint8)
        path.write_bytes(data.tobytes())
        return path

    return make


PARTIAL: dict[str, Callable[[Path, Trap], Path]] = {
    "data reference to a URL": _dref_url,
    "data reference to a file": dref_alias,
    "attachment in Matroska": _with_attachment,
    "header of 100 000 x 100 000 that lies": _huge_avi(raw=False),
    **{
        f"{suffix} cut at {tenth}0 %": _truncated(suffix, codec, tenth)
        for suffix, codec in ((".mp4", "libx264"), (".mkv", "libx264"), (".avi", "mpeg4"))
        for tenth in range(1, 10)
    },
    **{f"mutation {seed}": _mutated(seed) for seed in range(20)},
}
HOSTILE_FILES = REFUSED | PARTIAL
