"""Checks H.264 and HEVC packets for damage and lost reference pictures that FFmpeg conceals without a flag.

No installed library does that: PyAV's bitstream filters (h264_metadata, trace_headers) only rewrite or log headers.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

_FAULT = re.compile(rb"\0\0[\0-\x02]")  # emulation prevention keeps these bytes out of a NAL unit
_ZEROS = re.compile(rb"\0\0++(?:(\x01)|\x02|(?<=\0\0\0)|\Z)")  # the same between start codes (group 1)
_END = re.compile(rb"\0++(?:\x01(?:[\x0A\x0B]|[\x48\x4A]\x01))?")  # padding; some files add an end-of-sequence unit
_MAX_HEVC_PADDING = 16
_OVERWRITTEN = "overwritten data inside a slice"
_HEADER_BYTES = 12  # of a picture's first slice: the fields that are read are within
_MAX_SPS_BYTES = 1024
_PROFILES_WITH_CHROMA = frozenset((44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244))
_SLICE, _IDR_SLICE, _SEI, _SPS, _PPS, _DELIMITER, _FILLER = 1, 5, 6, 7, 8, 9, 12
_PICTURE_ONLY = (_SLICE, _IDR_SLICE, _SEI, _DELIMITER, _FILLER)  # NAL units that say nothing about other pictures
_MAX_REORDERED = 16


class CodedPicture(NamedTuple):
    """What the headers of a whole H.264 frame say.

    order: of showing, among the pictures from one IDR picture to the next (picture order count, 8.2.1 of the standard).
    reordered: at most so many pictures are decoded before another and shown after it. is_droppable: no other picture
    refers to it, and its packet holds nothing that others need.
    """

    order: int
    reordered: int
    is_idr: bool
    is_droppable: bool


class _Sps(NamedTuple):
    """What is needed of a sequence parameter set.

    order_bits: of the picture order's low part; 0: pictures are shown as they are decoded. reordered: None: not known.
    """

    frame_num_bits: int
    gaps_allowed: bool
    separate_planes: bool
    order_bits: int
    reordered: int | None = None


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
        self._sps: dict[int, _Sps] = {}
        self._sps_of_pps: dict[int, int] = {}
        self._previous: int | None = None  # frame_num of the last reference picture
        self._order = 0  # of that picture, or the last one where pictures are shown as they are decoded
        self._coded: CodedPicture | None = None  # by the last first slice of a picture
        self.picture: CodedPicture | None = None  # in the last packet, if it holds one whole H.264 frame that is known
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
        gap, slices, starts, is_droppable = None, 0, 0, True
        self.picture = None
        for start, stop, fault in self._prefixed(data) if self._length_bytes else self._between_start_codes(data):
            if fault:
                return fault
            kind = data[start] & 0x1F if self._h264 else 0
            is_droppable = is_droppable and kind in _PICTURE_ONLY
            if kind == _SLICE or kind == _IDR_SLICE:
                slices += 1
                is_droppable = is_droppable and not data[start] & 0x60
                if start + 1 < stop and data[start + 1] >= 0x80:  # first_mb_in_slice is 0
                    starts += 1
                    gap = self._read_slice(data, start) or gap
            elif kind == _SPS or kind == _PPS:
                self._read_parameters(kind, data[start + 1 : stop])
        if starts == 1 and self._coded is not None:
            self.picture = self._coded._replace(is_droppable=is_droppable)
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
        order, order_bits = bits.ue(), 0
        if order == 0:
            order_bits = bits.ue() + 4
        elif order == 1:
            bits.u(1), bits.ue(), bits.ue()
            for _ in range(min(bits.ue(), 255)):
                bits.ue()
        bits.ue()  # number of reference frames
        if key < 32 and frame_num_bits <= 16:
            sps = self._sps[key] = _Sps(frame_num_bits, bits.u(1) == 1, separate_planes, order_bits)
            if order != 1 and order_bits <= 16:
                self._sps[key] = sps._replace(reordered=_reordered(bits, order))

    def _read_slice(self, data: memoryview, start: int) -> str | None:
        """Follow a picture's first slice. Runs for every picture, so it reads without _Bits."""
        self._coded = None
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
        left -= sps.frame_num_bits + 2 * sps.separate_planes
        if left < 0:
            return None
        modulus, previous = 1 << sps.frame_num_bits, self._previous
        number = (bits >> left) % modulus
        is_reference, is_idr = data[start] & 0x60 > 0, data[start] & 0x1F == _IDR_SLICE  # by nal_ref_idc
        if is_reference:
            self._previous = number
        if sps.reordered is not None:
            self._read_order(sps, bits % (1 << left), left, is_idr, is_reference)
        if previous is None or number == previous or number == (previous + 1) % modulus:
            return None
        if sps.gaps_allowed or is_idr:
            return None
        return f"a reference picture is missing: frame number {number} follows {previous}"

    def _read_order(self, sps: _Sps, bits: int, left: int, is_idr: bool, is_reference: bool) -> None:
        """Follow the order of showing (8.2.1), from what is left of a frame's header behind frame_num."""
        if is_idr:
            left -= 2 * (left - bits.bit_length()) + 1  # an Exp-Golomb code: idr_pic_id
            bits %= 1 << max(left, 0)
        left -= sps.order_bits
        if left < 0:
            return
        if sps.order_bits:
            modulus, previous = 1 << sps.order_bits, 0 if is_idr else self._order
            step = (bits >> left) - previous % modulus
            if step <= -modulus // 2:
                step += modulus
            elif step > modulus // 2:
                step -= modulus
            order = previous + step
        else:
            order = 0 if is_idr else self._order + 1
        if is_reference or not sps.order_bits:
            self._order = order
        self._coded = CodedPicture(order, sps.reordered or 0, is_idr, is_droppable=False)


