"""Live video: the segments of looped files, and of streams that break, jump, freeze, change or lose data."""

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from conftest import write_video
from headhunt_svc.errors import VideoError, VideoOpenError
from headhunt_svc.params import SegmentationParams
from headhunt_svc.video.live import LiveFacts, LiveVideo, LoopedFile
from headhunt_svc.video.reader import VideoReader
from headhunt_svc.video.receiving import Packet
from headhunt_svc.video.ring import PacketRing
from headhunt_svc.video.source import SegmentPictures
from headhunt_svc.video.stillness import Changes
from headhunt_svc.video.streams import StreamAddress
from helpers.live_sources import ScriptedVideo
from helpers.losses import EVERY_PICTURE, encode, shown

HALF_SECONDS = SegmentationParams(length_s=0.5, frames_per_segment=4)


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds in four groups of pictures, all different, in order."""
    return encode(tmp_path_factory.mktemp("live") / "moving.ts", "libx264", {}, b_frames=0)


def facts_of(piece: SegmentPictures) -> tuple[object, ...]:
    digest = hashlib.md5(piece.pictures.tobytes(), usedforsecurity=False).hexdigest()
    return piece.segment, piece.start_s, piece.stop_s, digest


def adds_up(facts: LiveFacts) -> bool:
    parts = facts.taken_s + facts.dropped_s + facts.lost_s + facts.waiting_s
    return facts.offered_s == pytest.approx(parts, abs=1e-9)


@pytest.mark.parametrize(
    ("codec", "name"), [("libx264", "a.mp4"), ("libx265", "b.mkv"), ("mpeg4", "c.avi"), ("libx264", "d.ts")]
)
def test_a_looped_file_gives_the_segments_of_the_file(tmp_path: Path, codec: str, name: str) -> None:
    path = encode(tmp_path / name, codec, {}, n=55, b_frames=0 if name == "c.avi" else 2)
    with VideoReader(path) as video:
        expected = [facts_of(piece) for piece in video.segments(HALF_SECONDS)][:4]
    with LiveVideo(LoopedFile(path), name, queue=100) as live:
        started_s = time.monotonic()
        pieces = list(islice(live.segments(HALF_SECONDS), 6))
        lasted_s = time.monotonic() - started_s
        facts = live.facts()
    assert [facts_of(piece) for piece in pieces[:4]] == expected
    assert (pieces[-1].segment.index, pieces[-1].segment.span.stop) == (5, 75)  # the second pass follows the first
    assert 2 < lasted_s < 20
    assert (facts.taken_s, facts.dropped_s, facts.lost_s) == (pytest.approx(3.0), 0, 0)
    assert adds_up(facts)
    assert facts.last_picture is not None
    assert timedelta(0) <= facts.last_picture - live.utc(pieces[-1].start_s) <= timedelta(seconds=5)
    assert (live.gaps, live.holes, live.discontinuities, live.repaired_times) == ([], [], [], 0)


@pytest.mark.parametrize("params", [HALF_SECONDS, SegmentationParams(length_s=1, stride_s=0.4, frames_per_segment=3)])
def test_a_stream_that_ends_gives_its_tail(moving: Path, params: SegmentationParams) -> None:
    with VideoReader(moving) as video:
        expected = [facts_of(piece) for piece in video.segments(params)]
    with ScriptedVideo(moving) as live:
        assert [facts_of(piece) for piece in live.segments(params)] == expected
        facts = live.facts()
        assert (live.ends, facts.ends) == ("the file ended", "the file ended")
        assert (facts.offered_s, facts.taken_s) == (pytest.approx(4), pytest.approx(4))


def test_what_is_taken_slowly_is_dropped_whole_the_oldest_first(moving: Path) -> None:
    with ScriptedVideo(moving, queue=2) as live:
        pieces = live.segments(HALF_SECONDS)
        first = next(pieces)
        deadline_s = time.monotonic() + 10
        while live.facts().offered_s < 3.9 and time.monotonic() < deadline_s:
            time.sleep(0.01)
        rest = list(pieces)
        facts = live.facts()
    assert first.segment.index <= 6
    assert [piece.segment.index for piece in rest] == [6, 7][-len(rest) :]
    assert facts.dropped_segments == 8 - 1 - len(rest)
    assert facts.dropped_s == pytest.approx(
        4 - (first.stop_s - first.start_s) - sum(p.stop_s - p.start_s for p in rest)
    )
    assert adds_up(facts)


def test_lost_packets_give_no_made_up_pictures(moving: Path) -> None:
    def lossy(packets: Iterator[Packet]) -> Iterator[Packet]:
        for i, packet in enumerate(packets):
            packet.is_corrupt = i == 60  # as receiving says it of RTP
            if i != 30:
                yield packet

    intact = shown(VideoReader(moving))
    with ScriptedVideo(moving, lossy) as live:
        pieces = list(live.segments(EVERY_PICTURE))
        facts = live.facts()
    kept = [*range(30), *range(50, 60), *range(75, 100)]
    assert [facts_of(piece)[-1] for piece in pieces] == [intact.hashes[i] for i in kept]
    assert [piece.start_s for piece in pieces] == pytest.approx([i / 25 for i in kept])
    assert [(gap.packets, gap.time_s, gap.stop_s) for gap in live.gaps] == [
        (19, pytest.approx(31 / 25), pytest.approx(2)),  # the first one never came
        (15, pytest.approx(60 / 25), pytest.approx(3)),
    ]
    assert facts.lost_packets == 34
    assert (facts.lost_s, facts.taken_s) == (0, pytest.approx(4))  # the segments before reach over the losses


def test_a_long_loss_is_counted_as_lost_time(moving: Path) -> None:
    def lossy(packets: Iterator[Packet]) -> Iterator[Packet]:
        for i, packet in enumerate(packets):
            packet.is_corrupt = 15 <= i < 75
            yield packet

    with ScriptedVideo(moving, lossy) as live:
        pieces = list(live.segments(HALF_SECONDS))
        facts = live.facts()
    assert [(piece.start_s, piece.stop_s) for piece in pieces] == [
        (0, pytest.approx(0.52)),
        (pytest.approx(0.52), pytest.approx(0.6)),
        (pytest.approx(3), pytest.approx(3.52)),
        (pytest.approx(3.52), pytest.approx(4)),
    ]
    assert (facts.offered_s, facts.taken_s, facts.lost_s) == pytest.approx((4, 1.6, 2.4))
    assert [(gap.time_s, gap.stop_s, gap.packets) for gap in live.gaps] == [pytest.approx((0.6, 3, 60))]


@pytest.mark.parametrize("jump_s", [100, 7200, -2.5, -1000])
def test_the_clock_of_a_stream_may_jump(moving: Path, jump_s: float) -> None:
    def jumping(packets: Iterator[Packet]) -> Iterator[Packet]:
        for i, packet in enumerate(packets):
            if i >= 60 and packet.pts is not None and packet.dts is not None:
                packet.pts, packet.dts = packet.pts + int(jump_s * 90_000), packet.dts + int(jump_s * 90_000)
            yield packet

    ring = PacketRing()
    with ScriptedVideo(moving, jumping, ring=ring) as live:
        pieces = list(live.segments(EVERY_PICTURE))
        facts = live.facts()
    assert len(pieces) == 100
    assert [piece.start_s for piece in pieces] == pytest.approx([i / 25 for i in range(100)], abs=0.1)
    assert [(d.time_s, d.jump_s) for d in live.discontinuities] == [pytest.approx((60 / 25, jump_s), abs=0.1)]
    assert (facts.lost_s, facts.offered_s) == (0, pytest.approx(4, abs=0.1))
    assert facts.problem == f"the stream's clock jumped by {jump_s:.0f} s"


def test_pictures_may_change_their_size(moving: Path, tmp_path: Path) -> None:
    large = encode(tmp_path / "large.ts", "libx264", {}, n=50, b_frames=0, size=(128, 96))

    def joined(packets: Iterator[Packet]) -> Iterator[Packet]:
        with av.open(str(large)) as container:
            yield from islice(packets, 75)
            for packet in container.demux(container.streams.video[0]):
                if packet.size and packet.pts is not None and packet.dts is not None:
                    packet.pts, packet.dts = packet.pts + 75 * 3600, packet.dts + 75 * 3600
                    yield packet

    expected = shown(VideoReader(moving)).hashes[:75] + shown(VideoReader(large)).hashes
    with ScriptedVideo(moving, joined) as live:
        pieces = list(live.segments(EVERY_PICTURE))
        assert [facts_of(piece)[-1] for piece in pieces] == list(expected)
        assert live.facts().size == (128, 96)
        assert live.facts().problem == "the picture is now 128 x 96, and was 96 x 72"
    with ScriptedVideo(moving, joined) as live:
        pieces = list(live.segments(HALF_SECONDS))
        assert adds_up(live.facts())
        assert live.facts().lost_s == 0
    edges = [(piece.start_s, piece.stop_s, piece.pictures.shape[2]) for piece in pieces]
    assert edges[5:7] == [(pytest.approx(2.52), pytest.approx(3), 96), (pytest.approx(3), pytest.approx(3.52), 128)]
    assert live.gaps == []


def test_a_frozen_stream_is_noticed(tmp_path: Path) -> None:
    still = write_video(tmp_path / "still.mp4", 60, fps=10)  # changes with every picture
    with ScriptedVideo(still, freeze_s=1.0) as live:
        list(live.segments(HALF_SECONDS))
        assert not live.facts().frozen
    scene = np.random.default_rng(0).integers(0, 200, (128, 128, 3), dtype=np.uint8)
    with av.open(str(tmp_path / "frozen.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"tune": "zerolatency", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 128, 128, "yuv420p", 20
        for i in range(150):
            picture = np.roll(scene // 8, 4 * min(i, 30), axis=1) + np.uint8(min(i, 30))
            picture[: 4 * min(i, 30), :64] = 200
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    assert len(set(shown(VideoReader(tmp_path / "frozen.mkv")).hashes[31:])) > 1  # a camera that hangs goes on encoding
    with ScriptedVideo(tmp_path / "frozen.mkv", freeze_s=5.0) as live:
        list(live.segments(HALF_SECONDS))
        facts = live.facts()
        assert facts.frozen
        assert re.fullmatch("the picture has not changed for 1[0-2] s", facts.problem or "")
        assert facts.last_picture is not None
        assert live.utc(3.0) <= facts.last_picture <= live.utc(5.0)  # the encoder refines the first pictures


def test_a_decoder_that_is_behind_drops_packets_up_to_a_key_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare = Changes.push

    def slow(self: Changes, frame: av.VideoFrame, time_s: float) -> None:
        time.sleep(0.1)
        compare(self, frame, time_s)

    monkeypatch.setattr(Changes, "push", slow)
    path = encode(tmp_path / "a.mp4", "libx264", {}, n=250, gop=10, b_frames=0)
    expected = shown(VideoReader(path))
    with LiveVideo(LoopedFile(path), "a", late_s=0.4, queue=1000) as live:
        pieces = []
        for piece in live.segments(EVERY_PICTURE):
            pieces.append(piece)
            if piece.start_s > 3:
                break
            assert time.time() - live.utc(piece.stop_s).timestamp() < 3  # latency is bounded; else it grows to 4.5 s
        facts = live.facts()
    places = [round(piece.start_s * 25) for piece in pieces]
    assert [facts_of(piece)[-1] for piece in pieces] == [expected.hashes[i] for i in places]
    assert facts.dropped_packets >= 10
    assert facts.lost_packets == 0
    assert facts.dropped_s > 0.3
    assert facts.lost_s == 0
    assert adds_up(facts)


def test_closing_is_quick_and_another_thread_may_stop(moving: Path) -> None:
    silence = threading.Event()

    def silent(packets: Iterator[Packet]) -> Iterator[Packet]:
        yield from islice(packets, 40)
        silence.wait(20)

    stopping = threading.Event()
    with ScriptedVideo(moving, silent, stop=stopping.is_set) as live:
        pieces = live.segments(HALF_SECONDS)
        assert next(pieces).segment.index == 0
        threading.Timer(0.3, stopping.set).start()
        started_s = time.monotonic()
        list(pieces)
        assert live.ends == "closed"
    assert time.monotonic() - started_s < 3
    assert adds_up(live.facts())
    silence.set()
    with ScriptedVideo(moving, silent):  # nobody reads it
        pass


def test_pictures_over_http_are_timed_by_their_arrival() -> None:
    class Pictures(BaseHTTPRequestHandler):
        """Ten pictures a second, 25 of them; FFmpeg would say 25 a second."""

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=end")
            self.end_headers()
            for i in range(25):
                picture = BytesIO()
                Image.new("RGB", (64, 48), (0, 0, 10 * i)).save(picture, "JPEG")
                head = b"--end\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % picture.tell()
                self.wfile.write(head + picture.getvalue() + b"\r\n")
                time.sleep(0.1)

        def log_message(self, *args: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Pictures) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/video.mjpg"
        with LiveVideo(StreamAddress(url, url, "http"), "yard", queue=100, timeout_s=3) as live:
            pieces = list(live.segments(EVERY_PICTURE))
            facts = live.facts()
        server.shutdown()
    blues = [int(piece.pictures[0, :, :, 2].mean()) for piece in pieces]
    assert blues == pytest.approx([10 * i for i in range(25)][-len(blues) :], abs=4)
    assert np.median(np.diff([piece.start_s for piece in pieces])) == pytest.approx(0.1, abs=0.03)
    assert facts.lost_packets == 0
    assert adds_up(facts)


def test_errors_are_not_swallowed(moving: Path, tmp_path: Path) -> None:
    def broken(packets: Iterator[Packet]) -> Iterator[Packet]:
        yield next(packets)
        raise ZeroDivisionError

    with ScriptedVideo(moving, broken) as live, pytest.raises(ZeroDivisionError):
        list(live.segments(HALF_SECONDS))
    closed = LiveVideo(LoopedFile(moving), "moving")
    assert closed.facts() == LiveFacts(problem="the stream is not open yet")
    with pytest.raises(ValueError, match="not open"):
        closed.utc(0)
    with pytest.raises(VideoOpenError, match="no such file"), LiveVideo(LoopedFile(tmp_path / "no.mp4"), "no"):
        pass
    (tmp_path / "no.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError, match="not a video"), LiveVideo(LoopedFile(tmp_path / "no.mp4"), "no"):
        pass


def test_what_is_remembered_does_not_grow(tmp_path: Path) -> None:
    path = encode(tmp_path / "short.ts", "libx264", {}, n=6, gop=6, b_frames=0)
    with av.open(str(path)) as container:
        group = [(bytes(p), p.is_keyframe) for p in container.demux(container.streams.video[0]) if p.size]

    def long(packets: Iterator[Packet]) -> Iterator[Packet]:
        template = next(packets)
        for i in range(300):
            for k, (data, is_key) in enumerate(group):
                if k == 2:
                    continue
                packet = av.Packet(data)
                packet.pts = packet.dts = 90_000 * 4 * i + 3600 * k
                packet.time_base, packet.is_keyframe, packet.stream = template.time_base, is_key, template.stream
                yield packet

    with ScriptedVideo(path, long) as live:
        n_pieces = len(list(live.segments(HALF_SECONDS)))
        facts = live.facts()
    assert n_pieces >= 20
    assert len(live.gaps) <= 100
    assert sum(gap.packets for gap in live.gaps) == facts.lost_packets == 300 * 3
    assert len(live.discontinuities) == 100  # the packets come at once, so their clock jumps
    assert adds_up(facts)
