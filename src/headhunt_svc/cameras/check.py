"""Tries every camera's source, and draws its masks into a picture: is cameras.yaml what somebody meant?"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from headhunt_svc.cameras.config import Camera, Cameras
from headhunt_svc.cameras.resting import videos_below
from headhunt_svc.cameras.sources import AnySource, DeviceSource, FolderSource, HttpSource, LoopSource, RtspSource
from headhunt_svc.errors import ConfigError, HeadHuntError, VideoError, VideoOpenError
from headhunt_svc.params import SegmentationParams
from headhunt_svc.storage.files import write_file
from headhunt_svc.types import Polygon
from headhunt_svc.video.masks import masked_pixels
from headhunt_svc.video.opening import open_video
from headhunt_svc.video.streams import StreamAddress, first_picture

_AT_ONCE = 16  # sources that are tried at the same time
_NEWEST = 3  # files of a folder that are tried: the last one may still be written
_FIRST = SegmentationParams(length_s=0.1, frames_per_segment=1)
_OUTLINE = (255, 40, 40)


@dataclass(frozen=True, slots=True)
class CheckedCamera:
    """What became of trying a camera. picture: whole, without masks. says: the source in words. problem: if any."""

    camera: Camera
    picture: UInt8[np.ndarray, "height width 3"] | None
    says: str
    problem: str | None = None


def check_cameras(cameras: Cameras, timeout_s: float) -> Iterator[CheckedCamera]:
    """Try all sources, several at a time; the results come in the order of the file."""
    with ThreadPoolExecutor(min(_AT_ONCE, len(cameras)), thread_name_prefix="check") as threads:
        yield from threads.map(lambda camera: check_camera(camera, timeout_s), cameras.each())


def check_camera(camera: Camera, timeout_s: float) -> CheckedCamera:
    """Try one source; what it lacks is in the result."""
    try:
        picture, says = _picture_of(camera.source, timeout_s)
    except HeadHuntError as exc:
        return CheckedCamera(camera, None, "", str(exc))
    if picture is None:
        return CheckedCamera(camera, None, says)
    height, width = picture.shape[:2]
    return CheckedCamera(camera, picture, f"{width} x {height}, {says}")


def address_of(source: RtspSource | HttpSource | DeviceSource) -> StreamAddress:
    """Where a live source is.

    Raises:
        ConfigError: a variable of its address is not set.
    """
    if isinstance(source, DeviceSource):
        return StreamAddress(str(source.path), source.shown, source.kind)
    transport = source.transport if isinstance(source, RtspSource) else "tcp"
    return StreamAddress(source.address(), source.shown, source.kind, transport)


def _picture_of(source: AnySource, timeout_s: float) -> tuple[UInt8[np.ndarray, "height width 3"] | None, str]:
    """A picture, if there can be one, and what the source says about itself."""
    if isinstance(source, LoopSource):
        return _picture_of_file(source.path)
    if isinstance(source, FolderSource):
        return _picture_of_folder(source.path)
    first = first_picture(address_of(source), timeout_s)
    rate = f", {first.fps:g} pictures per second" if first.fps else ""
    return first.picture, f"{first.codec}{rate}"


def _picture_of_file(path: Path) -> tuple[UInt8[np.ndarray, "height width 3"], str]:
    with open_video(path) as video:
        piece = next(video.segments(_FIRST))
        return piece.pictures[0], f"{video.fps:g} pictures per second"


def _picture_of_folder(folder: Path) -> tuple[UInt8[np.ndarray, "height width 3"] | None, str]:
    """A picture of its newest video that can be read; none as long as it is empty.

    Raises:
        ConfigError: no such folder, or it cannot be read.
        VideoError: its newest videos cannot be read.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder")
    try:
        written: dict[Path, float] = {}
        for path in videos_below(folder):
            with suppress(FileNotFoundError):  # its recorder may delete it meanwhile
                written[path] = path.stat().st_mtime
        newest = sorted(written, key=lambda path: written[path], reverse=True)
    except OSError as exc:
        raise ConfigError(f"{folder} cannot be read ({exc.strerror or exc})") from exc
    problem: VideoError | None = None
    for path in newest[:_NEWEST]:
        try:
            picture, says = _picture_of_file(path)
        except VideoError as exc:
            problem = problem or exc
            continue
        return picture, f"{says}, {len(newest)} videos"
    if problem is not None:
        raise VideoOpenError(f"{folder}: none of its newest videos can be read, such as {problem}")
    return None, "no video yet"


def draw_masks(
    picture: UInt8[np.ndarray, "height width 3"], masks: Sequence[Polygon]
) -> UInt8[np.ndarray, "height width 3"]:
    """The picture with what is masked dark under a red tint, and a red line around each polygon."""
    height, width = picture.shape[:2]
    shown = picture.copy()
    pixels = masked_pixels(masks, height, width)
    shown[pixels] = shown[pixels] // 4 + np.array([64, 0, 0], np.uint8)
    image = Image.fromarray(shown)
    draw = ImageDraw.Draw(image)
    for polygon in masks:
        corners = [(x * (width - 1), y * (height - 1)) for x, y in polygon]
        draw.line([*corners, corners[0]], fill=_OUTLINE, width=max(1, height // 240))
    return np.array(image)


def save_picture(path: Path, picture: UInt8[np.ndarray, "height width 3"]) -> None:
    """Write a picture as PNG. Raises OutputError."""
    write_file(path, lambda partial: Image.fromarray(picture).save(partial, "PNG"))
