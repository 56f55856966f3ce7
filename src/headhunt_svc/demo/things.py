"""Cars, explosions and fires of a scene."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from headhunt_svc.demo.shapes import CLOTHES, Box, Facts, Times, box, ramp, shadow


@dataclass(slots=True)
class Car:
    """A car where only people belong: anomalous while any of it is in the picture."""

    x: float
    at_s: float
    depth: float
    speed: float
    length: float
    colour: str

    def _x(self, t: Times) -> Times:
        return self.x + self.speed * (t - self.at_s)

    def boxes(self, t: Times) -> list[Box]:
        """Shadow, cabin with its windows, body, lamps and two wheels."""
        x, y, one, length = self._x(t), np.full_like(t, self.depth), np.ones_like(t), self.length
        s, f = length / 0.5, np.sign(self.speed)  # scale; direction of travel
        paint = np.array(CLOTHES[self.colour], float)
        wheels = [
            box(x + d * 0.3 * length, y - 0.045 * s, radius * s, radius * s, (grey, grey, grey), one, True)
            for radius, grey in ((0.05, 15), (0.02, 150))  # tyres, hubs
            for d in (-1, 1)
        ]
        return [
            shadow(x, y, 0.55 * length, one),
            box(x - f * 0.03 * length, y - 0.235 * s, length / 4, 0.065 * s, paint * 0.7 + 40, one),
            box(x - f * 0.13 * length, y - 0.23 * s, length / 10, 0.045 * s, (120, 150, 170), one),
            box(x + f * 0.09 * length, y - 0.23 * s, length / 10, 0.045 * s, (120, 150, 170), one),
            box(x, y - 0.12 * s, length / 2, 0.075 * s, paint, one),
            box(x + f * 0.48 * length, y - 0.14 * s, 0.02 * length, 0.02 * s, (250, 240, 170), one),
            *wheels,
        ]

    def anomalous(self, t: Times) -> Bool[np.ndarray, " t"]:
        """True while any part is in the picture."""
        x = self._x(t)
        return (x > -self.length / 2) & (x < 1 + self.length / 2)

    def facts(self, t: Times) -> Facts:
        """Colour, side and direction."""
        x = self._x(t)
        seen = bool(((x > -0.05) & (x < 1.05)).mean() > 0.25)
        direction = "right" if self.speed > 0 else "left"
        return Facts("car", seen, float(np.clip(x.mean(), 0, 1)), self.colour, direction, abs(self.speed))


@dataclass(slots=True)
class Blast:
    """An explosion (pulses of light) or a fire (a growing, flickering glow); drawn as an overlay instead of boxes."""

    kind: str
    start_s: float
    x: float
    y: float
    lasts_s: float
    radius: float
    period_s: float
    phase: float
    depth: float = 2.0  # drawn over everybody

    @classmethod
    def draw(cls, rng: np.random.Generator, kind: str, start_s: float, scale: float = 1.0) -> "Blast":
        """A blast or fire somewhere in the picture."""
        return cls(
            kind,
            start_s,
            x=float(rng.uniform(0.12, 0.88)),
            y=float(rng.uniform(0.45, 0.85)),
            lasts_s=float(rng.uniform(1.6, 3.0) if kind == "explosion" else rng.uniform(3.0, 5.0)),
            radius=scale * float(rng.uniform(0.13, 0.24)),
            period_s=float(rng.uniform(0.6, 1.0)),
            phase=float(rng.uniform(0, 6)),
        )

    def boxes(self, t: Times) -> list[Box]:
        """No boxes: a glow is an overlay."""
        return []

    def strength(self, t: Times) -> Times:
        """Brightness in [0, 1] over time."""
        u = t - self.start_s
        if self.kind == "explosion":
            return np.where((u > 0) & (u < self.lasts_s), np.exp(-((u % self.period_s) / 0.35)), 0.0)
        flicker = 0.75 + 0.25 * np.sin(13 * u + self.phase) * np.sin(7 * u)
        return np.asarray(ramp(u, 0, 1.2) * np.clip((self.lasts_s - u) / 0.5, 0, 1) * flicker)

    def overlay(
        self, t: Times, xx: Float[np.ndarray, "h w"], yy: Float[np.ndarray, "h w"]
    ) -> tuple[Float[np.ndarray, "t h w 1"], Float[np.ndarray, "3"]]:
        """Opacity and colour of the glow."""
        e = self.strength(t)
        explosion = self.kind == "explosion"
        r = self.radius * ((0.5 + 0.8 * (1 - e)) if explosion else 0.6 * (0.4 + e))
        centre = self.y - (0.0 if explosion else 0.8) * r
        d2 = (xx - self.x) ** 2 + (1.0 if explosion else 0.45) * (yy - centre[:, None, None]) ** 2
        alpha = np.exp(-((d2 / (r[:, None, None] ** 2 + 1e-6)) ** 2)) * np.clip(1.4 * e, 0, 1)[:, None, None]
        return alpha[..., None], np.array((255.0, 245.0, 190.0) if explosion else (235.0, 110.0, 30.0))

    def anomalous(self, t: Times) -> Bool[np.ndarray, " t"]:
        """True from the first flash to the last."""
        return (t > self.start_s) & (t < self.start_s + self.lasts_s)

    def facts(self, t: Times) -> Facts:
        """Kind and place."""
        return Facts(self.kind, int((self.strength(t) > 0.3).sum()) >= 2, self.x)
