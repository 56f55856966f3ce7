"""Small pictures of events, and strips of pictures of clips that no browser plays; kept in a bounded cache."""

import io
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock

import av
import av.error
from PIL import Image, UnidentifiedImageError

from headhunt_svc.errors import ArtifactError
from headhunt_svc.events.opening import opened
from headhunt_svc.events.pictures import jpeg
from headhunt_svc.types import Polygon
from headhunt_svc.video.masks import blackened, masked_pixels
from headhunt_svc.video.pictures import Orientation

THUMBNAIL = (192, 120)
STRIP = 8  # pictures of a clip
PLAYED = frozenset({"h264", "vp8", "vp9", "av1"})  # by every browser of today, without the machine's help
MOST_BYTES = 16 * 1024**2


class ByteCache:
    """Made files by name, the last used ones, of at most so many bytes together. Threads may share it."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._size, self._lock = most_bytes, 0, Lock()
        self._files: OrderedDict[str, bytes] = OrderedDict()

    def get(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The file of this name; made if it is not there."""
        with self._lock:
            if name in self._files:
                self._files.move_to_end(name)
                return self._files[name]
        content = make()
        with self._lock:
            if name not in self._files:
                self._files[name] = content
                self._size += len(content)
            while self._size > self._most and self._files:
                self._size -= len(self._files.popitem(last=False)[1])
        return content


def thumbnail(path: Path) -> bytes:
    """A small JPEG of a picture. Raises ArtifactError: it is damaged or gone."""
    try:
        with Image.open(path, formats=("JPEG",)) as image:
            image.draft("RGB", THUMBNAIL)
            image.thumbnail(THUMBNAIL)
            content = io.BytesIO()
            image.convert("RGB").save(content, "JPEG", quality=80)
            return content.getvalue()
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as exc:
        raise ArtifactError(f"{path} cannot be shown ({type(exc).__name__})") from exc


def codec_of(clip: Path) -> str:
    """The codec of a clip. Raises VideoError."""
    with opened(clip) as (_, pictures):
        codec = pictures.codec_context
        return codec.codec.canonical_name if codec is not None else "unknown"


def picture_at(video: Path, seconds: float, masks: Sequence[Polygon] = ()) -> bytes:
    """The picture that is shown so long after the first one, upright. Raises VideoError, ArtifactError."""
    try:
        with opened(video) as (container, pictures):
            if pictures.time_base is None:
                raise ArtifactError(f"{video} does not say when its pictures are shown")
            place = (pictures.start_time or 0) + int(seconds / pictures.time_base)
            container.seek(place, stream=pictures)
            last: av.VideoFrame | None = None
            for frame in container.decode(pictures):
                if last is not None and frame.pts is not None and frame.pts > place:
                    break
                last = frame
            if last is None:
                raise ArtifactError(f"{video} has no picture there")
            picture = Orientation().upright(last)
    except av.error.FFmpegError as exc:
        raise ArtifactError(f"{video} cannot be shown ({exc})") from exc
    return jpeg(blackened(picture[None], masked_pixels(masks, *picture.shape[:2]))[0] if masks else picture)


def strip_picture(clip: Path, number: int) -> bytes:
    """The key frame at or before a place of the clip, number of STRIP. Raises VideoError, ArtifactError."""
    try:
        with opened(clip) as (container, pictures):
            if container.duration is None:
                raise ArtifactError(f"{clip} does not say how long it is")
            container.seek(int((container.start_time or 0) + container.duration * number / STRIP))
            for frame in container.decode(pictures):
                return jpeg(frame.to_ndarray(format="rgb24"))
    except av.error.FFmpegError as exc:
        raise ArtifactError(f"{clip} cannot be shown ({exc})") from exc
    raise ArtifactError(f"{clip} has no picture there")
