"""How good pictures are, and what they show where: cheap enough to be measured on every segment."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

TILES = 6  # the layout is TILES x TILES means
MOST_PIXELS = 192  # about as many rows and columns are looked at, whatever the size


@dataclass(frozen=True, slots=True)
class Quality:
    """Brightness in [0, 1]; sharpness, the mean step between neighbours over the contrast; where it is bright.

    layout: the means of tiles over the mean of all, row by row, so that more or less light leaves it alone.
    """

    brightness: float
    sharpness: float
    layout: Float32[np.ndarray, " tile"]


def picture_quality(pictures: UInt8[np.ndarray, "frame height width 3"]) -> Quality:
    """Quality of a segment, from its first, middle and last picture."""
    n, height, width = pictures.shape[:3]
    rows, columns = max(height // MOST_PIXELS, 1), max(width // MOST_PIXELS, 1)
    some = pictures[sorted({0, n // 2, n - 1}), ::rows, :, 1].astype(np.float32) / 255  # green: most of the light
    steps = np.abs(some[:, :, columns::columns] - some[:, :, columns - 1 : -1 : columns])
    grey = some[:, :, ::columns].mean(0)
    brightness = float(grey.mean())
    tiles = [np.array_split(band, TILES, axis=1) for band in np.array_split(grey, TILES, axis=0)]
    means = [[t.mean() if t.size else brightness for t in band] for band in tiles]
    layout = np.array(means, np.float32).ravel() / np.float32(max(brightness, 1 / 255))
    sharpness = float(steps.mean() / (some.std() + 1 / 255)) if steps.size else 0.0
    return Quality(brightness, sharpness, layout)
