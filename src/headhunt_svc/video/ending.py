"""Tells what is missing at the end of a video file: recordings that were interrupted, copies that were cut off.

Only what the container itself states is used. A whole file must not be called unfinished, so these cannot be told from
whole ones: a transport stream, program stream, FLV file, fragmented MP4 or live Matroska or AVI file that stops exactly
between two of its units, since whole ones that were written without seeking have no mark at their end either.
"""

import re
import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from headhunt_svc.video.dhav import cut_frame

_MAX_HOPS = 2**16  # units that are stepped over in one file
_TAIL = 2**20  # bytes that are searched at the end
INTERRUPTED = (
    "the recording was probably interrupted before its index (moov) was written; if it still runs, wait for its end, "
    "otherwise repair the file with a tool such as untrunc and a whole file of the same camera"
)
_SHORT = "the file is shorter than its header states"
_NO_INDEX = "the index at the end is missing"


def missing_end(file: BinaryIO, format_name: str) -> str | None:
    """What is missing at the end of a file, in words; None if it is whole, or if the container cannot tell.

    file: moved, not closed. format_name: FFmpeg's name of the demuxer, as `container.format.name`.
    """
    check = _CHECKS.get(format_name.split(",", maxsplit=1)[0])
    return check(_Source(file)) if check else None


def lacks_index(file: BinaryIO) -> bool:
    """Whether a file is an MP4 or QuickTime recording with media data (mdat), but without a whole index (moov)."""
    source = _Source(file)
    boxes = list(_boxes(source))
    kinds = {box.kind for box in boxes if box.kind != b"moov" or box.end <= source.size}
    return _is_mp4(boxes) and b"mdat" in kinds and b"moov" not in kinds