def _reordered(bits: _Bits, order: int) -> int | None:
    """How far pictures are reordered, from an SPS behind gaps_in_frame_num_value_allowed_flag (7.3.2.1.1, E.1.1).

    None: it is not stated, or pictures may be fields.
    """
    try:
        bits.ue(), bits.ue()  # width, height
        if not bits.u(1):
            return None
        bits.u(1)  # direct_8x8_inference_flag
        if bits.u(1):
            bits.ue(), bits.ue(), bits.ue(), bits.ue()  # cropping
        if order == 2:
            return 0
        return _reordered_by_vui(bits) if bits.u(1) else None
    except ValueError:
        return None


def _reordered_by_vui(bits: _Bits) -> int | None:
    if bits.u(1) and bits.u(8) == 255:
        bits.u(32)  # aspect ratio
    if bits.u(1):
        bits.u(1)  # overscan
    if bits.u(1):
        bits.u(4)  # video format, range
        if bits.u(1):
            bits.u(24)  # colours
    if bits.u(1):
        bits.ue(), bits.ue()  # places of chroma samples
    if bits.u(1):
        bits.u(65)  # time of a picture
    has_buffers = False
    for _ in range(2):
        if bits.u(1):
            has_buffers = True
            _skip_buffers(bits)
    if has_buffers:
        bits.u(1)
    bits.u(1)  # pic_struct_present_flag
    if not bits.u(1):
        return None
    bits.u(1), bits.ue(), bits.ue(), bits.ue(), bits.ue()  # motion vectors, sizes
    reordered = bits.ue()
    return reordered if reordered <= _MAX_REORDERED else None


def _skip_buffers(bits: _Bits) -> None:
    """Skip hrd_parameters()."""
    count = bits.ue() + 1
    bits.u(8)
    for _ in range(min(count, 32)):
        bits.ue(), bits.ue(), bits.u(1)
    bits.u(20)


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    if not bits.u(1):
        return
    last = scale = 8
    for _ in range(size):
        if scale:
            code = bits.ue()
            scale = (last + (code + 1) // 2 * (1 if code % 2 else -1)) % 256
        last = scale or last
