"""Options for scoring one video. Imports no model, so that wrong options are refused before one is loaded."""

from dataclasses import dataclass
from typing import Literal

from headhunt_svc.errors import ConfigError

DEFAULT_OPERATING_POINT = "f1"


@dataclass(frozen=True, slots=True)
class Options:
    """How one video is scored and reported.

    threshold: instead of the operating point's, with the point's smoothing width.
    smoothing: offline (both sides) or causal (past only, as in live use; has operating points of its own).
    contributions: what each head adds, for every segment and not only at the events' peaks.
    stream: the number of the video stream to read, as FFmpeg counts; by default the one that players show.
    describe: the model describes the peak of every event in words (model/generation.py).

    Raises:
        ConfigError: a value out of range.
    """

    operating_point: str = DEFAULT_OPERATING_POINT
    threshold: float | None = None
    smoothing: Literal["offline", "causal"] = "offline"
    contributions: bool = False
    stream: int | None = None
    describe: bool = False

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ConfigError(f"threshold {self.threshold:g} is not in [0, 1]: scores are probabilities")
        if self.smoothing not in ("offline", "causal"):
            raise ConfigError(f"unknown smoothing {self.smoothing!r}: choose offline or causal")
        if self.stream is not None and self.stream < 0:
            raise ConfigError(f"stream {self.stream}: the streams of a file are counted from 0")
