"""An opened video as the detector reads it: its segments with their pictures, and what is known about the file."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from types import TracebackType

import numpy as np
from jaxtyping import UInt8

from headhunt_svc.params import SegmentationParams
from headhunt_svc.types import Polygon, Segment
from headhunt_svc.video.clock import Discontinuity, Hole
from headhunt_svc.video.memory import PictureSize


@dataclass(frozen=True, slots=True)
class Gap:
    """Pictures that could not be decoded, from time_s to the next picture at stop_s.

    Seconds from the first picture. time_s is None if unknown, or before the first picture; stop_s if none follows.
    """

    time_s: float | None
    packets: int
    reason: str
    stop_s: float | None = None


@dataclass(frozen=True, slots=True)
class SegmentPictures:
    """A segment with its sampled pictures, upright, and when its span starts and stops."""

    segment: Segment
    pictures: UInt8[np.ndarray, "frame height width 3"]
    start_s: float
    stop_s: float


@dataclass(slots=True, kw_only=True)
class VideoState:
    """What is known about a video so far.

    fps: typical frames per second. stated_fps: what the container states, where that is something else.
    n_frames: decoded so far. duration_s: of the whole video; 0 until it was read to its end.
    repaired_times: frames without a timestamp, or not after the one before; placed one step after it.
    unfinished: what is missing at the file's end, if anything. stream: the number of the video stream in the file;
    streams: those of all its video streams. is_live: its pictures come in real time, so each segment goes through the
    model at once, and nothing is read ahead.
    """

    fps: float = 0.0
    stated_fps: float | None = None
    n_frames: int = 0
    duration_s: float = 0.0
    gaps: list[Gap] = field(default_factory=list)
    holes: list[Hole] = field(default_factory=list)
    discontinuities: list[Discontinuity] = field(default_factory=list)
    repaired_times: int = 0
    unfinished: str | None = None
    stream: int = 0
    streams: tuple[int, ...] = (0,)
    is_live: bool = False


@dataclass(slots=True, kw_only=True)
class VideoFacts(VideoState):
    """What a report says about a video beside its scores: its name in reports and logs, and what is known about it.

    masks: what is black in its pictures (video/masks.py).
    """

    video_id: str = ""
    masks: tuple[Polygon, ...] = ()

    def state(self) -> VideoState:
        """What is known so far."""
        return VideoState(**{f.name: getattr(self, f.name) for f in fields(VideoState)})

    def update(self, state: VideoState) -> None:
        """Take over what another reader of the same video knows."""
        for f in fields(VideoState):
            setattr(self, f.name, getattr(state, f.name))


@dataclass(slots=True, kw_only=True)
class VideoSource(VideoFacts, ABC):
    """An opened video; use it in a `with`. VideoReader's docstring lists the errors."""

    @abstractmethod
    def __enter__(self) -> "VideoSource": ...

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @property
    def size(self) -> PictureSize | None:
        """What the file states about its pictures, once it is open; None where that is not known."""
        return None

    @abstractmethod
    def segments(self, params: SegmentationParams) -> Iterator[SegmentPictures]:
        """The video's segments in order, each with its pictures."""
