"""Estimates the memory that reading a video needs from what its file states, for limits and admission.

docs/security.md has the figures that were measured.
"""

import math
import os
from typing import Annotated

from pydantic import Field, NonNegativeInt
from pydantic.dataclasses import dataclass

from headhunt_svc.params import SegmentationParams

OPENING_MIB = 256  # of a decoding process until it has said how large the pictures are
_LEAST_RATE = 30.0  # frames per second that every window has room for: cameras change their rate
_MOST_RATE = 240.0  # what a file states beyond is an error of its clock
_REFERENCES = 17  # pictures that a decoder keeps to predict others from, and the one it is at
_ROWS_PADDED = 1.1
_STACK_MIB, _MOST_THREADS = 8, 16  # of FFmpeg's threads
_READER_MIB = 96  # what the reading process holds whatever the size of the pictures
_BATCHES_HELD = 5 + 1 + 4  # two wait, one is collected, one stacked, one in the model: its pictures, and as float32


@dataclass(frozen=True, slots=True)
class PictureSize:
    """What a file states about its pictures. decoded_bytes: of one, as it comes from the decoder."""

    width: NonNegativeInt
    height: NonNegativeInt
    decoded_bytes: NonNegativeInt
    fps: Annotated[float, Field(ge=0, allow_inf_nan=False)]

    @property
    def rgb_bytes(self) -> int:
        """One picture as it leaves the decoding process."""
        return 3 * self.width * self.height


def _mib(size: float) -> int:
    return math.ceil(size / 2**20)


def _window_frames(params: SegmentationParams, fps: float) -> int:
    """How many pictures one window of a video holds."""
    if params.length_frames is not None:
        return params.length_frames + 1
    return math.ceil(params.length * min(max(fps, _LEAST_RATE), _MOST_RATE)) + 1


def decoder_mib(size: PictureSize, params: SegmentationParams) -> int:
    """What the decoding process needs beyond its start: a window of pictures, and one segment's as RGB."""
    decoded = size.decoded_bytes * (_window_frames(params, size.fps) + _REFERENCES)
    rgb = size.rgb_bytes * (params.frames_per_segment + 2)
    stacks = _STACK_MIB * min((os.cpu_count() or 1) + 1, _MOST_THREADS)
    return max(OPENING_MIB, _mib(_ROWS_PADDED * (decoded + rgb)) + stacks + OPENING_MIB // 2)


def reader_mib(size: PictureSize, params: SegmentationParams, prepared_bytes: int, batch_segments: int) -> int:
    """What the process needs that prepares a video's pictures for the model: one segment's, and batches.

    prepared_bytes: one resized picture.
    """
    rgb = size.rgb_bytes * (params.frames_per_segment + 4)
    batches = prepared_bytes * params.frames_per_segment * (_BATCHES_HELD * batch_segments + 1)
    return _mib(rgb + batches) + _READER_MIB
