"""Oracle: real encoders' streams, intact and with one picture left out or a stretch zeroed."""

import io
import random
import re
from dataclasses import dataclass
from functools import cache

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headhunt_svc.video.nal import BitstreamCheck

H264_STREAMS = {
    "plain": "bframes=0:keyint=12:ref=1",
    "pyramid": "bframes=3:b-adapt=0:b-pyramid=normal:ref=4:keyint=25",
    "open-gop": "open-gop=1:bframes=2:b-adapt=0:keyint=10:min-keyint=2",
    "slices": "slices=4:bframes=2:b-adapt=0",
    "interlaced": "tff=1:bframes=2:b-adapt=0:keyint=20",
    "intra-refresh": "intra-refresh=1:bframes=0:keyint=15",
    "cbr": "nal-hrd=cbr:bitrate=2500:vbv-maxrate=2500:vbv-bufsize=2500:bframes=2:b-adapt=0:keyint=20",
    "cavlc": "cabac=0:bframes=1:b-adapt=0:aud=1",
    "scaling-lists": "cqm=jvt:8x8dct=1:bframes=0:keyint=15",
    "wide-numbers": "keyint=infinite:bframes=0:ref=16",
}
FORMATS = ["mp4", "mpegts"]


@dataclass(frozen=True)
class Stream:
    codec: str
    extradata: bytes | None
    packets: list[bytes]
    keys: list[bool]

    def check(self) -> BitstreamCheck:
        return BitstreamCheck(self.codec, self.extradata)

    def problems(self, packets: list[bytes]) -> list[str | None]:
        check = self.check()
        return [check.problem(packet) for packet in packets]


