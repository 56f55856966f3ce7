"""Live video from a real RTSP server, over TCP and UDP, with losses and breaks."""

import hashlib
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import pytest

from conftest import ROOT
from headhunt_svc.errors import VideoOpenError
from headhunt_svc.video.live import LiveFacts, LiveVideo
from headhunt_svc.video.reader import VideoReader
from headhunt_svc.video.ring import PacketRing
from headhunt_svc.video.streams import StreamAddress
from helpers.losses import EVERY_PICTURE, encode, shown
from helpers.tools import NEEDS_RTSP, SYSTEM_PYTHON, has_gstreamer

RTSP_SERVER = ROOT / "tests" / "helpers" / "rtsp_server.py"
Transport = Literal["tcp", "udp"]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode(tmp_path_factory.mktemp("rtsp") / "recording.mp4", "libx264", {}, n=150)


@pytest.fixture
def server(recording: Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """The address of a server, and its process."""
    if not has_gstreamer():
        pytest.skip(NEEDS_RTSP)
    with subprocess.Popen([SYSTEM_PYTHON, RTSP_SERVER, recording], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"rtsp://127.0.0.1:{process.stdout.readline().split()[0]}", process
        process.kill()


def received(url: str, transport: Transport) -> tuple[list[tuple[float, str]], LiveFacts]:
    """Every picture until the stream ends: its time and hash."""
    pictures = []
    with LiveVideo(StreamAddress(url, url, "rtsp", transport), "yard", queue=1000, timeout_s=3) as live:
        for piece in live.segments(EVERY_PICTURE):
            digest = hashlib.md5(piece.pictures.tobytes(), usedforsecurity=False).hexdigest()
            pictures.append((piece.start_s, digest))
        return pictures, live.facts()


def test_pictures_are_those_of_the_recording_also_where_packets_are_lost(
    server: tuple[str, "subprocess.Popen[str]"], recording: Path
) -> None:
    place = {digest: i for i, digest in enumerate(shown(VideoReader(recording)).hashes)}
    names: list[tuple[str, Transport]] = [("file", "tcp"), ("file", "udp"), ("lossy", "tcp"), ("lossy", "udp")]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda name: received(f"{server[0]}/{name[0]}", name[1]), names))
    for (name, transport), (pictures, facts) in zip(names, results, strict=True):
        numbers = [place[digest] for _, digest in pictures]  # none is made up
        assert numbers == sorted(set(numbers))
        first_s = pictures[0][0] - numbers[0] / 25
        assert [time_s for time_s, _ in pictures] == pytest.approx([first_s + i / 25 for i in numbers], abs=0.002)
        assert facts.offered_s == pytest.approx(facts.taken_s + facts.lost_s)
        assert facts.ends is not None
        assert facts.dropped_s == 0
        if (name, transport) == ("file", "tcp"):
            assert numbers == list(range(150))
            assert facts.lost_packets == 0
        elif name == "file":  # a busy machine may lose UDP's packets, too
            assert 150 - len(numbers) >= facts.lost_packets >= 0
            assert len(numbers) >= 50
        else:
            assert 150 - len(numbers) >= facts.lost_packets > 0


def test_breaks_are_named_and_clips_cut(server: tuple[str, "subprocess.Popen[str]"], tmp_path: Path) -> None:
    url, process = server
    ring = PacketRing()
    address = StreamAddress(f"{url}/file", "the yard", "rtsp", "tcp")
    with LiveVideo(address, "yard", timeout_s=1.5, ring=ring) as live:
        pieces = live.segments(EVERY_PICTURE)
        while next(pieces).start_s < 1.2:
            pass
        clip = ring.start_clip(tmp_path / "clip", 0.5).finish(1.1)
        process.send_signal(signal.SIGSTOP)
        stopped_s = time.monotonic()
        list(pieces)
    assert live.ends == "no data for 1.5 s"
    assert time.monotonic() - stopped_s < 4
    assert clip is not None
    assert clip.stat().st_size > 1000
    process.send_signal(signal.SIGCONT)
    with LiveVideo(address, "yard", timeout_s=3) as live:
        pieces = live.segments(EVERY_PICTURE)
        next(pieces)
        process.kill()
        process.wait()
        list(pieces)
    assert live.ends is not None
    assert live.ends.startswith(("the stream ended", "the connection broke"))
    with pytest.raises(VideoOpenError, match=r"^the yard: nothing listens"), LiveVideo(address, "yard"):
        pass
