"""Files that no muxer of FFmpeg writes: Dahua's recordings, and H.264 streams that do not state their rate."""

import re
import struct
from datetime import datetime, timedelta
from pathlib import Path

import av

START = datetime(2026, 3, 1, 10, 15)
_SPS = re.compile(rb"(\x00\x00\x01)(\x67.*?)(?=\x00\x00\x01|\x00\x00\x00\x01|\Z)", re.DOTALL)


def annex_b(source: Path) -> list[tuple[bytes, bool]]:
    """The packets of an H.264 file with start codes, and which are key pictures."""
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        to_annex_b = av.bitstream.BitStreamFilterContext("h264_mp4toannexb", stream)
        packets = [q for p in container.demux(stream) if p.size for q in to_annex_b.filter(p)]
        return [(bytes(p), p.is_keyframe) for p in packets]


def write_dhav(target: Path, source: Path, fps: int, size: tuple[int, int], head: bytes = b"") -> Path:
    """An H.264 file without B-frames as a .dav file; its clock is that of a recorder, from START on."""
    with target.open("wb") as f:
        f.write(head)
        for i, (data, is_key) in enumerate(annex_b(source)):
            time = START + timedelta(seconds=i / fps)
            clock = (time.hour << 12) | (time.minute << 6) | time.second
            date = ((time.year - 2000) << 26) | (time.month << 22) | (time.day << 17) | clock
            ext = struct.pack("<B3xHH", 0x82, *size) + bytes([0x81, 0, 8, fps])
            length = 24 + len(ext) + len(data) + 8
            kind = 0xFD if is_key else 0xFC
            header = b"DHAV" + struct.pack("<B3xIIIHB", kind, i, length, date, i * 1000 // fps % 65535, len(ext))
            f.write(header + bytes([sum(header) & 255]) + ext + data + b"dhav" + struct.pack("<I", length))
    return target


class _Bits:
    """Reads the bits of a parameter set."""

    def __init__(self, data: bytes) -> None:
        self.text, self.at = "".join(f"{byte:08b}" for byte in data), 0

    def take(self, n: int) -> int:
        """A number of n bits."""
        self.at += n
        return int(self.text[self.at - n : self.at], 2)

    def golomb(self) -> int:
        """An exponential-Golomb number."""
        zeros = self.text.index("1", self.at) - self.at
        self.at += zeros
        return self.take(zeros + 1) - 1


def without_rate(stream: bytes) -> bytes:
    """An H.264 stream of x264's, without the rate in its sequence parameters."""

    def rewritten(match: re.Match[bytes]) -> bytes:
        bits = _Bits(match[2].replace(b"\0\0\x03", b"\0\0"))
        bits.take(8)
        profile = bits.take(8)
        bits.take(16)
        bits.golomb()
        if profile == 100:
            assert [bits.golomb() for _ in range(3)] == [1, 0, 0]  # 4:2:0, 8 bits
            assert bits.take(2) == 0
        bits.golomb()
        order = bits.golomb()
        assert order in (0, 2)
        if order == 0:
            bits.golomb()
        bits.golomb()
        bits.take(1)
        bits.golomb(), bits.golomb()
        assert bits.take(2) == 3  # pictures, no fields; direct 8 x 8
        if bits.take(1):
            [bits.golomb() for _ in range(4)]
        assert bits.take(1)  # VUI
        if bits.take(1) and bits.take(8) == 255:
            bits.take(32)
        if bits.take(1):
            bits.take(1)
        if bits.take(1):
            bits.take(4)
            if bits.take(1):
                bits.take(24)
        if bits.take(1):
            bits.golomb(), bits.golomb()
        before = bits.at
        assert bits.take(1)  # the rate
        bits.take(65)
        text = f"{bits.text[:before]}0{bits.text[bits.at :].rstrip('0')}"
        text += "0" * (-len(text) % 8)
        data = bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))
        return match[1] + re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\0\0\x03", data)

    return _SPS.sub(rewritten, stream)