class _Source:
    """Reads pieces of a file; beyond its end there are no bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, 2)

    def at(self, offset: int, count: int) -> bytes:
        if not 0 <= offset < self.size:
            return b""
        self._file.seek(offset)
        return self._file.read(count)

    def number(self, offset: int, count: int) -> int:
        """An unsigned integer, most significant byte first."""
        return int.from_bytes(self.at(offset, count), "big")

    def tail(self, count: int = _TAIL) -> tuple[int, bytes]:
        """The offset of the last `count` bytes, and these."""
        start = max(0, self.size - count)
        return start, self.at(start, count)


class _Box(NamedTuple):
    kind: bytes
    end: int  # may lie beyond the end of the file


_BOXES = frozenset(b"ftyp moov mdat moof mfra free skip wide uuid sidx styp meta emsg prft".split())  # top level


def _boxes(source: _Source) -> Iterator[_Box]:
    """The top-level boxes of an MP4 or QuickTime file, up to the first that is none."""
    start = 0
    for _ in range(_MAX_HOPS):
        head = source.at(start, 16)
        if len(head) < 8:
            return
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if size == 1:
            size = int.from_bytes(head[8:], "big")
        elif size == 0:  # to the end of the file
            size = source.size - start
        if size < 8:
            return
        start += size
        yield _Box(kind, start)


def _is_mp4(boxes: list[_Box]) -> bool:
    return bool(boxes) and boxes[0].kind in _BOXES


def _mp4(source: _Source) -> str | None:
    """A fragmented file has no mark after its last fragment; an index of the fragments there (mfra) is optional."""
    boxes = list(_boxes(source))
    if not _is_mp4(boxes):
        return None
    kinds, last = {box.kind for box in boxes}, boxes[-1]
    rest = source.size - last.end
    fragments = b"moof" in kinds
    if rest < 0 and last.kind not in _BOXES:
        return None  # some cameras append data of their own that are not boxes
    if rest < 0 or (fragments and (0 < rest < 8 or (rest == 0 and last.kind == b"moof"))):
        return "the last fragment is cut off" if fragments else _SHORT
    if rest >= 8:
        return None
    if b"moov" not in kinds:
        return "the index (moov) is missing"
    return None if fragments or b"mdat" in kinds else "the media data (mdat) are missing"


_EBML, _SEGMENT, _CLUSTER, _VOID = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0xEC


class _Element(NamedTuple):
    kind: int
    body: int
    end: int | None  # None: unknown size


def _element(source: _Source, start: int) -> _Element | None:
    """The EBML element at an offset; None if there is none, or not all of its head."""
    head = source.at(start, 12)
    id_length = 9 - head[0].bit_length() if head else 5
    if id_length > 4 or len(head) <= id_length or not head[id_length]:
        return None
    length = 9 - head[id_length].bit_length()
    body = id_length + length
    if len(head) < body:
        return None
    limit = 1 << 7 * length
    size = int.from_bytes(head[id_length:body], "big") & (limit - 1)
    end = None if size == limit - 1 else start + body + size
    return _Element(int.from_bytes(head[:id_length], "big"), start + body, end)


def _matroska(source: _Source) -> str | None:
    header = _element(source, 0)
    segment = _element(source, header.end) if header and header.kind == _EBML and header.end else None
    if segment is None or segment.kind != _SEGMENT:
        return None
    if segment.end is not None:
        return _SHORT if segment.end > source.size else None
    first = _element(source, segment.body)
    if first is not None and first.kind == _VOID:  # a place for the index's address, which live streams do not reserve
        return _NO_INDEX
    return _live_matroska(source, segment.body)


def _live_matroska(source: _Source, start: int) -> str | None:
    """A stream that was written without seeking has no index and no sizes: whole if it ends between two elements."""
    for _ in range(_MAX_HOPS):
        if start == source.size:
            return None
        element = _element(source, start)
        if element is None:
            return "the last cluster is cut off" if source.size - start < 12 else None
        if element.end is not None and element.end > source.size:
            return "the last cluster is cut off"
        start = element.body if element.end is None else element.end
    offset, tail = source.tail()
    cluster = tail.rfind(_CLUSTER.to_bytes(4, "big"))
    return _live_matroska(source, offset + cluster) if cluster > 0 and offset + cluster > start else None


_UNSET = (0, 2**32 - 1)  # sizes that an AVI or RIFF writer fills in at the end
_AVI_HAS_INDEX = 0x10


def _avi(source: _Source) -> str | None:
    head = source.at(0, 2**16)
    if head[:4] != b"RIFF" or head[8:11] != b"AVI" or head[24:28] != b"avih":
        return None
    promised = bool(head[44] & _AVI_HAS_INDEX) if len(head) > 44 else False
    super_index = head.find(b"indx")
    if super_index > 0 and any(head[super_index + 12 : super_index + 16]):  # OpenDML: entries in use
        promised = False
    start = 0
    for _ in range(_MAX_HOPS):
        chunk = source.at(start, 12)
        if start >= source.size or not re.match(rb"[ -~]{4}", chunk):
            break
        kind, size = chunk[:4], int.from_bytes(chunk[4:8], "little")
        if kind == b"idx1":
            promised = False
        is_open = (kind == b"RIFF" or chunk[8:] == b"movi") and size in _UNSET
        surplus = 8 if kind == b"RIFF" else 0  # some writers count the head of the whole file, too
        if not is_open and start + 8 + size - surplus > source.size:
            return _SHORT
        start += 12 if kind == b"RIFF" or is_open else 8 + size + size % 2
    return _NO_INDEX if promised else None


def _flv(source: _Source) -> str | None:
    first = 13  # after the header
    if source.at(0, 3) != b"FLV" or source.size <= first:
        return None
    meta = source.at(0, 4096)
    stated = meta.find(b"\x00\x08filesize\x00")
    if stated > 0 and _double(meta[stated + 11 : stated + 19]) > source.size:
        return _SHORT
    length = 11 + source.number(first + 1, 3)
    if first + length > source.size:
        return "the last tag is cut off"
    excess = length - source.number(first + length, 4)  # some writers leave the 11 bytes of the tag's head out
    if excess not in (0, 11):
        return None
    length = source.number(source.size - 4, 4) + excess
    tag = source.size - 4 - length
    whole = tag >= first and source.number(tag + 1, 3) == length - 11
    return None if whole else "the last tag is cut off"


def _double(data: bytes) -> float:
    return float(struct.unpack(">d", data)[0]) if len(data) == 8 else 0.0


_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_INDEX = bytes.fromhex("90080033b1e5cf1189f400a0c90349cb")
_ASF_BROADCAST = 1


def _asf(source: _Source) -> str | None:
    head = source.at(0, 2**16)
    properties = head.find(_ASF_FILE)
    if head[:16] != _ASF_HEADER or properties < 0 or len(head) < properties + 104:
        return None

    def little(offset: int, count: int) -> int:
        return int.from_bytes(head[offset : offset + count], "little")

    size, flags, packet = (little(properties + offset, count) for offset, count in ((40, 8), (88, 4), (92, 4)))
    if not flags & _ASF_BROADCAST:
        if size == 0:
            return "the size in the header, written at the end of a recording, is missing"
        return _SHORT if size > source.size else None
    first = little(16, 8) + 50  # after the data object's head
    if packet == 0 or first > source.size:
        return None
    tail = source.tail()[1]
    index = tail.rfind(_ASF_INDEX)
    if index >= 0:
        index_size = int.from_bytes(tail[index + 16 : index + 24], "little")
        return "the index at the end is cut off" if index + index_size > len(tail) else None
    return "the last packet is cut off" if (source.size - first) % packet else None


_TS_PACKETS = 20  # consecutive packets at the end that must begin with the sync byte
_TS_SIZES = (188, 192, 204)  # plain; with a time stamp before each packet; with error correction after it


def _mpegts(source: _Source) -> str | None:
    tail = source.tail()[1]
    phases = [(size, phase) for size in _TS_SIZES for phase in _ts_phases(tail, size)]
    if len(phases) != 1:
        return None
    size, phase = phases[0]
    rest = (len(tail) - phase - 1) % size + 1  # bytes from the last sync byte on
    if rest < 188 or (rest < size and size == 204) or 188 < rest < size:
        return "the last transport-stream packet is cut off"
    return "the data of the last picture or sound are incomplete" if _pes_is_open(tail, size, phase) else None


def _ts_phases(tail: bytes, size: int) -> list[int]:
    """Where in each `size` bytes the sync byte stands, by the packets at the end of the data."""
    first = max(0, len(tail) - _TS_PACKETS * size)
    if len(tail) - first < 3 * size:
        return []
    starts = range(first, first + size)
    return [start % size for start in starts if set(tail[start::size]) == {0x47}]


def _pes_is_open(tail: bytes, size: int, phase: int) -> bool:
    """Whether the last unit of a stream is shorter than its own header states; units without a stated length are whole.

    The padding of a unit's last packet says nothing: about one unit in 184 fills its last packet exactly.
    """
    missing: dict[int, int] = {}  # bytes, by stream
    counters: dict[int, int] = {}
    for start in range(phase, len(tail) - 187, size):
        packet = tail[start : start + 188]
        pid, flags = int.from_bytes(packet[1:3], "big"), packet[3]
        if packet[0] != 0x47 or pid & 0x8000 or flags & 0xC0 or not flags & 0x10:  # damaged, scrambled, no payload
            continue
        payload = packet[5 + packet[4] :] if flags & 0x20 else packet[4:]
        begins, pid, counter = pid & 0x4000, pid & 0x1FFF, flags & 0xF
        if begins:
            missing.pop(pid, None)
            length = int.from_bytes(payload[4:6], "big")
            if payload[:3] == b"\x00\x00\x01" and length:
                missing[pid] = 6 + length
        elif counter != (counters.get(pid, counter - 1) + 1) % 16:
            missing.pop(pid, None)  # a packet was lost, which is no matter of the file's end
        counters[pid] = counter
        if pid in missing:
            missing[pid] -= len(payload)
    return any(count > 0 for count in missing.values())


_PS_TRIES = 8  # sound may look like the start of a pack
_PS_PACK, _PS_END = b"\x00\x00\x01\xba", b"\x00\x00\x01\xb9"


def _mpeg(source: _Source) -> str | None:
    """A program stream: FFmpeg and many cameras write no end code, so only a unit that is cut counts."""
    tail = source.tail(2**18)[1]
    pack = len(tail)
    for _ in range(_PS_TRIES):
        pack = tail.rfind(_PS_PACK, 0, pack)
        end = _ps_walk(tail, pack) if pack >= 0 else None
        if end is not None:
            return "the last pack is cut off" if end > len(tail) else None
    return None


def _ps_walk(tail: bytes, start: int) -> int | None:
    """Where the units of a program stream end, or None if they do not reach the end of the data."""
    while start < len(tail):
        head = tail[start : start + 14]
        if head.startswith(_PS_END):
            return len(tail)
        if not head.startswith(b"\x00\x00\x01"):
            cut = len(head) < 3 and b"\x00\x00\x01".startswith(head)
            return start + 4 if cut else None
        if len(head) < 6:
            return start + 6
        if head.startswith(_PS_PACK):
            start += 14 + (head[13] & 7 if len(head) == 14 else 0) if head[4] & 0xC0 == 0x40 else 12
        elif head[3] > 0xBA:
            start += 6 + int.from_bytes(head[4:6], "big")
        else:
            return None
    return start


_NO_TRAILER = "the trailer, which ends the pictures, is missing"


def _gif(source: _Source) -> str | None:
    head = source.at(0, 13)
    if len(head) < 13 or not head.startswith(b"GIF8"):
        return None
    start = 13 + _colours(head[10])
    within = False  # a block's parts, each with its length before it; a part of no length is the last
    for _ in range(_MAX_HOPS):
        block = source.at(start, 10)
        if not block:
            return _NO_TRAILER
        if within:
            start += 1 + block[0]
            within = block[0] > 0
        elif block[0] == 0x3B:
            return None
        elif block[0] in (0x21, 0x2C):  # extension, picture
            colours = _colours(block[9]) if block[0] == 0x2C and len(block) == 10 else 0
            start += 2 if block[0] == 0x21 else 11 + colours
            within = True
        else:
            return None
    return None if source.tail(256)[1].rstrip(b"\0").endswith(b";") else _NO_TRAILER


def _colours(flags: int) -> int:
    """Bytes of a GIF's colour table."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _ogg(source: _Source) -> str | None:
    if source.at(0, 4) != b"OggS":
        return None
    tail = source.tail(2**17)[1]  # a page has at most 65307 bytes
    page = tail.rfind(b"OggS")
    if page < 0:
        return "the last page is cut off"
    head = tail[page : page + 27]
    count = head[26] if len(head) == 27 else 255
    lengths = tail[page + 27 : page + 27 + count]
    if len(lengths) < count or page + 27 + count + sum(lengths) > len(tail):
        return "the last page is cut off"
    return None if head[5] & 4 else "the last page is not marked as the end of its stream"


_CHECKS: dict[str, Callable[[_Source], str | None]] = {
    "asf": _asf,
    "avi": _avi,
    "dhav": lambda source: cut_frame(source.tail()[1]),
    "flv": _flv,
    "gif": _gif,
    "matroska": _matroska,
    "mov": _mp4,
    "mpeg": _mpeg,
    "mpegts": _mpegts,
    "ogg": _ogg,
}
