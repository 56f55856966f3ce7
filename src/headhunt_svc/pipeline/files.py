"""The videos that detect reads, and the files that it writes. Imports no model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from headhunt_svc.detector.options import Options
from headhunt_svc.names import VideoId, absolute, file_name, tell_apart
from headhunt_svc.types import FrameSpan, Polygon
from headhunt_svc.video.files import find_videos

if TYPE_CHECKING:
    from headhunt_svc.events.rules import EventRules


@dataclass(frozen=True, slots=True)
class Input:
    """A video, its name in the report, its true spans where they are known (for the plot only), and its camera.

    masks: what is black in its pictures. options, event_rules: of its camera, instead of those for all videos.
    """

    path: Path
    video_id: str
    truth: tuple[FrameSpan, ...] = ()
    camera: str | None = None  # None: as names.camera_of says
    masks: tuple[Polygon, ...] = ()
    options: Options | None = None
    event_rules: "EventRules | None" = None


def inputs_of(paths: Sequence[Path]) -> list[Input]:
    """Files and folders -> inputs, each file once; a video in a folder is named by its path below it.

    Videos that would have one name get as many of their folders in front as tell them apart.

    Raises:
        VideoError: an empty folder.
    """
    videos: dict[Path, tuple[Path, str]] = {}
    for path in paths:
        for video in find_videos([path]):
            name = video.relative_to(path).as_posix() if video != path else video.name
            videos.setdefault(absolute(video), (video, VideoId.of_file(name)))
    names = tell_apart([(name, str(place)) for place, (_, name) in videos.items()])
    return [Input(video, name) for (video, _), name in zip(videos.values(), names, strict=True)]


def report_path(out: Path, video_id: str) -> Path:
    """The file of a video's report, below `out` whatever the id is."""
    return out / f"{file_name(video_id)}.json"


@dataclass(frozen=True, slots=True)
class Outputs:
    """What is written beside the reports in `folder` (None: nothing is written).

    resume: keep reports of the same detector and options that are there.
    """

    folder: Path | None = None
    plot: bool = False
    explain: bool = False
    resume: bool = False


class Passes(NamedTuple):
    """How many videos a stage had stored features of, and how many it decoded; reports: that were there already."""

    stored: int
    decoded: int
    reports: int = 0
