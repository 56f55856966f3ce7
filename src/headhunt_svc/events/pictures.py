"""Keeps one small picture of every segment while a video is read, until it is known which of them is a peak."""

import io
from collections.abc import Iterator
from types import TracebackType

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from headhunt_svc.params import SegmentationParams
from headhunt_svc.video.source import SegmentPictures, VideoSource

LONGEST_SIDE = 960  # pixels
_QUALITY = 85
_MOST_LIVE = 2  # whole pictures
_MOST_KEPT = 4096  # pictures, about 200 MB: only where scores are known when the whole video is


def jpeg(picture: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """A picture as JPEG, scaled down to LONGEST_SIDE."""
    image = Image.fromarray(picture)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BILINEAR)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=_QUALITY)
    return content.getvalue()


class PeakPictures(VideoSource):
    """A video source like the one that it reads from, which keeps the middle picture of every segment.

    `take` removes a picture; where nobody takes them, the oldest go first. Those of a live video are kept as they are
    and become a JPEG only where that is needed, as most segments are normal and scored at once.
    """

    __slots__ = ("_pictures", "_source")

    def __init__(self, source: VideoSource) -> None:
        super().__init__(video_id=source.video_id)
        self._source = source
        self._pictures: dict[int, bytes | UInt8[np.ndarray, "height width 3"]] = {}  # by the segment's index
        self.update(source.state())

    def __enter__(self) -> "PeakPictures":
        self._source.__enter__()
        self.update(self._source.state())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._source.__exit__(kind, error, trace)

    def segments(self, params: SegmentationParams) -> Iterator[SegmentPictures]:
        """The source's segments."""
        for piece in self._source.segments(params):
            self.update(self._source.state())
            middle = piece.pictures[len(piece.pictures) // 2]
            self._pictures[piece.segment.index] = np.array(middle) if self.is_live else jpeg(middle)
            while len(self._pictures) > (_MOST_LIVE if self.is_live else _MOST_KEPT):
                del self._pictures[next(iter(self._pictures))]
            yield piece
            del piece  # else its pictures stay while the next ones arrive
        self.update(self._source.state())

    def take(self, index: int, is_needed: bool = True) -> bytes | None:
        """The picture of a segment as JPEG, unless it is not needed; it is no longer kept then."""
        picture = self._pictures.pop(index, None)
        if not is_needed:
            return None
        return jpeg(picture) if isinstance(picture, np.ndarray) else picture
