"""The videos that detect reads, and the files that it writes. Imports no model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headhunt_svc.errors import ConfigError
from headhunt_svc.types import FrameSpan
from headhunt_svc.video.files import find_videos


@dataclass(frozen=True, slots=True)
class Input:
    """A video, its name in the report, and its true spans where they are known (for the plot only)."""

    path: Path
    video_id: str
    truth: tuple[FrameSpan, ...] = ()


def inputs_of(paths: Sequence[Path]) -> list[Input]:
    """Files and folders -> inputs; a video in a folder is named by its path below it.

    Raises:
        VideoError: an empty folder. ConfigError: two inputs of the same name.
    """
    inputs: dict[str, Input] = {}
    for path in paths:
        for video in find_videos([path]):
            name = video.relative_to(path).as_posix() if path.is_dir() else video.name
            if name in inputs and inputs[name].path != video:
                raise ConfigError(f"{inputs[name].path} and {video} would both be reported as {name}: run them apart")
            inputs[name] = Input(video, name)
    return list(inputs.values())


def report_path(out: Path, video_id: str) -> Path:
    """The file of a video's report."""
    return out / f"{video_id}.json"


@dataclass(frozen=True, slots=True)
class Outputs:
    """What is written beside the reports in `folder` (None: nothing is written).

    resume: keep reports of the same detector and options that are there.
    """

    folder: Path | None = None
    plot: bool = False
    explain: bool = False
    resume: bool = False
