"""Follows the elements of a Matroska or WebM file from one block to the next, stricter than FFmpeg."""

import os

_SEGMENT, _CLUSTER, _BLOCK_GROUP = 0x18538067, 0x1F43B675, 0xA0  # they hold other elements
_BLOCKS = (0xA3, 0xA1)  # SimpleBlock, Block
_BLOCK_HEADER = 4  # bytes before a picture: track, time, flags
_MAX_BETWEEN = _BLOCK_HEADER + 5  # and another block's number and length: nothing fits between the two
_MAX_HEAD = 12  # bytes of an element's number and length


def leads(fd: int, last: int, size: int, following: int) -> bool:
    """Do the elements lead from a block to a following one, with nothing else between them?

    last, following: where their data starts, as a packet's `pos`. size: of the packet in the first one. A file that is
    not understood is taken as whole.
    """
    if _BLOCK_HEADER < following - last - size <= _MAX_BETWEEN:
        return True
    end = _end_of_block(fd, last, size)
    if end is None or following <= last:
        return True
    while end < following:
        head = os.pread(fd, _MAX_HEAD, end)
        id_length = 9 - head[0].bit_length() if head else 0
        if not 1 <= id_length <= 4 or len(head) <= id_length or not head[id_length]:
            return False
        length = 9 - head[id_length].bit_length()
        kind = int.from_bytes(head[:id_length])
        end += id_length + length
        if end == following:
            return kind in _BLOCKS
        if kind not in (_SEGMENT, _CLUSTER, _BLOCK_GROUP):
            end += _value(head[id_length : id_length + length])
    return False


def _value(data: bytes) -> int:
    """An element's length."""
    return int.from_bytes(data) & ((1 << 7 * len(data)) - 1)


def _end_of_block(fd: int, start: int, size: int) -> int | None:
    """Where the block ends whose data starts here; its number and length lie before that. None if that is not clear."""
    head = os.pread(fd, 9, max(start - 9, 0))
    values = [
        _value(head[-length:])
        for length in range(1, min(len(head), 9))
        if 9 - head[-length].bit_length() == length and head[-length - 1] in _BLOCKS
    ]
    if size + _BLOCK_HEADER in values:
        return start + size + _BLOCK_HEADER
    return start + values[0] if len(values) == 1 else None
