"""The messages between this process and a decoding process: a fixed header, validated JSON, raw pictures.

No pickle: an attacker who controls the decoder can send wrong pictures, but no code.
"""

import socket
import struct
from typing import Annotated, Literal

import numpy as np
from jaxtyping import UInt8
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, TypeAdapter
from pydantic.dataclasses import dataclass

from headhunt_svc.params import SegmentationParams
from headhunt_svc.video.container import VideoLimits
from headhunt_svc.video.memory import PictureSize
from headhunt_svc.video.source import VideoState

_HEADER = struct.Struct("!I")  # bytes of JSON that follow
_MAX_JSON = 2**22
OUT_OF_MEMORY = 3  # exit status of a process without enough memory for a message
NUMBER = struct.Struct("!i")  # to the starter: MiB more for a process; from it: ALLOWED, or the process's exit status
ALLOWED = 2**16  # no exit status


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """Resources that decoding one video may use.

    memory_mib: address space beyond that of the process at its start; OPENING_MIB of it until the file is open, then
    as much as `SandboxedReader.allow` says. cpu_s: processor time for the whole video. stall_s: wall-clock time that a
    reader waits for the next segment.
    """

    memory_mib: PositiveInt = 6144
    cpu_s: PositiveInt = 3600
    stall_s: Annotated[float, Field(gt=0)] = 60.0


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class Job(_Message):
    """To the decoding process, with the open files: which video to read, within which limits."""

    path: str
    stream: int | None
    video: VideoLimits
    process: ProcessLimits


class Cut(_Message):
    """To the decoding process: cut the opened video into segments."""

    params: SegmentationParams


class Progress(_Message):
    """The reader's state so far; its gaps replace those from number gaps_from on."""

    state: VideoState
    gaps_from: NonNegativeInt


class Opened(_Message):
    """From the decoding process: the file is a video within the limits, whose pictures have this size."""

    kind: Literal["opened"] = "opened"
    progress: Progress
    size: PictureSize


class Piece(_Message):
    """One segment; its pictures, uint8 of this shape, follow as raw bytes."""

    kind: Literal["piece"] = "piece"
    progress: Progress
    index: NonNegativeInt
    start: NonNegativeInt
    stop: NonNegativeInt
    frame_indices: tuple[NonNegativeInt, ...]
    start_s: float
    stop_s: float
    shape: tuple[PositiveInt, PositiveInt, PositiveInt, Literal[3]]


class End(_Message):
    """The whole video was read."""

    kind: Literal["end"] = "end"
    progress: Progress


Error = Literal["VideoOpenError", "VideoDecodeError", "VideoLimitError", "memory", "bug"]


class Failed(_Message):
    """Reading ended with an error of errors.py, too little memory, or a bug."""

    kind: Literal["failed"] = "failed"
    error: Error
    message: Annotated[str, Field(max_length=4000)]


Answer = Opened | Piece | End | Failed
_ANSWERS: TypeAdapter[Answer] = TypeAdapter(Annotated[Answer, Field(discriminator="kind")])


def send(target: socket.socket, message: _Message, pictures: UInt8[np.ndarray, "..."] | None = None) -> None:
    """Send a message and, for a Piece, its pictures (contiguous)."""
    text = message.model_dump_json().encode()
    target.sendall(_HEADER.pack(len(text)) + text)
    if pictures is not None:
        target.sendall(pictures.data.cast("B"))


def receive_into(source: socket.socket, buffer: memoryview) -> None:
    """Fill the buffer.

    Raises:
        EOFError: the other side has closed. TimeoutError: the socket's timeout passed.
    """
    while buffer:
        size = source.recv_into(buffer)
        if not size:
            raise EOFError
        buffer = buffer[size:]


def receive_text(source: socket.socket) -> bytes:
    """Receive the JSON of one message.

    Raises:
        ValueError: too long for a message. Otherwise see receive_into.
    """
    header = bytearray(_HEADER.size)
    receive_into(source, memoryview(header))
    (length,) = _HEADER.unpack(header)
    if length > _MAX_JSON:
        raise ValueError(f"a message of {length} bytes")
    text = bytearray(length)
    receive_into(source, memoryview(text))
    return bytes(text)


def receive(source: socket.socket) -> Answer:
    """Receive and validate one message from the decoding process.

    Raises:
        ValueError: not a valid message. Otherwise see receive_into.
    """
    return _ANSWERS.validate_json(receive_text(source))
