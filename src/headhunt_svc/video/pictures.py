"""Turns decoded frames into upright RGB pictures."""

from collections.abc import Sequence
from typing import cast

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer, Type
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8


class Orientation:
    """Turns the pictures of one video upright."""

    def __init__(self) -> None:
        self._turns: dict[int, tuple[bool, bool, bool]] = {}
        self._converter = VideoReformatter()  # of its own, each frame would start 16 threads, with 8 MiB of stack each

    def _of(self, frame: av.VideoFrame) -> tuple[bool, bool, bool]:
        """What the container's display matrix asks for: transpose, then mirror left-right, then top-bottom.

        It is read once for each rotation: in PyAV, a frame whose side data were read waits for the garbage collector.
        """
        rotation = frame.rotation
        turns = self._turns.get(rotation)
        if turns is None:
            turns = self._turns[rotation] = _turns(frame)
        return turns

    def upright_size(self, frame: av.VideoFrame) -> tuple[int, int]:
        """Width and height of the picture as it is shown."""
        transposed, _, _ = self._of(frame)
        return (frame.height, frame.width) if transposed else (frame.width, frame.height)

    def upright(self, frame: av.VideoFrame) -> UInt8[np.ndarray, "height width 3"]:
        """The picture as RGB, turned and mirrored as the container asks for."""
        picture = self._converter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        transposed, mirrored, upside_down = self._of(frame)
        if transposed:
            picture = picture.transpose(1, 0, 2)
        if mirrored:
            picture = picture[:, ::-1]
        if upside_down:
            picture = picture[::-1]
        return np.ascontiguousarray(picture)

    def all_upright(self, frames: Sequence[av.VideoFrame]) -> UInt8[np.ndarray, "frame height width 3"]:
        """The pictures of a segment, which may repeat; memory holds them once, and one more."""
        width, height = self.upright_size(frames[0])
        pictures = np.empty((len(frames), height, width, 3), np.uint8)
        for i, frame in enumerate(frames):
            pictures[i] = pictures[i - 1] if i and frame is frames[i - 1] else self.upright(frame)
        return pictures


def _turns(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """Transpose, mirror left-right, mirror top-bottom.

    The matrix (a b, c d) takes a pixel (x, y) to (a x + c y, b x + d y), as in ISO 14496-12 and FFmpeg's display.h.
    """
    side_data = cast(SideDataContainer, frame.side_data)  # PyAV's stub states another type
    matrix = next((bytes(part) for part in side_data if part.type == Type.DISPLAYMATRIX), None)
    if matrix is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, c < 0, b < 0
    return False, a < 0, d < 0