@cache
def encoded(encoder: str, params: str, container: str, pix_fmt: str = "yuv420p") -> Stream:
    """50 pictures of noise that moves, so that slices are long and predicted."""
    file = io.BytesIO()
    key = "x264-params" if encoder == "libx264" else "x265-params"
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(encoder, rate=25, options={key: params, "preset": "ultrafast", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, pix_fmt
        noise = np.random.default_rng(0).integers(0, 255, (12, 20, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        for i in range(50):
            grain = np.random.default_rng(i).integers(0, 24, noise.shape, dtype=np.uint8)
            picture = np.roll(noise, 2 * i, axis=1) // 2 + grain
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode())
    file.seek(0)
    with av.open(file) as source:
        video = source.streams.video[0]
        packets = [(bytes(packet), packet.is_keyframe) for packet in source.demux(video) if packet.size]
        extradata = video.codec_context.extradata
        return Stream(video.codec_context.name, extradata, [p for p, _ in packets], [k for _, k in packets])


def units(stream: Stream, packet: bytes) -> list[tuple[int, int]]:
    """Start and stop of the NAL units in a packet."""
    if (stream.extradata or b"\0")[0] == 0:
        codes = [(m.start(), m.end()) for m in re.finditer(rb"\0*\0\0\x01", packet)]
        return [(end, after) for (_, end), (after, _) in zip(codes, [*codes[1:], (len(packet), 0)], strict=True)]
    spans, position = [], 0
    while position < len(packet):
        size = int.from_bytes(packet[position : position + 4])
        spans.append((position + 4, position + 4 + size))
        position += 4 + size
    return spans


def slices(stream: Stream, packet: bytes) -> list[tuple[int, int]]:
    if stream.codec == "h264":
        return [(a, b) for a, b in units(stream, packet) if packet[a] & 0x1F in (1, 5)]
    return [(a, b) for a, b in units(stream, packet) if packet[a] >> 1 < 32]


@pytest.fixture(params=FORMATS)
def container(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=list(H264_STREAMS))
def h264(request: pytest.FixtureRequest, container: str) -> Stream:
    return encoded("libx264", H264_STREAMS[request.param], container)


def test_intact_h264_has_no_problem(h264: Stream) -> None:
    assert len(h264.packets) == 50
    assert not any(h264.problems(h264.packets))


@pytest.mark.parametrize("params", ["log-level=none", "log-level=none:slices=3:bframes=3", "log-level=none:open-gop=1"])
def test_intact_hevc_has_no_problem(params: str, container: str) -> None:
    stream = encoded("libx265", params, container)
    assert stream.codec == "hevc"
    assert not any(stream.problems(stream.packets))


def test_444_with_its_longer_sps(container: str) -> None:
    stream = encoded("libx264", "bframes=0:cqm=jvt", container, "yuv444p")
    assert not any(stream.problems(stream.packets))
    assert stream.problems(stream.packets[:5] + stream.packets[6:])[5] is not None


def test_each_lost_picture_is_told_at_the_next_packet_if_others_refer_to_it(h264: Stream) -> None:
    references = 0
    for i in range(1, len(h264.packets) - 1):
        first, _ = slices(h264, h264.packets[i])[0]
        following, _ = slices(h264, h264.packets[i + 1])[0]
        is_reference = h264.packets[i][first] & 0x60 != 0
        before_idr = h264.packets[i + 1][following] & 0x1F == 5
        if h264.keys[i]:
            continue
        problems = h264.problems(h264.packets[:i] + h264.packets[i + 1 :])
        assert not any(problems[:i])
        if is_reference and not before_idr:
            references += 1
            assert "reference picture is missing" in (problems[i] or "")
        else:
            assert not any(problems)
    assert references > 10


def test_a_key_frame_after_restart_is_intact() -> None:
    stream = encoded("libx264", H264_STREAMS["open-gop"], "mp4")
    check = stream.check()
    key = next(i for i in range(5, 50) if stream.keys[i])
    assert check.problem(stream.packets[0]) is None
    assert "missing" in (check.problem(stream.packets[key - 1]) or "")
    check.restart()
    assert [check.problem(packet) for packet in stream.packets[key:]] == [None] * (50 - key)


@pytest.mark.parametrize("encoder", ["libx264", "libx265"])
def test_zeroed_bytes_inside_a_slice_are_told(encoder: str, container: str) -> None:
    params = H264_STREAMS["slices"] if encoder == "libx264" else "log-level=none"
    stream = encoded(encoder, params, container)
    random_ = random.Random(0)
    spans = [(i, a, b) for i, p in enumerate(stream.packets) for a, b in slices(stream, p) if b - a > 220]
    assert len(spans) > 30
    for i, start, stop in spans:
        offset = random_.randrange(start + 15, stop - 190)
        packet = bytearray(stream.packets[i])
        packet[offset : offset + 188] = bytes(188)
        if container == "mpegts" and packet[offset + 188] == 1:
            continue  # looks like a start code
        assert stream.problems([*stream.packets[:i], bytes(packet)])[i] == "overwritten data inside a slice"


def test_a_missing_first_slice_is_told(container: str) -> None:
    stream = encoded("libx264", H264_STREAMS["slices"], container)
    spans = units(stream, stream.packets[7])
    (start, stop), prefix = slices(stream, stream.packets[7])[0], 4 if container == "mp4" else 3
    assert len(spans) >= 4
    packet = stream.packets[7][: start - prefix] + stream.packets[7][stop:]
    assert stream.problems([*stream.packets[:7], packet])[7] == "the first slice of the picture is missing"


def test_wrong_lengths_are_told() -> None:
    stream = encoded("libx264", H264_STREAMS["plain"], "mp4")
    packet = stream.packets[3]
    check = stream.check()
    assert check.problem(packet[:-1]) == "a NAL unit runs past the packet"
    assert check.problem(bytes(4) + packet) == "a NAL unit's length is 0"


def in_length(unit: bytes) -> bytes:
    return len(unit).to_bytes(4) + unit


@pytest.mark.parametrize(
    ("encoder", "end", "is_fault"),
    [
        ("libx264", bytes(1), False),
        ("libx264", bytes(3000), False),  # Intel's encoder at constant bit rate; the decoder raises on a cut slice
        ("libx264", b"\0\0\0\1\x0a", False),  # MainConcept's end of sequence
        ("libx264", bytes(200) + b"\x80", True),
        ("libx264", b"\0\0\2", True),
        ("libx264", b"\0\0\3", False),
        ("libx265", bytes(16), False),
        ("libx265", b"\0\0\1\x48\1", False),
        ("libx265", bytes(17), True),
    ],
)
def test_ends_of_slices_as_encoders_write_them(encoder: str, end: bytes, is_fault: bool) -> None:
    stream = encoded(encoder, H264_STREAMS["plain"] if encoder == "libx264" else "log-level=none", "mp4")
    start, stop = slices(stream, stream.packets[0])[-1]
    packet = stream.packets[0][: start - 4] + in_length(stream.packets[0][start:stop].rstrip(b"\0") + end)
    assert (stream.check().problem(packet) is not None) == is_fault


def test_unescaped_sei_is_no_problem() -> None:
    """Cameras write such, and no picture is made from it."""
    stream = encoded("libx264", H264_STREAMS["plain"], "mp4")
    assert stream.check().problem(in_length(b"\x06\x05" + bytes(30) + b"\x80") + stream.packets[0]) is None


class Writer:
    """Writes H.264 headers."""

    def __init__(self) -> None:
        self.bits = ""

    def u(self, n: int, value: int) -> "Writer":
        self.bits += f"{value:0{n}b}" if n else ""
        return self

    def ue(self, *values: int) -> "Writer":
        for value in values:
            code = f"{value + 1:b}"
            self.bits += "0" * (len(code) - 1) + code
        return self

    def unit(self, header: int) -> bytes:
        bits = self.bits + "1" + "0" * (-(len(self.bits) + 1) % 8)
        payload = int(bits, 2).to_bytes(len(bits) // 8)
        return b"\0\0\1" + bytes([header]) + re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", payload)


def sps(key: int, bits: int = 4, gaps: int = 0, planes: int = 0, poc_cycle: int | None = None) -> bytes:
    writer = Writer().u(8, 244).u(16, 0).ue(key, 3).u(1, planes).ue(0, 0).u(2, 0).ue(bits - 4)
    if poc_cycle is None:
        writer.ue(2)
    else:
        writer.ue(1).u(1, 0).ue(3, 4, poc_cycle, *range(poc_cycle))
    return writer.ue(4).u(1, gaps).ue(10, 10).unit(0x67)


def pps(key: int, sps_key: int) -> bytes:
    return Writer().ue(key, sps_key).u(2, 0).unit(0x68)


def picture(
    number: int, bits: int = 4, pps_key: int = 0, header: int = 0x61, planes: int = 0, first_mb: int = 0
) -> bytes:
    return Writer().ue(first_mb, 7, pps_key).u(2 * planes, 0).u(bits, number).u(20, 5).unit(header)


def annex_b(*packets: bytes) -> list[bool]:
    check = BitstreamCheck("h264", None)
    return [check.problem(packet) is not None for packet in packets]


def test_fields_of_a_frame_share_their_number() -> None:
    idr = sps(0) + pps(0, 0) + picture(0, header=0x65) + picture(0, header=0x61)
    assert annex_b(idr, picture(1) + picture(1), picture(2), picture(2), picture(3, header=1) * 2) == [False] * 5
    assert annex_b(idr, picture(2) + picture(2))[1]


def test_numbers_wrap_and_non_references_do_not_count() -> None:
    start = sps(0) + pps(0, 0) + picture(14, header=0x61)
    assert (
        annex_b(start, picture(15), picture(0, header=1), picture(0, header=1), picture(0), picture(1)) == [False] * 6
    )
    assert annex_b(start, picture(15), picture(1)) == [False, False, True]


def test_streams_that_allow_gaps_are_not_checked() -> None:
    assert annex_b(sps(0, gaps=1) + pps(0, 0) + picture(0, header=0x65), picture(7)) == [False, False]


def test_parameter_sets_by_their_ids() -> None:
    sets = sps(0, 4) + sps(3, 9, poc_cycle=5) + pps(0, 0) + pps(7, 3) + pps(200, 3)
    first = picture(0, 9, 7, header=0x65)
    assert annex_b(sets + first, picture(1, 9, 200), picture(2, 9, 7), picture(4, 9, 7)) == [False, False, False, True]
    changed = sps(3, 16) + picture(0, 16, 7, header=0x65)
    assert annex_b(sets + first, changed, picture(1, 16, 7), picture(1000, 16, 7)) == [False, False, False, True]


def test_separate_colour_planes() -> None:
    idr = sps(0, planes=1) + pps(0, 0) + picture(0, header=0x65, planes=1) * 3
    assert annex_b(idr, picture(1, planes=1) * 3, picture(3, planes=1) * 3) == [False, False, True]


def test_layers_and_auxiliary_pictures_are_left_out() -> None:
    layers = b"".join(picture(9, header=0x60 | kind) for kind in (14, 19, 20))
    assert annex_b(sps(0) + pps(0, 0) + picture(0, header=0x65) + layers, picture(1) + layers) == [False, False]


def test_slices_without_parameter_sets_are_left_to_the_decoder() -> None:
    assert annex_b(picture(0), picture(9)) == [False, False]


@settings(max_examples=100, deadline=None)
@given(
    codec=st.sampled_from(["h264", "hevc"]),
    extradata=st.one_of(st.none(), st.binary(max_size=60), st.binary(max_size=60).map(lambda b: b"\1" + b)),
    packets=st.lists(
        st.lists(st.sampled_from([b"\0", b"\0\0\1", b"\0\0\1\x67", b"\x65", b"\xff"]) | st.binary(max_size=30)),
        max_size=4,
    ),
)
def test_random_bytes_never_raise(codec: str, extradata: bytes | None, packets: list[list[bytes]]) -> None:
    check = BitstreamCheck(codec, extradata)
    for parts in packets:
        problem = check.problem(b"".join(parts))
        assert problem is None or problem


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from(FORMATS))
def test_random_damage_never_raises(random_: random.Random, container: str) -> None:
    stream = encoded("libx264", H264_STREAMS["scaling-lists"], container)
    extradata = bytearray(stream.extradata or b"")
    extradata[random_.randrange(len(extradata))] = random_.randrange(256)
    check = BitstreamCheck("h264", bytes(extradata))
    for packet in stream.packets[:6]:
        damaged = bytearray(packet)
        for _ in range(4):
            damaged[random_.randrange(min(len(damaged), 40))] = random_.randrange(256)
        check.problem(memoryview(damaged))


@pytest.mark.parametrize("zeros", [b"", b"\1", b"\2", b"\5"])
def test_long_runs_of_zeros_take_linear_time(zeros: bytes) -> None:
    packet = bytes(3_000_000) + zeros  # quadratic time would take hours
    problem = BitstreamCheck("h264", None).problem(b"\0\0\1\x65\x88" + packet)
    assert (problem is None) == (zeros in (b"", b"\1"))
    prefixed = BitstreamCheck("h264", b"\1\0\0\0\3\0\0")
    assert (prefixed.problem(in_length(b"\x65\x88" + packet)) is None) == (zeros == b"")


@pytest.mark.parametrize("unit", [b"\0\0\1\x67", b"\0\0\1\x65\x80", b"\x64\0\0\xff\xbf"])
def test_many_small_units_never_raise(unit: bytes) -> None:
    assert BitstreamCheck("h264", None).problem(unit * 500) is None
    assert BitstreamCheck("h264", b"\1\0\0\0\3\0\0").problem(in_length(b"\x67" + unit) * 500) is None
