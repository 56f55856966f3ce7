"""Videos, their packets and what a decoding process sends: damaged at random, they end in gaps or one of our errors."""

import os
import socket
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import write_video
from headhunt_svc.errors import VideoError
from headhunt_svc.params import SegmentationParams
from headhunt_svc.video.container import VideoLimits
from headhunt_svc.video.dhav import cut_frame, is_whole
from headhunt_svc.video.ending import lacks_index, missing_end
from headhunt_svc.video.matroska import leads
from headhunt_svc.video.nal import BitstreamCheck
from headhunt_svc.video.reader import VideoReader
from headhunt_svc.video.sandbox import wire

S = SegmentationParams(length_s=1.6, frames_per_segment=2)
LIMITS = VideoLimits(max_duration_s=60, max_pixels=2**20, max_frames=500)
CODECS = {
    ".mp4": "libx264",
    ".mkv": "libx264",
    ".avi": "mpeg4",
    ".ts": "libx264",
    ".flv": "flv",
    ".gif": "gif",
    ".mpg": "mpeg1video",
}
FORMATS = ("avi", "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "flv", "asf", "mpegts", "mpeg", "gif", "ogg", "dhav")
few = settings(
    max_examples=settings.default.max_examples // 10 if settings.default else 10,
    suppress_health_check=list(HealthCheck),
)
many = settings(few, max_examples=few.max_examples * 4)


@cache
def video(suffix: str) -> bytes:
    with TemporaryDirectory() as folder:
        return write_video(Path(folder) / f"a{suffix}", 25, fps=25, codec=CODECS[suffix]).read_bytes()


@st.composite
def damaged(draw: Callable[..., bytes], content: bytes) -> bytes:
    """Bytes with some overwritten, left out or put in, mostly near the beginning, where the headers are."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)) | st.integers(0, min(600, len(content))))
        stop = draw(st.integers(start, min(start + 16, len(content))))
        content = (
            content[:start] + draw(st.binary(max_size=16) | st.sampled_from([b"\xff" * 4, bytes(8)])) + content[stop:]
        )
    return content


@pytest.mark.parametrize("suffix", CODECS)
@few
@given(st.data())
def test_a_damaged_video_is_read_or_refused(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    path = tmp_path / f"clip{suffix}"
    path.write_bytes(data.draw(damaged(video(suffix))))
    frames, message = 0, ""
    try:
        with VideoReader(path, LIMITS) as reader:
            frames = sum(len(piece.segment.span) for piece in reader.segments(S))
    except VideoError as exc:
        message = str(exc)
    assert frames <= 500
    assert message or frames
    assert "\n" not in message


@pytest.mark.parametrize("suffix", CODECS)
@many
@given(st.data())
def test_the_end_of_any_file_is_looked_at(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    path = tmp_path / "clip"
    path.write_bytes(data.draw(damaged(video(suffix)) | st.binary(max_size=64)))
    with path.open("rb") as f:
        lacks_index(f)
        for name in FORMATS:
            missing_end(f, name)


@cache
def packets() -> tuple[bytes | None, list[bytes]]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.mp4"
        path.write_bytes(video(".mp4"))
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            return stream.codec_context.extradata, [bytes(p) for p in container.demux(stream) if p.size]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@many
@given(st.data())
def test_any_packet_is_checked(codec: str, data: st.DataObject) -> None:
    extradata, intact = packets()
    check = BitstreamCheck(codec, data.draw(st.none() | st.binary(max_size=40) | damaged(extradata or b"")))
    for packet in data.draw(st.lists(st.sampled_from(intact) | st.binary(max_size=60), max_size=3)):
        problem = check.problem(data.draw(st.just(packet) | damaged(packet)))
        assert problem is None or problem
    check.restart()


@many
@given(st.binary(max_size=80), st.integers(0, 90), st.integers(0, 90), st.integers(0, 90))
def test_any_elements_and_frames_are_followed(content: bytes, first: int, size: int, following: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        path.write_bytes(content)
        fd = os.open(path, os.O_RDONLY)
        try:
            leads(fd, first, size, following)
            is_whole(fd, first)
        finally:
            os.close(fd)
    cut_frame(content)
    cut_frame(b"DHAV\xfd" + content)


MESSAGES = [
    b'{"kind":"end","progress":{"state":{},"gaps_from":0}}',
    b'{"kind":"failed","error":"memory","message":"x"}',
    b'{"kind":"piece","progress":null,"index":0,"start":0,"stop":1,"frame_indices":[0],"shape":[1,1,1,3]}',
    b"[" * 100_000,
    b'{"kind":' * 20_000,
]


@many
@given(st.sampled_from(MESSAGES) | st.sampled_from(MESSAGES).flatmap(damaged) | st.binary(max_size=40), st.booleans())
def test_a_decoding_process_may_send_anything(text: bytes, with_length: bool) -> None:
    here, there = socket.socketpair()
    with here, there:
        there.settimeout(10)
        here.settimeout(10)
        here.sendall((len(text).to_bytes(4) if with_length else b"") + text[:200_000])
        here.close()
        try:
            answer: object = wire.receive(there)
        except (ValueError, EOFError) as exc:  # what the reader of the sandbox expects
            answer = exc
    assert answer is not None
