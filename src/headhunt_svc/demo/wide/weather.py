"""Weather, night and what a camera's compression leaves of the pictures."""

from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from jaxtyping import Bool, Float, UInt8

from headhunt_svc.demo.scenes import FPS
from headhunt_svc.demo.shapes import Box, Facts, Times, box

WEATHER = ("clear", "rain", "snow", "fog")
NIGHT = "night"


@dataclass(slots=True)
class Weather:
    """Rain, snow or fog, drawn over everything (depth 3), or night, over which glows are still bright (depth 2.5)."""

    kind: str
    strength: float  # 0 to 1
    places: Float[np.ndarray, "drop 2"]  # where drops and flakes start, in pictures
    depth: float = 3.0

    @classmethod
    def draw(cls, rng: np.random.Generator, kind: str) -> "Weather":
        """Some weather: a few drops or many."""
        strength = float(rng.uniform(0.3, 1.0))
        n = int(10 + 22 * strength) if kind in ("rain", "snow") else 0
        return cls(kind, strength, rng.random((n, 2)), 2.5 if kind == NIGHT else 3.0)

    def boxes(self, t: Times) -> list[Box]:
        """Streaks, flakes, a grey veil, or the dark."""
        one, half = np.ones_like(t), np.full_like(t, 0.5)
        if self.kind == "fog":
            return [box(half, half, 0.6, 0.6, (190, 193, 197), (0.35 + 0.35 * self.strength) * one)]
        if self.kind == NIGHT:
            return [box(half, half, 0.6, 0.6, (8, 11, 30), (0.45 + 0.25 * self.strength) * one)]
        drops = []
        for i, (x, y) in enumerate(self.places):
            fall = (1.6 if self.kind == "rain" else 0.3) * (1 + 0.2 * (i % 3))
            down = (y + fall * t) % 1.1 - 0.05
            if self.kind == "rain":
                drops.append(box(x + 0.0 * t, down, 0.004, 0.035, (205, 212, 225), 0.6 * one))
            else:
                sway = x + 0.03 * np.sin(2 * t + i)
                drops.append(box(sway, down, 0.009, 0.009, (250, 250, 252), 0.9 * one, round=True))
        return drops

    def anomalous(self, t: Times) -> Bool[np.ndarray, " t"]:
        """Never."""
        return np.zeros(len(t), bool)

    def facts(self, t: Times) -> Facts:
        """Its kind, everywhere in the picture."""
        return Facts(self.kind, visible=True, x=0.5)


def compress(pictures: UInt8[np.ndarray, "t h w 3"], crf: int) -> UInt8[np.ndarray, "t h w 3"]:
    """The pictures after H.264 at this rate factor; one thread, so that they are the same everywhere."""
    size = pictures.shape[1]
    encoder, decoder = av.VideoCodecContext.create("libx264", "w"), av.VideoCodecContext.create("h264", "r")
    encoder.width, encoder.height, encoder.pix_fmt = size, size, "yuv420p"
    encoder.time_base, encoder.thread_count, decoder.thread_count = Fraction(1, FPS), 1, 1
    encoder.options = {"crf": str(crf), "preset": "veryfast", "tune": "zerolatency"}
    frames: list[av.VideoFrame] = []
    for i, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = i
        for packet in encoder.encode(frame):
            frames += decoder.decode(packet)
    for packet in encoder.encode(None):
        frames += decoder.decode(packet)
    frames += decoder.decode(None)
    return np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
