"""Measures brightness, sharpness and layout of pictures, cheaply enough to do so for every segment."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

TILES = 6  # the layout is TILES x TILES means
MAX_PIXELS = 192  # about as many rows and columns are sampled, whatever the size


@dataclass(frozen=True, slots=True)
class Quality:
    """Brightness in [0, 1]; sharpness: mean step between neighbours over the contrast; layout: where it is bright.

    layout: means of tiles over the mean of all, row by row, which more or less light does not change.
    """

    brightness: float
    sharpness: float
    layout: Float32[np.ndarray, " tile"]


def picture_quality(pictures: UInt8[np.ndarray, "frame height width 3"]) -> Quality:
    """Quality of a segment, from its first, middle and last picture."""
    n, height, width = pictures.shape[:3]
    row_step, column_step = max(height // MAX_PIXELS, 1), max(width // MAX_PIXELS, 1)
    sample = pictures[sorted({0, n // 2, n - 1}), ::row_step, :, 1].astype(np.float32) / 255  # green: most of the light
    steps = np.abs(sample[:, :, column_step::column_step] - sample[:, :, column_step - 1 : -1 : column_step])
    grey = sample[:, :, ::column_step].mean(0)
    brightness = float(grey.mean())
    tiles = [np.array_split(band, TILES, axis=1) for band in np.array_split(grey, TILES, axis=0)]
    means = [[tile.mean() if tile.size else brightness for tile in band] for band in tiles]
    layout = np.array(means, np.float32).ravel() / np.float32(max(brightness, 1 / 255))
    sharpness = float(steps.mean() / (sample.std() + 1 / 255)) if steps.size else 0.0
    return Quality(brightness, sharpness, layout)
