import io
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from headhunt_svc.errors import VideoOpenError
from headhunt_svc.params import SegmentationParams
from headhunt_svc.video.ending import lacks_index, missing_end
from headhunt_svc.video.reader import VideoReader
from headhunt_svc.video.sandbox import SandboxedReader

FORMATS = ["asf", "avi", "flv", "gif", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "mpeg", "mpegts", "ogg"]


class Pipe:
    """Takes what a muxer writes and cannot be rewound, as a pipe."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> int:
        self.data += data
        return len(data)


def video(muxer: str, codec: str, options: dict[str, str] | None = None, pipe: bool = False) -> tuple[bytes, str]:
    """A noisy video, and FFmpeg's name of the demuxer that reads it."""
    key = (muxer, codec, str(options), pipe)
    if key not in _videos:
        with tempfile.NamedTemporaryFile() as file:
            to = Pipe() if pipe else file.name
            _write(to, muxer, codec, options or {})
            data = bytes(to.data) if isinstance(to, Pipe) else Path(to).read_bytes()
        with av.open(io.BytesIO(data)) as container:
            _videos[key] = data, container.format.name
    return _videos[key]


_videos: dict[tuple[str, str, str, bool], tuple[bytes, str]] = {}


FAST = {
    "libx264": {"preset": "ultrafast", "tune": "zerolatency"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"},
}


def _write(to: Pipe | str, muxer: str, codec: str, options: dict[str, str]) -> bytes:
    """Write a video; returns what the file holds before its end is written."""
    noise = np.random.default_rng(3)
    with av.open(to, "w", format=muxer, options=options) as container:
        stream = container.add_stream(codec, rate=25, options=FAST.get(codec, {}))
        stream.width, stream.height, stream.gop_size = 64, 48, 8
        stream.codec_context.thread_count = 1
        stream.pix_fmt = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        for _ in range(40):
            frame = av.VideoFrame.from_ndarray(noise.integers(0, 256, (48, 64, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        unfinished = bytes(to.data) if isinstance(to, Pipe) else Path(to).read_bytes()
        container.mux(stream.encode(None))
    return unfinished


def says(data: bytes, format_name: str) -> str | None:
    return missing_end(io.BytesIO(data), format_name)


FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}
KINDS: dict[str, tuple[str, str, dict[str, str], bool]] = {
    "mp4": ("mp4", "libx264", {}, False),
    "mp4, index first": ("mp4", "libx264", {"movflags": "faststart"}, False),
    "mp4, fragments": ("mp4", "libx264", FRAGMENTS, False),
    "mp4, fragments to a pipe": ("mp4", "libx264", FRAGMENTS, True),
    "mov": ("mov", "mjpeg", {}, False),
    "mkv": ("matroska", "libx264", {}, False),
    "mkv to a pipe": ("matroska", "libx264", {}, True),
    "webm": ("webm", "libvpx", {}, False),
    "webm to a pipe": ("webm", "libvpx", {}, True),
    "avi": ("avi", "mpeg4", {}, False),
    "avi to a pipe": ("avi", "mpeg4", {}, True),
    "ts": ("mpegts", "libx264", {}, False),
    "ts, lengths": ("mpegts", "libx264", {"omit_video_pes_length": "0"}, False),
    "m2ts": ("mpegts", "libx264", {"mpegts_m2ts_mode": "1"}, False),
    "flv": ("flv", "flv", {}, False),
    "flv to a pipe": ("flv", "flv", {}, True),
    "asf": ("asf", "wmv2", {}, False),
    "asf to a pipe": ("asf", "wmv2", {}, True),
    "mpg": ("mpeg", "mpeg2video", {}, False),
    "mpg, MPEG-1": ("mpeg", "mpeg1video", {}, False),
    "vob": ("vob", "mpeg2video", {}, False),
    "gif": ("gif", "gif", {}, False),
    "ogg": ("ogg", "libvpx", {}, False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_file_is_not_unfinished_and_a_cut_one_is(kind: str) -> None:
    data, format_name = video(*KINDS[kind])
    assert says(data, format_name) is None
    places = random.Random(kind).sample(range(len(data) // 4, len(data) - 20), 30)
    missed = [place for place in places if not says(data[:place], format_name)]
    assert len(missed) <= 2, missed  # a cut exactly between two units
    assert lacks_index(io.BytesIO(data)) is False


def test_all_kinds_of_containers_are_tried() -> None:
    muxers = {"mp4": "mov", "vob": "mpeg", "webm": "matroska"}
    assert {muxers.get(k[0], k[0]) for k in KINDS.values()} == {name.split(",")[0] for name in FORMATS}


@pytest.mark.parametrize(
    ("muxer", "codec", "text"),
    [
        ("matroska", "libx264", "the index at the end is missing"),
        ("avi", "mpeg4", "the index at the end is missing"),
        ("asf", "wmv2", "the size in the header, written at the end of a recording, is missing"),
        ("mp4", "libx264", "the index (moov) is missing"),
        ("gif", "gif", "the trailer, which ends the pictures, is missing"),
        ("ogg", "libvpx", "the last page is not marked as the end of its stream"),
    ],
)
def test_a_recording_that_still_runs_is_told(tmp_path: Path, muxer: str, codec: str, text: str) -> None:
    path = tmp_path / "video"
    unfinished = _write(str(path), muxer, codec, {"flush_packets": "1"})
    format_name = {"mp4": "mov,mp4", "matroska": "matroska,webm"}.get(muxer, muxer)
    assert says(unfinished, format_name) == text
    assert says(path.read_bytes(), format_name) is None


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda d: d[:-60], "the last fragment is cut off"),  # in the index of the fragments
        (lambda d: d[: d.rfind(b"moof") + 40], "the last fragment is cut off"),
        (lambda d: d[: d.rfind(b"mdat") - 4], "the last fragment is cut off"),  # between a fragment's head and its data
        (lambda d: d[: d.rfind(b"mdat") + 50], "the last fragment is cut off"),
        (lambda d: d[: d.rfind(b"mdat") - 2], "the last fragment is cut off"),
        (lambda d: d[: d.rfind(b"mfra") - 4], None),  # the index of the fragments is optional
        (lambda d: d + b"\0\0\0\0" + bytes(500), None),
        (lambda d: d + b"\0\xff\xff\xffInsta and more", None),  # a camera's own data, which are not boxes
        (lambda d: d[: d.find(b"moof") - 4], "the media data (mdat) are missing"),
    ],
)
def test_the_end_of_a_fragmented_mp4(change: Callable[[bytes], bytes], text: str | None) -> None:
    data, format_name = video("mp4", "libx264", FRAGMENTS)
    assert says(change(data), format_name) == text


def test_a_box_to_the_end_of_the_file_is_whole() -> None:
    data, format_name = video("mp4", "libx264", {"movflags": "faststart"})
    mdat = data.rfind(b"mdat")
    assert says(data[: mdat - 4] + b"\0\0\0\0" + data[mdat:], format_name) is None
    size = int.from_bytes(data[mdat - 4 : mdat], "big") + 8
    large = data[: mdat - 4] + b"\0\0\0\1mdat" + size.to_bytes(8, "big") + data[mdat + 4 :]
    assert says(large, format_name) is None
    assert says(large[:-1], format_name) == "the file is shorter than its header states"


def test_an_avi_without_the_index_that_its_header_promises() -> None:
    data, format_name = video("avi", "mpeg4")
    index = data.rfind(b"idx1")
    cut = data[:4] + (index - 8).to_bytes(4, "little") + data[8:index]  # as a recorder that repairs its sizes
    assert says(cut, format_name) == "the index at the end is missing"
    other = cut.find(b"JUNK")  # room for OpenDML's index
    cut = cut[:other] + b"indx" + cut[other + 4 : other + 12] + b"\1" + cut[other + 13 :]
    assert says(cut, format_name) is None


def test_the_second_part_of_a_large_avi_is_looked_at() -> None:
    data, format_name = video("avi", "mpeg4")
    part = b"RIFF" + (1016).to_bytes(4, "little") + b"AVIXLIST" + (1004).to_bytes(4, "little") + b"movi" + bytes(1000)
    assert says(data + part, format_name) is None
    assert says((data + part)[:-100], format_name) == "the file is shorter than its header states"


def packets(data: bytes) -> list[bytes]:
    return [data[i : i + 188] for i in range(0, len(data), 188)]


def test_a_transport_stream_that_stops_within_a_picture_of_stated_length() -> None:
    data, format_name = video("mpegts", "libx264", {"omit_video_pes_length": "0"})
    cut = b"".join(packets(data)[:-1])
    assert says(cut, format_name) == "the data of the last picture or sound are incomplete"
    lost = b"".join([*packets(data)[:-3], *packets(data)[-2:]])  # lost before the end: not an unfinished file
    assert says(lost, format_name) is None


def test_transport_streams_with_error_correction_and_from_the_middle_of_a_packet() -> None:
    data, format_name = video("mpegts", "libx264")
    assert says(data[100:], format_name) is None
    assert says(data[100:-1], format_name) == "the last transport-stream packet is cut off"
    corrected = b"".join(packet + bytes(16) for packet in packets(data))
    assert says(corrected, format_name) is None
    assert says(corrected[:-10], format_name) == "the last transport-stream packet is cut off"


def test_whole_transport_streams_whose_last_packet_is_full() -> None:
    data, format_name = video("mpegts", "libx264")
    full = [i for i, packet in enumerate(packets(data)) if packet[1] & 0x1F == 1 and not packet[3] & 0x20]
    assert says(b"".join(packets(data)[: full[-1] + 1]), format_name) is None  # may be the last of a picture


def test_an_flv_that_is_shorter_than_its_metadata_states() -> None:
    data, format_name = video("flv", "flv")
    tag = len(data) - 4 - int.from_bytes(data[-4:], "big")
    assert says(data[:tag], format_name) == "the file is shorter than its header states"
    assert says(data[: len(data) - 4], format_name) == "the file is shorter than its header states"


def test_a_program_stream_with_an_end_code_is_whole() -> None:
    data, format_name = video("mpeg", "mpeg2video")
    assert says(data + b"\0\0\1\xb9", format_name) is None
    assert says(data + b"\0\0", format_name) == "the last pack is cut off"


def test_a_long_live_stream_is_read_from_its_last_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    data, format_name = video("matroska", "libx264", {"cluster_time_limit": "100"}, pipe=True)
    monkeypatch.setattr("headhunt_svc.video.ending._MAX_HOPS", 6)
    assert says(data, format_name) is None
    assert says(data[:-30], format_name) == "the last cluster is cut off"


@pytest.mark.parametrize("format_name", [*FORMATS, "m4v", "mpegvideo", "h264", ""])
def test_garbage_raises_nothing(format_name: str) -> None:
    rng = random.Random(format_name)
    wholes = sample(format_name)
    for _ in range(40):
        says(rng.randbytes(rng.choice([0, 1, 3, 7, 12, 27, 50, 600, 5000])), format_name)
        for whole in wholes:
            damaged = bytearray(whole[: rng.randrange(1, len(whole))])
            for _ in range(rng.choice([1, 3, 30])):
                damaged[rng.randrange(min(len(damaged), rng.choice([60, 400, 10**6])))] = rng.choice([0, 1, 127, 255])
            answer = says(bytes(damaged), format_name)
            assert answer is None or answer.startswith("the ")


def sample(format_name: str) -> list[bytes]:
    kinds = ("asf", "avi to a pipe", "flv", "gif", "webm to a pipe", "mp4, fragments", "mpg", "ts, lengths", "ogg")
    return [data for data, name in (video(*KINDS[kind]) for kind in kinds) if name == format_name]


@pytest.mark.parametrize(
    ("data", "format_name"),
    [
        (b"\0\0\0\x08moov" * 2000, "mov"),
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\xff" + b"\xa3\x80" * 4000, "matroska"),
        (b"GIF89a" + bytes(7) + b"\x21\xfe" + b"\x01\x01" * 4000, "gif"),
        (b"\0\0\1\xba" + b"\x21" * 8 + (b"\0\0\1\xba" + b"\x21" * 8) * 4000 + b"junk", "mpeg"),
        (b"RIFF\xff\xff\xff\xffAVI LIST" + bytes(8) + b"avih" + bytes(36) + b"JUNK\0\0\0\0" * 4000, "avi"),
        (b"\x47" * 2**20, "mpegts"),
    ],
)
def test_a_file_of_very_many_units_is_given_up_soon(
    monkeypatch: pytest.MonkeyPatch, data: bytes, format_name: str
) -> None:
    reads, limit = 0, 500
    monkeypatch.setattr("headhunt_svc.video.ending._MAX_HOPS", limit)

    class Counted(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            nonlocal reads
            reads += 1
            assert size is not None
            assert 0 <= size <= 2**20
            return super().read(size)

    missing_end(Counted(data), format_name)
    assert reads <= 2 * limit + 5


@pytest.mark.parametrize("reader", [VideoReader, SandboxedReader])
def test_without_its_index_a_recording_is_said_to_be_interrupted(
    tmp_path: Path, reader: type[VideoReader] | type[SandboxedReader]
) -> None:
    path = tmp_path / "a.mp4"
    data = video("mp4", "libx264")[0]
    path.write_bytes(data[: data.rfind(b"moov") - 4])
    with pytest.raises(VideoOpenError, match=r"probably interrupted before its index \(moov\).*untrunc"):
        with reader(path) as opened:
            list(opened.segments(SegmentationParams()))


def test_an_index_that_is_cut_off_is_lacking() -> None:
    data, format_name = video("mp4", "libx264")
    cut = data[: data.rfind(b"moov") + 100]
    assert lacks_index(io.BytesIO(cut))
    assert says(cut, format_name) == "the file is shorter than its header states"


def test_other_files_that_cannot_be_opened_are_not_said_to_be_interrupted(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(random.Random(1).randbytes(5000))
    with pytest.raises(VideoOpenError, match="not a video that can be read"), VideoReader(path):
        pass
