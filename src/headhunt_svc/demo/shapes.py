"""Shapes, facts and the protocol of an actor: boxes to draw, the truth and facts, each a function of time.

Lengths are in picture heights (the picture is 1 x 1, y points down), times in seconds, speeds in pictures/s.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

Times = Float[np.ndarray, " t"]

CLOTHES: dict[str, tuple[int, int, int]] = {
    "red": (210, 45, 45),
    "green": (45, 160, 65),
    "blue": (50, 80, 215),
    "yellow": (225, 205, 60),
    "white": (235, 235, 235),
    "black": (25, 25, 30),
}
COLOURS = tuple(CLOTHES)


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle, or the ellipse inside it, over time: edges and opacity float64[T], one RGB colour."""

    x0: Times
    y0: Times
    x1: Times
    y1: Times
    colour: Float[np.ndarray, "3"]
    alpha: Times
    round: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What can be said about one actor in one window."""

    action: str
    visible: bool
    x: float
    colour: str = ""
    direction: str = ""
    speed: float = 0.0
    bag_left: bool = False


@runtime_checkable
class Actor(Protocol):
    """Anything that appears in a scene."""

    depth: float

    def boxes(self, t: Times) -> list[Box]:
        """Shapes to draw, back to front."""

    def anomalous(self, t: Times) -> Bool[np.ndarray, " t"]:
        """Does this actor do something anomalous in the picture, for each time?"""

    def facts(self, t: Times) -> Facts:
        """What can be said about the actor in the window t."""


def box(
    cx: Times,
    cy: Times,
    half_w: Times | float,
    half_h: Times | float,
    colour: object,
    alpha: Times,
    round: bool = False,
) -> Box:
    """A shape by its centre and half its size."""
    return Box(cx - half_w, cy - half_h, cx + half_w, cy + half_h, np.asarray(colour, float), alpha, round)


def ramp(t: Times, start: float, duration: float) -> Times:
    """0 before start, 1 from start + duration on, linear between."""
    return np.clip((t - start) / duration, 0.0, 1.0)


def shadow(x: Times, y: Times, half_w: Times | float, present: Times) -> Box:
    """The shadow on the ground of a thing that stands at (x, y)."""
    return box(x, y, half_w, 0.18 * half_w, (20, 20, 25), 0.35 * present, round=True)
