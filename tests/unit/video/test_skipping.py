"""Pictures that nobody is shown are not decoded; the oracle is a reading in which every picture is sampled."""

import random
from pathlib import Path

import av
import pytest

from headhunt_svc.params import SegmentationParams
from headhunt_svc.types import Segment
from headhunt_svc.video.packets import CheckedPacket, Packets
from headhunt_svc.video.reader import VideoReader
from headhunt_svc.video.sandbox import SandboxedReader
from headhunt_svc.video.skipping import SkipPlan
from headhunt_svc.video.source import VideoState
from helpers.ffmpeg import Folder
from helpers.losses import EVERY_PICTURE, RATE, copy, encode

N = 100
SAMPLED = SegmentationParams(length_s=1.6, frames_per_segment=4)
OVERLAPPING = SegmentationParams(length_s=1.6, stride_s=0.8, frames_per_segment=3)
X264 = "b-adapt=0:mbtree=0:log-level=none"
RECIPES = {
    "pyramid.mp4": f"keyint=40:bframes=3:{X264}",
    "slices.mp4": f"keyint=30:bframes=2:b-pyramid=none:slices=3:{X264}",
    "open.mp4": f"keyint=20:bframes=3:open-gop=1:{X264}",
    "buffers.mp4": f"keyint=40:bframes=3:nal-hrd=cbr:bitrate=600:vbv-maxrate=600:vbv-bufsize=600:{X264}",
    "no-b.mp4": f"keyint=40:bframes=0:{X264}",
    "fields.mp4": f"keyint=40:bframes=2:tff=1:{X264}",
}
COPIES = ("pyramid.ts", "pyramid.mkv", "open.ts")
WITH_SKIPPED = ("pyramid.mp4", "slices.mp4", "open.mp4", "buffers.mp4", *COPIES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    def made(params: str):
        return lambda folder, path: encode(path, "libx264", {"preset": "veryfast", "x264-params": params}, N, 60, 3)

    def copied(name: str):
        return lambda folder, path: copy(folder.file(f"{name.split('.')[0]}.mp4"), path)

    recipes = {name: made(params) for name, params in RECIPES.items()} | {name: copied(name) for name in COPIES}
    return Folder(tmp_path_factory.mktemp("skipping"), recipes)


Given = list[tuple[Segment, float, float, list[bytes]]]


def read(
    path: Path, params: SegmentationParams, source: type[VideoReader | SandboxedReader] = VideoReader
) -> tuple[Given, VideoState]:
    with source(path, video_id="video") as video:
        pieces = [
            (piece.segment, piece.start_s, piece.stop_s, [picture.tobytes() for picture in piece.pictures])
            for piece in video.segments(params)
        ]
        return pieces, video.state()


def every_picture(path: Path) -> tuple[list[bytes], VideoState]:
    """Nothing is skipped where every picture is sampled."""
    pieces, state = read(path, EVERY_PICTURE)
    return [pictures[0] for *_, pictures in pieces], state


@pytest.mark.parametrize("params", [SAMPLED, OVERLAPPING], ids=["sampled", "overlapping"])
@pytest.mark.parametrize("name", [*RECIPES, *COPIES])
def test_sampled_pictures_and_facts_are_those_of_a_reading_of_every_picture(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, name: str, params: SegmentationParams
) -> None:
    pictures, state = every_picture(folder.file(name))
    needed, next_packet = [], SkipPlan.next_packet

    def noted(plan: SkipPlan) -> CheckedPacket | None:
        item = next_packet(plan)
        needed.extend([item.is_needed] if item is not None else [])
        return item

    monkeypatch.setattr(SkipPlan, "next_packet", noted)
    pieces, facts = read(folder.file(name), params)
    assert facts == state
    assert not state.gaps
    assert len(pictures) == sum(len(segment.span) for segment, *_ in pieces) == N
    for segment, *_, shown in pieces:
        assert shown == [pictures[i] for i in segment.frame_indices]
    assert len(needed) == N
    assert sum(needed) < 0.8 * N if name in WITH_SKIPPED else all(needed)


@pytest.mark.parametrize("name", WITH_SKIPPED)
def test_the_order_of_showing_is_that_of_the_times(folder: Folder, name: str) -> None:
    with av.open(str(folder.file(name))) as container, folder.file(name).open("rb") as file:
        stream = container.streams.video[0]
        coded, n_idr = [], 0
        for packet, _, _, picture, _ in Packets(container, stream, file.fileno()):
            assert picture is not None
            n_idr += picture.is_idr
            coded.append((packet.pts, n_idr, picture.order))
    assert len(coded) == N
    assert [order for _, *order in sorted(coded)] == sorted(order for _, *order in coded)


def places(path: Path, is_droppable: bool) -> list[tuple[int, int, float]]:
    """Where such pictures lie in an MP4 file: place, length, time. Of those that others refer to, no key frames."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        packets = [packet for packet in container.demux(stream) if packet.size]
        first = min(packet.pts or 0 for packet in packets)
        return [
            (packet.pos or 0, packet.size, float(((packet.pts or 0) - first) * stream.time_base))
            for packet in packets
            if packet.size > 100
            and not packet.is_keyframe
            and (bytes(packet)[4] & 0x60 == 0) == is_droppable
            and bytes(packet)[4] & 0x1F == 1
        ]


def garbled(source: Path, target: Path, place: tuple[int, int, float], rng: random.Random) -> Path:
    """Overwritten with bytes among which only the decoder finds a fault."""
    data, (start, size, _) = bytearray(source.read_bytes()), place
    first = start + size // 3
    data[first : start + size - 4] = bytes(rng.randrange(1, 256) for _ in range(start + size - 4 - first))
    target.write_bytes(data)
    return target


def test_damage_of_a_picture_that_others_refer_to_is_a_gap_as_in_a_reading_of_every_picture(
    folder: Folder, tmp_path: Path
) -> None:
    source, rng, taken_over = folder.file("pyramid.mp4"), random.Random(0), 0
    for place in places(source, is_droppable=False)[::3]:
        path = garbled(source, tmp_path / "a.mp4", place, rng)
        pictures, state = every_picture(path)
        pieces, facts = read(path, SAMPLED)
        assert facts == state
        taken_over += bool(facts.gaps)
        for segment, *_, shown in pieces:
            assert shown == [pictures[i] for i in segment.frame_indices]
    assert taken_over >= 3
    assert read(path, SAMPLED, SandboxedReader) == (pieces, facts)


def test_damage_of_a_picture_that_nobody_is_shown_changes_nothing(folder: Folder, tmp_path: Path) -> None:
    source, rng, n_unnoticed = folder.file("pyramid.mp4"), random.Random(0), 0
    pieces, facts = read(source, SAMPLED)
    sampled_s = {i / RATE for segment, *_ in pieces for i in segment.frame_indices}
    for place in places(source, is_droppable=True)[::2]:
        path = garbled(source, tmp_path / "a.mp4", place, rng)
        is_sampled = any(abs(place[2] - time_s) < 0.01 for time_s in sampled_s)
        if not is_sampled:
            assert read(path, SAMPLED) == (pieces, facts)
            n_unnoticed += bool(every_picture(path)[1].gaps)
    assert n_unnoticed >= 2


def test_damage_behind_a_closed_reader_ends_the_segments(folder: Folder, tmp_path: Path) -> None:
    path = garbled(
        folder.file("pyramid.mp4"), tmp_path / "a.mp4", places(folder.file("pyramid.mp4"), False)[-2], random.Random(1)
    )
    with VideoReader(path) as video:
        segments = video.segments(SAMPLED)
        next(segments)
    assert list(segments) == []
