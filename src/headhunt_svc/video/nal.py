"""Checks H.264 and HEVC packets for damage and lost reference pictures that FFmpeg conceals without a flag.

No installed library does that: PyAV's bitstream filters (h264_metadata, trace_headers) only rewrite or log headers.
"""

import re
from collections.abc import Iterator

_FAULT = re.compile(rb"\0\0[\0-\x02]")  # emulation prevention keeps these bytes out of a NAL unit
_ZEROS = re.compile(rb"\0\0++(?:(\x01)|\x02|(?<=\0\0\0)|\Z)")  # the same between start codes (group 1)
_END = re.compile(rb"\0++(?:\x01(?:[\x0A\x0B]|[\x48\x4A]\x01))?")  # padding; some files add an end-of-sequence unit
_MAX_HEVC_PADDING = 16
_OVERWRITTEN = "overwritten data inside a slice"
_HEADER_BYTES = 12  # of a picture's first slice: the fields that are read are within
_MAX_SPS_BYTES = 1024
_PROFILES_WITH_CHROMA = frozenset((44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244))
_SLICE, _IDR_SLICE, _SPS, _PPS = 1, 5, 7, 8


class _Bits:
    """Reads the fields of a header; ValueError past its end."""

    __slots__ = ("left", "value")

    def __init__(self, payload: bytes) -> None:
        payload = payload.replace(b"\0\0\3", b"\0\0")
        self.value, self.left = int.from_bytes(payload), 8 * len(payload)

    def u(self, n: int) -> int:
        """n bits, unsigned."""
        self.left -= n
        if self.left < 0:
            raise ValueError("the header is cut off")
        number = self.value >> self.left
        self.value ^= number << self.left
        return number

    def ue(self) -> int:
        """An Exp-Golomb code."""
        zeros = self.left - self.value.bit_length()
        return self.u(2 * zeros + 1) - 1


