"""Dahua's recordings (.dav): each frame begins with `DHAV` and its length, and ends with both again."""

import os

_KINDS = (0xF0, 0xF1, 0xFC, 0xFD)  # sound, additional data, picture, key picture
_LENGTH = 12  # offset in a frame


def is_whole(fd: int, position: int) -> bool:
    """Does the frame at a position of an open file end where it says?"""
    length = os.pread(fd, 4, position + _LENGTH)
    end = position + int.from_bytes(length, "little") - 8
    return end >= 0 and os.pread(fd, 8, end) == b"dhav" + length


def cut_frame(tail: bytes) -> str | None:
    """What is missing in the last frame, from the last bytes of a file; None if it is whole."""
    start = max(tail.rfind(b"DHAV" + bytes([kind])) for kind in _KINDS)
    length = tail[start + _LENGTH : start + _LENGTH + 4]
    whole = start < 0 or (len(length) == 4 and start + int.from_bytes(length, "little") <= len(tail))
    return None if whole else "the last frame is cut off"
