"""Makes parts of all pictures black before anything else sees them: a road, a neighbour's window, a clock."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType

import numpy as np
from jaxtyping import Bool, UInt8

from headhunt_svc.params import SegmentationParams
from headhunt_svc.types import Polygon
from headhunt_svc.video.memory import PictureSize
from headhunt_svc.video.source import SegmentPictures, VideoSource


def masked_pixels(masks: Sequence[Polygon], height: int, width: int) -> Bool[np.ndarray, "height width"]:
    """The pixels whose centres lie in one of the polygons."""
    from matplotlib.path import Path as Outline  # slow to import, and most videos have no masks

    rows, columns = np.mgrid[:height, :width]
    centres = np.column_stack([(columns.ravel() + 0.5) / width, (rows.ravel() + 0.5) / height])
    pixels = np.zeros(height * width, bool)
    for polygon in masks:
        pixels |= Outline([*polygon, polygon[0]]).contains_points(centres)
    return pixels.reshape(height, width)


def blackened(
    pictures: UInt8[np.ndarray, "frame height width 3"], pixels: Bool[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "frame height width 3"]:
    """The pictures with these pixels black; changed in place where they may be, as they are large."""
    if not pictures.flags.writeable:
        pictures = pictures.copy()
    pictures[:, pixels] = 0
    return pictures


@dataclass(slots=True, kw_only=True)
class MaskedVideo(VideoSource):
    """An opened video whose pictures are black below its masks; all else is as `source` says."""

    source: VideoSource

    def __post_init__(self) -> None:
        self.video_id = self.source.video_id

    def __enter__(self) -> "MaskedVideo":
        self.source.__enter__()
        self.update(self.source.state())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.source.__exit__(kind, error, trace)

    @property
    def size(self) -> PictureSize | None:
        """See VideoSource."""
        return self.source.size

    def segments(self, params: SegmentationParams) -> Iterator[SegmentPictures]:
        """See VideoReader."""
        pixels = np.zeros((0, 0), bool)
        for piece in self.source.segments(params):
            if piece.pictures.shape[1:3] != pixels.shape:
                pixels = masked_pixels(self.masks, *piece.pictures.shape[1:3])
            self.update(self.source.state())
            piece = replace(piece, pictures=blackened(piece.pictures, pixels))
            yield piece
            del piece  # else its pictures stay while the next ones arrive
        self.update(self.source.state())
