"""Opens a video, decoded in this process or in a separate one within limits."""

from pathlib import Path

from headhunt_svc.names import escape
from headhunt_svc.settings import Settings
from headhunt_svc.types import Polygon
from headhunt_svc.video.container import VideoLimits
from headhunt_svc.video.masks import MaskedVideo
from headhunt_svc.video.reader import VideoReader
from headhunt_svc.video.sandbox import ProcessLimits, SandboxedReader
from headhunt_svc.video.source import VideoSource


def open_video(
    path: Path,
    video_id: str | None = None,
    sandbox: Settings | None = None,
    stream: int | None = None,
    masks: tuple[Polygon, ...] = (),
) -> VideoSource:
    """Open a video file; use it in a `with`.

    video_id: its name in reports and logs; the file's name by default.
    sandbox: decode in a separate process, within the limits of these settings: for files from anybody
        (docs/security.md).
    stream: the number of the video stream to read; by default the one that players show.
    masks: what is black in every picture, whatever the file shows there.

    Raises:
        VideoOpenError, VideoLimitError: see VideoReader.
    """
    name = video_id or escape(path.name)
    video: VideoSource
    if sandbox is None:
        video = VideoReader(path, number=stream, video_id=name)
    else:
        video = sandboxed(path, name, sandbox, stream)
    return MaskedVideo(source=video, masks=masks) if masks else video


def sandboxed(path: Path, video_id: str, settings: Settings, stream: int | None = None) -> SandboxedReader:
    """Open a video file in a separate process: see `open_video`."""
    limits = VideoLimits(
        max_duration_s=settings.max_duration_s, max_pixels=settings.max_pixels, max_frames=settings.max_frames
    )
    process = ProcessLimits(settings.decode_memory_mib, settings.decode_cpu_s, settings.decode_stall_s)
    return SandboxedReader(path, limits, process, stream, video_id=video_id)
