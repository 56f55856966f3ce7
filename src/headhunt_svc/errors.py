"""Every error that a user can cause or meet, as one tree. A message is one line: the problem, and how to solve it.

The exit code of a command is 2, but 3 for a VideoError: that input failed, the others were processed.
"""

from collections.abc import Sequence
from pathlib import Path

from headhunt_svc.names import printable

EXIT_WRONG_USE, EXIT_SOME_FAILED, EXIT_DRIFT = 2, 3, 4
EXIT_WORSE, EXIT_TOO_FEW_MARKS = 5, 6  # what the proof of a new bundle says
MOST_LISTED = 5


def list_problems(problems: Sequence[str], most: int = MOST_LISTED) -> str:
    """The first problems of a message, and the number of the others: "a; b; and 3 more"."""
    more = [f"and {len(problems) - most} more"] if len(problems) > most else []
    return "; ".join([*problems[:most], *more])


def reason_of(exc: BaseException) -> str:
    """Why a library failed, in one line: the first of its message, or the error's name where it has no message."""
    return next((line.strip() for line in str(exc).splitlines() if line.strip()), type(exc).__name__)


def name_video(video_id: str, place: str, reason: str) -> str:
    """A reason why a video failed, with its id and where it lies, each once."""
    where = printable(place)
    located = reason if where in reason else f"{where}: {reason}"
    return located if video_id in located else f"{video_id}: {located}"


class HeadHuntError(Exception):
    """Base class of all errors of this package. Its message can be printed and stored, whatever names are in it."""

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class ConfigError(HeadHuntError):
    """params.yaml or an option is wrong."""


class DatasetError(HeadHuntError):
    """Annotations and video files do not match."""


class ArtifactError(HeadHuntError):
    """The output of a stage is missing, broken, or belongs to another model."""


class ModelError(HeadHuntError):
    """The MLLM cannot be loaded or is not supported."""


class FeatureError(HeadHuntError):
    """Features are constant, not finite, or all of one class."""


class OutputError(HeadHuntError):
    """A result cannot be written (permission, disk full)."""


def unwritable(path: Path, exc: OSError) -> OutputError:
    """The error about a file that cannot be written."""
    return OutputError(f"cannot write {path} ({exc.strerror or exc}): choose another place or free some space")


class UnreachableError(HeadHuntError):
    """A store or database does not answer; may work later."""


class ServerError(HeadHuntError):
    """A service does not answer, or refuses the request."""


class VideoError(HeadHuntError):
    """One video cannot be processed."""


class VideoOpenError(VideoError):
    """Not a video, empty, or without a video stream."""


class VideoAccessError(VideoOpenError):
    """A stream that wants another user name or password, or none that this user may see."""


class VideoDecodeError(VideoError):
    """Pictures of a readable file could not be decoded."""


class VideoLimitError(VideoError):
    """Beyond a configured limit (duration, pixels, codec, memory, ...); the message names it."""
