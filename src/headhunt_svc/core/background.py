"""Background of a video: where the expert features of its other segments lie, and features relative to it.

Scene and camera shift the features of all segments of a video; the difference to the background holds less of that
(docs/adr/0015). What the scorer sees of a segment is x = [z, z - b].
"""

import numpy as np
from jaxtyping import Float, Float64

from headhunt_svc.errors import ConfigError
from headhunt_svc.types import Background

Z = Float[np.ndarray, "segment column ..."]
X = Float64[np.ndarray, "segment columns ..."]
EMA_RATE = 0.3


def beside(z: Z, background: Float64[np.ndarray, "..."]) -> X:
    """x = [z, z - b]."""
    values = z.astype(np.float64)
    return np.concatenate([values, values - background], 1)


class MovingAverage:
    """The background `ema`: the exponential moving average of a video's earlier segments; of the first, it itself."""

    def __init__(self) -> None:
        self._average: Float64[np.ndarray, ...] | None = None

    def push(self, z: Z) -> X:
        """x of the segments that follow; those of a batch count for the ones behind them."""
        background = np.empty(z.shape)
        for row, values in zip(background, z.astype(np.float64), strict=True):
            average = values if self._average is None else self._average
            row[...] = average
            self._average = average + EMA_RATE * (values - average)
        return beside(z, background)


def median(z: Z) -> Float64[np.ndarray, "..."]:
    """The background `median`, from all segments of a video."""
    return np.asarray(np.median(z.astype(np.float64), axis=0))


def inputs(background: Background | None, z: Z) -> Float[np.ndarray, "segment columns ..."]:
    """What the scorer sees of all segments of one video: x, or z itself without a background."""
    if background is None:
        return z
    return beside(z, median(z)) if background == "median" else MovingAverage().push(z)


def check_live(background: Background | None, use: str) -> None:
    """Refuse a `use` that needs scores before the video has ended, where there are none.

    Raises:
        ConfigError: the background is the median of the whole video.
    """
    if background == "median":
        raise ConfigError(
            f"{use}: this detector's scores are relative to the median of the whole video, which is not known before "
            "it has ended; fit a scorer with fit.background: ema (or none)"
        )
