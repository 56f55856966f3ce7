"""Clips that are cut out of received packets: they decode to the pictures that were received."""

import hashlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import av
import pytest

from headhunt_svc.errors import OutputError
from headhunt_svc.video.reader import VideoReader
from headhunt_svc.video.receiving import Packet
from headhunt_svc.video.ring import ClipWriter, PacketRing
from helpers.live_sources import ScriptedVideo
from helpers.losses import EVERY_PICTURE, encode, shown


def pictures_of(path: Path) -> list[tuple[float, str]]:
    result = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            assert frame.time is not None
            picture = frame.to_ndarray(format="rgb24").tobytes()
            result.append((round(frame.time, 3), hashlib.md5(picture, usedforsecurity=False).hexdigest()))
    return result


def expected_of(path: Path, start: int, stop: int) -> list[tuple[float, str]]:
    """The pictures of a file, by number, at 25 a second."""
    return [((i - start) / 25, digest) for i, digest in enumerate(shown(VideoReader(path)).hashes) if start <= i < stop]


class _Ring(PacketRing):
    """Starts a clip when the packet of a picture at a time arrives."""

    def __init__(self, path: Path, start_s: float, since_s: float, **options: float) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.path, self.start_s, self.since_s = path, start_s, since_s
        self.writer: ClipWriter | None = None

    def push(self, packet: Packet, time_s: float) -> None:
        super().push(packet, time_s)
        if self.writer is None and time_s >= self.start_s:
            self.writer = self.start_clip(self.path, self.since_s)

    def finish(self, until_s: float) -> Path | None:
        assert self.writer is not None
        return self.writer.finish(until_s)


@pytest.mark.parametrize(
    ("codec", "name", "b_frames", "ending"),
    [
        ("libx264", "a.mp4", 0, ".mp4"),
        ("libx264", "b.ts", 2, ".mp4"),
        ("libx265", "c.mp4", 2, ".mp4"),
        ("mpeg4", "d.mp4", 0, ".mp4"),
        ("libvpx-vp9", "e.webm", 0, ".mkv"),
    ],
)
def test_a_clip_has_the_pictures_that_were_received(
    tmp_path: Path, codec: str, name: str, b_frames: int, ending: str
) -> None:
    path = encode(tmp_path / name, codec, {}, b_frames=b_frames)
    ring = _Ring(tmp_path / "clips" / "clip", start_s=2.5, since_s=1.3)
    with ScriptedVideo(path, ring=ring) as live:
        list(live.segments(EVERY_PICTURE))
    clip = ring.finish(3.4)
    assert clip == tmp_path / "clips" / f"clip{ending}"
    pictures = pictures_of(clip)
    count = len(pictures)
    assert 60 <= count <= 60 + 2 * bool(b_frames) + 1  # up to 3.4 s, and what those pictures refer to
    expected = expected_of(path, 25, 25 + count)
    assert [digest for _, digest in pictures[:60]] == [digest for _, digest in expected[:60]]
    assert [time_s for time_s, _ in pictures[:60]] == pytest.approx([time_s for time_s, _ in expected[:60]], abs=2e-3)
    assert [item.name for item in (tmp_path / "clips").iterdir()] == [clip.name]


def test_the_ring_is_bounded_in_seconds_and_bytes(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.ts", "libx264", {}, b_frames=0)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [(i / 25, packet) for i, packet in enumerate(container.demux(stream)) if packet.size]
        sizes = [packet.size for _, packet in packets]
        ring = PacketRing(seconds=1.0)
        ring.begin(stream)
        for time_s, packet in packets:
            ring.push(packet, time_s)
        assert ring.n_bytes == sum(sizes[50:])
        small = PacketRing(most_bytes=sum(sizes[:25]) // 2)
        small.begin(stream)
        largest = 0
        for time_s, packet in packets:
            small.push(packet, time_s)
            largest = max(largest, small.n_bytes)
        assert 0 < largest <= sum(sizes[:25]) // 2
        ring.end()
        assert ring.n_bytes == 0


def test_a_clip_is_no_longer_than_a_clip_may_be(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.ts", "libx264", {}, b_frames=0)
    ring = _Ring(tmp_path / "clip", start_s=1.0, since_s=0.0, clip_most_s=1.5)
    with ScriptedVideo(path, ring=ring) as live:
        list(live.segments(EVERY_PICTURE))
    clip = ring.finish(100)
    assert clip is not None
    assert [digest for _, digest in pictures_of(clip)] == [digest for _, digest in expected_of(path, 0, 38)]


def test_a_clip_ends_before_another_size_and_the_next_one_has_that(tmp_path: Path) -> None:
    small = encode(tmp_path / "small.ts", "libx264", {}, n=50, b_frames=0)
    large = encode(tmp_path / "large.ts", "libx264", {}, n=50, b_frames=0, size=(128, 96))

    def joined(packets: Iterator[Packet]) -> Iterator[Packet]:
        yield from packets
        with av.open(str(large)) as container:
            for packet in container.demux(container.streams.video[0]):
                if packet.size and packet.pts is not None and packet.dts is not None:
                    packet.pts, packet.dts = packet.pts + 50 * 3600, packet.dts + 50 * 3600
                    yield packet

    first, second = (_Ring(tmp_path / f"clip{since_s}", since_s + 1.5, since_s) for since_s in (0, 2))
    for ring in (first, second):
        with ScriptedVideo(small, joined, ring=ring) as live:
            list(live.segments(EVERY_PICTURE))
    for ring, path, size in ((first, small, (96, 72)), (second, large, (128, 96))):
        clip = ring.finish(100)
        assert clip is not None
        with av.open(str(clip)) as container:
            assert (container.streams.video[0].width, container.streams.video[0].height) == size
        assert [digest for _, digest in pictures_of(clip)] == [digest for _, digest in expected_of(path, 0, 50)]


def test_a_clip_of_a_connection_that_broke_keeps_what_it_has(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.ts", "libx264", {}, b_frames=0)
    ring = _Ring(tmp_path / "clip", start_s=1.0, since_s=0.0)
    for _ in range(2):
        with ScriptedVideo(path, lambda packets: islice(packets, 40), ring=ring) as live:
            list(live.segments(EVERY_PICTURE))
    clip = ring.finish(100)
    assert clip is not None
    assert [digest for _, digest in pictures_of(clip)] == [digest for _, digest in expected_of(path, 0, 40)]


def test_without_packets_there_is_no_clip_and_abandoned_ones_leave_nothing(tmp_path: Path) -> None:
    ring = PacketRing()
    assert ring.start_clip(tmp_path / "clips" / "a", 0).finish(10) is None
    ring.start_clip(tmp_path / "clips" / "b", 0).abandon()
    assert list((tmp_path / "clips").iterdir()) == []
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot write"):
        ring.start_clip(tmp_path / "file" / "c", 0)