class BitstreamCheck:
    """Says for each packet of a stream, in decoding order, why its pictures cannot be trusted.

    H.264: a jump of frame_num (7.4.3 of the standard) is a lost reference picture, unless the stream allows jumps
    (gaps_in_frame_num_value_allowed_flag). A loss right before an IDR picture is no problem: nothing refers to it.
    memory_management_control_operation 5, which resets frame_num, is not read: it looks like a loss.
    H.264 and HEVC: bytes inside a slice that encoders escape, as where zeros overwrote it, and wrong NAL unit lengths.
    Zeros that end a NAL unit are padding, as of encoders at constant bit rate; FFmpeg's H.264 decoder raises on a slice
    that was cut off so. Its HEVC decoder does not: more than 16 of them are damage there, with length prefixes.

    codec: "h264" or "hevc". extradata: the stream's avcC or hvcC, else the packets have start codes (Annex B);
    for a packet with new extradata, make a new check.
    """

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self._h264 = codec == "h264"
        self._length_bytes = 0  # 0: start codes
        self._sps: dict[int, tuple[int, bool, bool]] = {}  # bits of frame_num, gaps allowed, separate colour planes
        self._sps_of_pps: dict[int, int] = {}
        self._previous: int | None = None  # frame_num of the last reference picture
        first, extradata = (1, extradata or b"") if self._h264 else (0, extradata or b"")
        kinds = [header & 0x1F if self._h264 else header >> 1 & 0x3F for header in range(256)]
        self._is_slice = [first <= kind <= (_IDR_SLICE if self._h264 else 31) for kind in kinds]
        if self._h264 and extradata[:1] == b"\1" and len(extradata) >= 7:
            self._length_bytes = (extradata[4] & 3) + 1
            self._read_avcc(memoryview(extradata))
        elif not self._h264 and len(extradata) >= 23 and (extradata[:2] != b"\0\0" or extradata[2] > 1):
            self._length_bytes = (extradata[21] & 3) + 1
        elif self._h264:
            self.problem(extradata)

    def restart(self) -> None:
        """Forget the previous picture, as pictures were skipped; the next one, a key frame, may have any number."""
        self._previous = None

    def problem(self, packet: bytes | memoryview) -> str | None:
        """Why the packet cannot be trusted or does not follow the one before; None if it is intact.

        Parameter sets are remembered, so packets that are skipped should pass here too. A call after restart() tells
        whether a key frame itself is damaged.
        """
        data = memoryview(packet)  # no copy: this runs for every packet
        gap, slices, starts = None, 0, 0
        for start, stop, fault in self._prefixed(data) if self._length_bytes else self._between_start_codes(data):
            if fault:
                return fault
            kind = data[start] & 0x1F if self._h264 else 0
            if kind == _SLICE or kind == _IDR_SLICE:
                slices += 1
                if start + 1 < stop and data[start + 1] >= 0x80:  # first_mb_in_slice is 0
                    starts += 1
                    gap = self._read_slice(data, start) or gap
            elif kind == _SPS or kind == _PPS:
                self._read_parameters(kind, data[start + 1 : stop])
        return gap or ("the first slice of the picture is missing" if slices and not starts else None)

    def _prefixed(self, data: memoryview) -> Iterator[tuple[int, int, str]]:
        """Where each NAL unit behind a length starts and stops, and what is wrong with it."""
        position, total, prefix = 0, len(data), self._length_bytes
        while position + prefix <= total:
            start = position + prefix
            position = start + int.from_bytes(data[position:start])
            if not start < position <= total:
                reason = "a NAL unit's length is 0" if position == start else "a NAL unit runs past the packet"
                yield start, position, reason
                return
            fault = _FAULT.search(data, start, position) if self._is_slice[data[start]] else None
            if fault:
                tail = data[fault.start() : position]
                if not _END.fullmatch(tail) or (not self._h264 and len(tail) > _MAX_HEVC_PADDING):
                    yield start, position, _OVERWRITTEN
            yield start, position, ""

    def _between_start_codes(self, data: memoryview) -> Iterator[tuple[int, int, str]]:
        """Where each NAL unit behind a start code starts, the packet's end, and what is wrong with the unit."""
        start = -1
        for match in _ZEROS.finditer(data):
            stop = match.end()
            if stop == len(data) and data[stop - 1] <= 1:
                return  # zeros may end a packet
            if match[1]:
                start = stop
                yield start, len(data), ""
            elif start >= 0 and self._is_slice[data[start]]:
                yield start, len(data), _OVERWRITTEN

    def _read_avcc(self, extradata: memoryview) -> None:
        position = 5
        for mask, kind in ((0x1F, _SPS), (0xFF, _PPS)):  # each after their count
            count = int.from_bytes(extradata[position : position + 1]) & mask
            position += 1
            for _ in range(count):
                start = position + 2
                position = start + int.from_bytes(extradata[position:start])
                self._read_parameters(kind, extradata[start + 1 : position])

    def _read_parameters(self, kind: int, payload: memoryview) -> None:
        """Remember a parameter set; the decoder complains about unreadable ones."""
        bits = _Bits(bytes(payload[:_MAX_SPS_BYTES]).partition(b"\0\0\1")[0])
        try:
            if kind == _SPS:
                self._read_sps(bits)
            else:
                key = bits.ue()
                self._sps_of_pps[key] = bits.ue()
        except ValueError:
            return

    def _read_sps(self, bits: _Bits) -> None:
        profile, _, key, separate_planes = bits.u(8), bits.u(16), bits.ue(), False
        if profile in _PROFILES_WITH_CHROMA:
            chroma = bits.ue()
            separate_planes = chroma == 3 and bits.u(1) == 1
            bits.ue(), bits.ue(), bits.u(1)  # bit depths, transform bypass
            if bits.u(1):
                for i in range(12 if chroma == 3 else 8):
                    _skip_scaling_list(bits, 16 if i < 6 else 64)
        frame_num_bits = bits.ue() + 4
        order = bits.ue()
        if order == 0:
            bits.ue()
        elif order == 1:
            bits.u(1), bits.ue(), bits.ue()
            for _ in range(min(bits.ue(), 255)):
                bits.ue()
        bits.ue()  # number of reference frames
        if key < 32 and frame_num_bits <= 16:
            self._sps[key] = frame_num_bits, bits.u(1) == 1, separate_planes

    def _read_slice(self, data: memoryview, start: int) -> str | None:
        """Follow a picture's first slice. Runs for every picture, so it reads without _Bits."""
        payload = bytes(data[start + 1 : start + _HEADER_BYTES]).replace(b"\0\0\3", b"\0\0")
        bits, left, code = int.from_bytes(payload), 8 * len(payload), 0
        for _ in range(3):  # Exp-Golomb codes of the first macroblock, slice type and PPS
            left -= 2 * (left - bits.bit_length()) + 1
            if left < 0:
                return None
            code = bits >> left
            bits ^= code << left
        sps = self._sps.get(self._sps_of_pps.get(code - 1, -1))
        if sps is None:
            return None
        frame_num_bits, gaps_allowed, separate_planes = sps
        left -= frame_num_bits + 2 * separate_planes
        if left < 0:
            return None
        modulus, previous = 1 << frame_num_bits, self._previous
        number = (bits >> left) % modulus
        if data[start] & 0x60:  # nal_ref_idc: a reference picture
            self._previous = number
        if previous is None or number == previous or number == (previous + 1) % modulus:
            return None
        if gaps_allowed or data[start] & 0x1F == _IDR_SLICE:
            return None
        return f"a reference picture is missing: frame number {number} follows {previous}"


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    if not bits.u(1):
        return
    last = scale = 8
    for _ in range(size):
        if scale:
            code = bits.ue()
            scale = (last + (code + 1) // 2 * (1 if code % 2 else -1)) % 256
        last = scale or last
