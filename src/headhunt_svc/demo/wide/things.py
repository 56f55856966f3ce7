"""Vehicles, animals, things and effects of the wide world: where each is, and what can be said of it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from headhunt_svc.demo.shapes import COLOURS, Box, Facts, Times
from headhunt_svc.demo.wide.effects import EFFECTS
from headhunt_svc.demo.wide.kinds import KINDS
from headhunt_svc.demo.wide.looks import LOOKS

MOVES: dict[str, tuple[float, float]] = {  # pictures/s to a side
    **dict.fromkeys(("truck", "bus", "motorbike", "tram"), (0.25, 0.55)),
    **dict.fromkeys(("forklift", "tractor"), (0.12, 0.3)),
    **dict.fromkeys(("dog", "cat", "horse", "dust", "shadow"), (0.1, 0.35)),
    **dict.fromkeys(("bird", "drone", "ball", "paper", "beam"), (0.2, 0.5)),
}
SIZES: dict[str, tuple[float, float]] = {  # in pictures; everything else is .13 to .2
    "truck": (0.5, 0.65), "bus": (0.6, 0.75), "tram": (0.7, 0.9), "forklift": (0.3, 0.4), "tractor": (0.34, 0.44),
    "motorbike": (0.26, 0.34), "dog": (0.16, 0.24), "cat": (0.14, 0.2), "horse": (0.3, 0.4), "ball": (0.045, 0.08),
    "bird": (0.1, 0.18), "gate": (0.25, 0.4), "barrier": (0.3, 0.45), "steam": (0.1, 0.18), "dust": (0.1, 0.2),
    "shadow": (0.3, 0.6), "screen": (0.14, 0.24), "cover": (0.3, 0.5), "puddle": (0.1, 0.2), "fountain": (0.14, 0.22),
    "drone": (0.12, 0.18), "paper": (0.05, 0.08), "insect": (0.1, 0.18), "beam": (0.12, 0.2),
}  # fmt: skip
LASTS_S = {"blackout": (0.4, 0.8)}  # what else happens can still be seen
ABOVE = ("bird", "drone", "balloon", "beam")  # drawn in the sky or on walls
ON_LENS = ("insect", "cover")
# Something happens to these, and only then is there something to say; all others are said as soon as they are seen
HAPPENING = ("gate", "barrier", "signal", "box", "sign", "puddle", "lamp", "beam", "lightning", "blackout", "cover")
WHOLE = ("lightning", "blackout", "shadow", "cover")  # of the whole picture or most of it: no side is asked for

DRAW = LOOKS | EFFECTS
DRAWN = tuple(DRAW)  # their kinds


@dataclass(slots=True)
class Thing:
    """A vehicle, animal, thing or effect of `kind`; what happens to it happens from event_s on, for lasts_s.

    (x, y) is its foot, at time at_s; depth orders the drawing.
    """

    kind: str
    x: float
    y: float
    depth: float
    at_s: float
    speed: float
    size: float
    colour: str
    event_s: float
    lasts_s: float
    phase: float

    @classmethod
    def draw(cls, rng: np.random.Generator, kind: str, middle_s: float, event_s: float, scale: float) -> "Thing":
        """A thing well inside the picture at middle_s, to which something happens at event_s."""
        y = float(rng.uniform(0.2, 0.5) if kind in ABOVE else rng.uniform(0.62, 0.95))
        way = 1 if rng.random() < 0.5 else -1
        low, high = SIZES.get(kind, (0.13, 0.2))
        return cls(
            kind, x=float(rng.uniform(0.2, 0.8)), y=y, depth=2.0 if kind in ON_LENS + WHOLE else y, at_s=middle_s,
            speed=way * float(rng.uniform(*MOVES.get(kind, (1e-6, 1e-6)))),
            size=(1.0 if kind in ON_LENS else scale) * float(rng.uniform(low, high)),
            colour=COLOURS[int(rng.integers(len(COLOURS)))], event_s=event_s,
            lasts_s=float(rng.uniform(*LASTS_S.get(kind, (1.5, 4.0)))),
            phase=float(rng.uniform(0, 2 * np.pi)),
        )  # fmt: skip

    @property
    def way(self) -> float:
        """1 to the right, -1 to the left."""
        return 1.0 if self.speed > 0 else -1.0

    def along(self, t: Times) -> Times:
        """Its place to the right."""
        return np.asarray(self.x + self.speed * (t - self.at_s))

    def on(self, t: Times) -> Times:
        """1 while it happens, else 0."""
        return ((t > self.event_s) & (t < self.event_s + self.lasts_s)).astype(float)

    def boxes(self, t: Times) -> list[Box]:
        """Shapes to draw."""
        return DRAW[self.kind](self, t, self.along(t), np.full_like(t, self.y), self.size)

    def anomalous(self, t: Times) -> Bool[np.ndarray, " t"]:
        """Never: none of these kinds is in the labelled corpus."""
        return np.zeros(len(t), bool)

    def facts(self, t: Times) -> Facts:
        """What can be said; visible if it is in the picture and happens for long enough to be seen."""
        x = self.along(t)
        inside = (x > 0) & (x < 1)
        happens = self.kind not in HAPPENING or int((self.on(t) * inside > 0).sum()) >= 4
        return Facts(
            self.kind, visible=bool(inside.mean() > 0.3) and happens, x=float(np.clip(x.mean(), 0, 1)),
            colour=self.colour if "{colour}" in KINDS[self.kind].clause else "",
            direction="right" if self.speed > 0 else "left", speed=abs(self.speed),
        )  # fmt: skip
