"""Damages small videos as networks, discs and recorders do, and reads every picture that would be scored."""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

from headhunt_svc.params import SegmentationParams
from headhunt_svc.video.source import VideoSource, VideoState

EVERY_PICTURE = SegmentationParams(length_frames=1, frames_per_segment=1)
RATE, SIZE = 25, (96, 72)
TS_PACKET = 188  # bytes
_VIDEO = (b"\x01\x00", b"\x41\x00")  # a packet of the first stream that FFmpeg writes; the first one of a picture


def moving_noise(n: int, seed: int = 0, size: tuple[int, int] = SIZE) -> UInt8[np.ndarray, "n height width 3"]:
    """Pictures that all differ, in which nothing can be concealed unseen."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (size[1] // 4, size[0] // 4, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    pictures = np.stack([np.roll(coarse, (i, 3 * i), (0, 1)) for i in range(n)])
    for i in range(n):  # a square that jumps
        y, x = rng.integers(0, size[1] - 16), rng.integers(0, size[0] - 16)
        pictures[i, y : y + 16, x : x + 16] = rng.integers(0, 255, 3)
    return pictures


def encode(
    path: Path,
    codec: str,
    options: dict[str, str],
    n: int = 100,
    gop: int = 25,
    b_frames: int = 2,
    size: tuple[int, int] = SIZE,
) -> Path:
    """A small video of moving noise; the container's name is the path's ending."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.gop_size, stream.max_b_frames = gop, b_frames
        stream.codec_context.thread_count = 1
        for i, picture in enumerate(moving_noise(n, size=size)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def copy(source: Path, target: Path, kept: Callable[[int, int], bool] = lambda i, n: True) -> Path:
    """Move the packets into another file without decoding them; of n packets only those (by number) that are kept."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = old.streams.video[0]
        packets = [packet for packet in old.demux(stream) if packet.size]
        copied = new.add_stream_from_template(stream)
        for i, packet in enumerate(packets):
            if kept(i, len(packets)):
                packet.stream = copied
                new.mux(packet)
    return target


def transport_packets_removed(data: bytes, rng: random.Random) -> bytes:
    """A burst of packets that a network lost.

    Packets are counted from 0 to 15 only, so a loss of exactly 16 of the video's leaves no trace: another is drawn.
    """
    while True:
        start = rng.randrange(40, len(data) // TS_PACKET - 41) * TS_PACKET
        stop = start + rng.randrange(1, 41) * TS_PACKET
        if _packets_of_video(data, start, stop) % 16:
            return data[:start] + data[stop:]


def _packets_of_video(data: bytes, start: int, stop: int) -> int:
    """How many packets of the video begin in a part of a transport stream."""
    first = -(-start // TS_PACKET) * TS_PACKET
    return sum(data[at + 1 : at + 3] in _VIDEO for at in range(first, stop, TS_PACKET))


def _stretch(data: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(min(4000, len(data) // 10), len(data) - 3000)
    return start, start + rng.choice((TS_PACKET, 400, 1500, 3000))


def overwritten(data: bytes, rng: random.Random) -> bytes:
    """Zeros where a disc lost a block."""
    start, stop = _stretch(data, rng)
    return data[:start] + bytes(stop - start) + data[stop:]


def removed(data: bytes, rng: random.Random) -> bytes:
    """Bytes that were never written.

    In a transport stream they hold the beginnings of packets of the video, and not of 16: the count would go on as if
    nothing were missing, so another place is drawn.
    """
    while True:
        start, stop = _stretch(data, rng)
        is_transport = data[0] == data[TS_PACKET] == ord("G")
        if not is_transport or _packets_of_video(data, start, stop) % 16:
            return data[:start] + data[stop:]


def dropped(source: Path, target: Path, rng: random.Random) -> Path:
    """Whole pictures that a recorder left out; the file itself is intact."""
    first, count = rng.random(), rng.choice((1, 1, 2, 5))
    return copy(source, target, lambda i, n: not 0 <= i - (1 + int(first * (n - 2))) < count)


@dataclass(frozen=True, slots=True)
class Shown:
    """What would be scored of a video, picture by picture, and what the reader says about the file."""

    times: tuple[float, ...]  # seconds from the first picture
    hashes: tuple[str, ...]
    state: VideoState


def shown(source: VideoSource) -> Shown:
    """Read every picture."""
    times, hashes = [], []
    with source as video:
        for piece in video.segments(EVERY_PICTURE):
            times.append(piece.start_s)
            hashes.append(hashlib.md5(piece.pictures.tobytes(), usedforsecurity=False).hexdigest())
        return Shown(tuple(times), tuple(hashes), video.state())


@dataclass(frozen=True, slots=True)
class Comparison:
    """Faults of what was read of a damaged file, by what is known of the intact one."""

    made_up: list[float]  # pictures that the intact file does not have
    misplaced: list[float]  # or has at another time
    unnamed: list[float]  # pictures of the intact file that are missing, with no gap there


def compare(intact: Shown, damaged: Shown) -> Comparison:
    """Times are compared from the first picture that both have."""
    place = {digest: i for i, digest in enumerate(intact.hashes)}
    assert len(place) == len(intact.hashes), "the intact file's pictures must all differ"
    made_up = [t for t, digest in zip(damaged.times, damaged.hashes, strict=True) if digest not in place]
    pairs = [(t, place[digest]) for t, digest in zip(damaged.times, damaged.hashes, strict=True) if digest in place]
    if not pairs:
        return Comparison(made_up, [], [])
    shift_s = intact.times[pairs[0][1]] - pairs[0][0]
    misplaced = [t for t, i in pairs if abs(t + shift_s - intact.times[i]) > 2e-3]
    present = {i for _, i in pairs}
    gaps = damaged.state.gaps
    unnamed = []
    for i, time_s in enumerate(intact.times):
        near = time_s - shift_s
        if i not in present and not any(
            (g.time_s is None or g.time_s <= near + 0.5) and (g.stop_s is None or near <= g.stop_s) for g in gaps
        ):
            unnamed.append(time_s)
    return Comparison(made_up, misplaced, unnamed)
