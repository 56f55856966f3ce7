"""Who and what moves in a scene: people, cars, blasts and fires, each a pure function of time.

Lengths are in picture heights (the picture is 1 x 1, y points down), times in seconds, speeds in pictures/s.
An actor answers three questions for an array of times t[T]: which boxes to draw, whether it is anomalous
(the truth), and what a witness could say about it (the facts behind questions and captions).
"""

from dataclasses import dataclass, field
from typing import Protocol

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
BAG_COLOUR = (170, 80, 10)
RUNNING = 0.3  # pictures/s from which a person on foot runs


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle over time: edges and opacity float64[T], one RGB colour."""

    x0: Times
    y0: Times
    x1: Times
    y1: Times
    colour: Float[np.ndarray, "3"]
    alpha: Times


@dataclass(frozen=True, slots=True)
class Facts:
    """What a witness of one time window could say about one actor."""

    action: str
    visible: bool
    x: float
    colour: str = ""
    direction: str = ""
    speed: float = 0.0
    bag_left: bool = False


class Actor(Protocol):
    """Anything that appears in a scene."""

    depth: float

    def boxes(self, t: Times) -> list[Box]:
        """Rectangles to draw, back to front."""
        ...

    def anomalous(self, t: Times) -> Bool[np.ndarray, " t"]:
        """Truth per time: is this actor doing something anomalous in the picture?"""
        ...

    def facts(self, t: Times) -> Facts:
        """What a witness of the window t could say."""
        ...


def _box(cx: Times, cy: Times, half_w: Times | float, half_h: Times | float, colour: object, alpha: Times) -> Box:
    return Box(cx - half_w, cy - half_h, cx + half_w, cy + half_h, np.asarray(colour, float), alpha)


def _ramp(t: Times, start: float, duration: float) -> Times:
    return np.clip((t - start) / duration, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a person is and how upright: x, lying, crouching, present, all float64[T]."""

    x: Times
    lying: Times
    crouching: Times
    present: Times


@dataclass(slots=True)
class Person:
    """A walker, runner, cyclist, ...: `kind` says what happens at `event_s`."""

    kind: str
    x: float
    at_s: float
    depth: float
    height: float
    speed: float
    colour: str
    event_s: float
    facing: int
    phase: float
    lasts_s: float
    skin: Float[np.ndarray, "3"] = field(repr=False)
    trousers: Float[np.ndarray, "3"] = field(repr=False)

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        kind: str,
        *,
        at_s: float,
        x: float,
        depth: float,
        height: float,
        speed: float,
        event_s: float = 0.0,
        facing: int | None = None,
        lasts_s: float | None = None,
    ) -> "Person":
        """A person with random clothes and timing."""
        spread = {"crouch": (0.5, 0.9), "bag": (3.0, 5.5)}.get(kind, (2.5, 5.0))
        return cls(
            kind=kind,
            x=x,
            at_s=at_s,
            depth=depth,
            height=height,
            speed=speed,
            colour=COLOURS[int(rng.integers(len(COLOURS)))],
            event_s=event_s,
            facing=facing if facing is not None else (1 if speed >= 0 else -1),
            phase=float(rng.uniform(0, 2 * np.pi)),
            lasts_s=lasts_s if lasts_s is not None else float(rng.uniform(*spread)),
            skin=np.array([200, 160, 130]) * rng.uniform(0.6, 1.1),
            trousers=np.array([50, 50, 70]) * rng.uniform(0.6, 1.4),
        )

    @property
    def end_s(self) -> float:
        """When the event is over."""
        return self.event_s + self.lasts_s

    def pose(self, t: Times) -> Pose:
        """Position and posture at times t."""
        zero = np.zeros_like(t)
        lying = crouching = zero
        start, event, v = self.at_s, self.event_s, self.speed
        x = self.x + v * (t - start)
        if self.kind == "turn":
            x = self.x + v * (np.minimum(t, event) - start) - v * np.maximum(t - event, 0)
        elif self.kind == "fall":  # slides a little, lies, gets up, walks on
            x = self.x + v * (np.minimum(t, event + 0.3) - start) + v * np.maximum(t - self.end_s - 0.5, 0)
            lying = _ramp(t, event, 0.35) * (1 - _ramp(t, self.end_s, 0.5))
        elif self.kind == "crouch":
            x = self.x + v * (np.minimum(t, event) - start) + v * np.maximum(t - self.end_s - 0.4, 0)
            crouching = _ramp(t, event, 0.25) * (1 - _ramp(t, self.end_s, 0.25))
        elif self.kind == "fight":
            on = self.during_event(t)
            x = x + on * 0.045 * np.sin(2 * np.pi * 2.3 * t + self.phase)
            crouching = on * 0.25 * np.abs(np.sin(9 * t + self.phase))
        elif self.kind in ("stand", "talk"):
            x = x + 0.004 * np.sin(1.5 * t + self.phase)
        present = np.ones_like(t)
        if self.kind == "fight":  # fighters come together for the fight and part afterwards
            present = ((t >= event - 0.05) & (t <= event + 6)).astype(float)
        return Pose(x, lying, crouching, present)

    def during_event(self, t: Times) -> Bool[np.ndarray, " t"]:
        """Is the event of this person going on?"""
        return (t > self.event_s) & (t < self.end_s)

    def bag_box(self, t: Times) -> Box | None:
        """The bag this person carries or has left behind, if any."""
        h, carried_x = self.height, self.pose(t).x + self.facing * 0.2 * self.height
        if self.kind == "carry":
            return _box(
                carried_x,
                np.full_like(t, self.depth - 0.3 * h),
                0.13 * h,
                0.1 * h,
                BAG_COLOUR,
                np.ones_like(t),
            )
        if self.kind != "bag":
            return None
        down = t >= self.event_s
        x = np.where(down, self.bag_x, carried_x)
        y = np.where(down, self.depth - 0.09 * h, self.depth - 0.3 * h)
        return _box(x, y, 0.13 * h, 0.1 * h, BAG_COLOUR, (t < self.end_s).astype(float))

    @property
    def bag_x(self) -> float:
        """Where a dropped bag lies."""
        return self.x + self.speed * (self.event_s - self.at_s) + self.facing * 0.2 * self.height

    def body(self, t: Times) -> list[Box]:
        """The figure without a bag: (wheels), legs, torso, (fists), head, (running arm)."""
        pose, h, y, f = self.pose(t), self.height, self.depth, self.facing
        x, lying, up = pose.x, pose.lying, 1 - pose.lying
        squat = 1 - 0.45 * pose.crouching
        flat = np.zeros_like(t)
        cycling, running = self.kind == "bike", self.kind == "run"
        moving = np.abs(np.gradient(x, t)) > 0.04 if len(t) > 1 else np.ones(len(t), bool)
        cadence = 2 * np.pi * (3.0 if abs(self.speed) > RUNNING else 1.6)
        stride = np.where(moving, np.sin(cadence * t + self.phase), 0.4) * (0.24 if running else 0.13) * h
        seat = y - (0.12 * h if cycling else 0.0)
        parts: list[Box] = []
        if cycling:
            stride = stride * 0.3
            parts += [
                _box(x + d * h, flat + y - 0.12 * h, 0.13 * h, 0.12 * h, (30, 30, 30), pose.present)
                for d in (-0.3, 0.3)
            ]
        for side in (-1, 1):
            parts.append(
                _box(
                    up * (x + side * stride) + lying * (x - f * 0.34 * h),
                    up * (seat - 0.2 * h * squat) + lying * (y - 0.07 * h),
                    up * 0.06 * h + lying * 0.2 * h,
                    up * 0.2 * h * squat + lying * 0.06 * h,
                    self.trousers,
                    pose.present,
                )
            )
        lean = f * 0.2 * h if running else 0.0
        parts.append(
            _box(
                x + lean * 0.5 + lying * f * 0.06 * h,
                up * (seat - 0.6 * h * squat) + lying * (y - 0.12 * h),
                up * 0.15 * h + lying * 0.22 * h,
                up * 0.21 * h * squat + lying * 0.11 * h,
                CLOTHES[self.colour],
                pose.present,
            )
        )
        if self.kind == "fight":
            fist_x = x + f * (0.22 + 0.14 * np.sin(14 * t + self.phase)) * h
            fist_y = y - (0.68 + 0.14 * np.cos(11 * t + self.phase)) * h * squat
            parts.append(_box(fist_x, fist_y, 0.15 * h, 0.06 * h, self.skin, self.during_event(t) * pose.present))
        head_y = up * (seat - 0.9 * h * squat) + lying * (y - 0.12 * h)
        parts.append(_box(x + lean + lying * f * 0.4 * h, head_y, 0.1 * h, 0.1 * h, self.skin, pose.present))
        if running:
            parts.append(_box(x + f * 0.3 * h, flat + seat - 0.62 * h, 0.12 * h, 0.045 * h, self.skin, pose.present))
        return parts

    def boxes(self, t: Times) -> list[Box]:
        """The figure and its bag."""
        bag = self.bag_box(t)
        return self.body(t) + ([bag] if bag is not None else [])

    def visible(self, t: Times, margin: float = 0.0) -> Bool[np.ndarray, " t"]:
        """Is the person in the picture (widened by `margin`)?"""
        pose = self.pose(t)
        return (pose.x > -margin) & (pose.x < 1 + margin) & (pose.present > 0)

    def anomalous(self, t: Times) -> Bool[np.ndarray, " t"]:
        """Running, falling and lying, fighting, a bag left alone."""
        if self.kind == "bag":
            return np.asarray((t >= self.event_s) & (t < self.end_s) & (0 < self.bag_x < 1))
        doing = {
            "run": np.ones(len(t), bool),
            "fall": self.pose(t).lying > 0.3,
            "fight": self.during_event(t),
        }.get(self.kind, np.zeros(len(t), bool))
        return np.asarray(doing & self.visible(t, margin=0.03))

    def facts(self, t: Times) -> Facts:
        """What a witness of the window t could say about this person."""
        pose, seen = self.pose(t), self.visible(t)
        steps = np.abs(np.diff(pose.x))[seen[1:]] / np.diff(t)[seen[1:]]
        speed = float(steps.mean()) if seen.sum() >= 2 and len(steps) else 0.0
        going = self.speed if not (self.kind == "turn" and self.event_s <= t[0] + 0.3) else -self.speed
        visible = bool(seen.mean() > 0.3)
        bag_left = self.kind == "bag" and int(((t >= self.event_s) & (t < self.end_s)).sum()) >= 4
        return Facts(
            action=self._action(t, pose, seen, speed, bag_left and visible),
            visible=visible,
            x=float(np.clip(pose.x[seen].mean(), 0, 1)) if seen.any() else -1.0,
            colour=self.colour,
            direction="right" if going > 0 else "left",
            speed=speed,
            bag_left=bag_left,
        )

    def _action(self, t: Times, pose: Pose, seen: Bool[np.ndarray, " t"], speed: float, dropping: bool) -> str:
        plain = {"bag": "carry", "fall": "walk", "crouch": "walk", "turn": "walk", "fight": "stand"}
        action = plain.get(self.kind, self.kind)
        if self.kind == "fall" and int((pose.lying * seen > 0.5).sum()) >= 3:
            action = "fall" if pose.lying[0] < 0.5 else "lie"
        elif self.kind == "crouch" and int((pose.crouching * seen > 0.5).sum()) >= 3:
            action = "crouch"
        elif self.kind == "turn" and t[0] + 0.3 < self.event_s < t[-1] - 0.3:
            action = "turn"
        elif self.kind == "fight" and int(self.during_event(t).sum()) >= 5:
            action = "fight"
        elif self.kind == "bag" and t[0] > self.event_s:
            action = "walk"
        elif self.kind == "bag" and dropping:
            action = "drop"
        return "stand" if action in ("walk", "carry") and speed < 0.03 else action


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
        """Body, cabin and two wheels."""
        x, y, one, length = self._x(t), np.full_like(t, self.depth), np.ones_like(t), self.length
        paint = np.array(CLOTHES[self.colour], float)
        wheels = [_box(x + s * 0.3 * length, y - 0.045, 0.05, 0.05, (15, 15, 15), one) for s in (-1, 1)]
        cabin = _box(x, y - 0.24, length / 4, 0.07, paint * 0.7 + 40, one)
        return [_box(x, y - 0.12, length / 2, 0.08, paint, one), cabin, *wheels]

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
    """An explosion (pulses of light) or a fire (a flickering glow that grows); drawn as an overlay, not as boxes."""

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
    def draw(cls, rng: np.random.Generator, kind: str, start_s: float) -> "Blast":
        """A blast or fire somewhere in the picture."""
        return cls(
            kind,
            start_s,
            x=float(rng.uniform(0.12, 0.88)),
            y=float(rng.uniform(0.45, 0.85)),
            lasts_s=float(rng.uniform(1.6, 3.0) if kind == "explosion" else rng.uniform(3.0, 5.0)),
            radius=float(rng.uniform(0.13, 0.24)),
            period_s=float(rng.uniform(0.6, 1.0)),
            phase=float(rng.uniform(0, 6)),
        )

    def boxes(self, t: Times) -> list[Box]:
        """Nothing: see `overlay`."""
        return []

    def strength(self, t: Times) -> Times:
        """Brightness in [0, 1] over time."""
        u = t - self.start_s
        if self.kind == "explosion":
            return np.where((u > 0) & (u < self.lasts_s), np.exp(-((u % self.period_s) / 0.35)), 0.0)
        flicker = 0.75 + 0.25 * np.sin(13 * u + self.phase) * np.sin(7 * u)
        return np.asarray(_ramp(u, 0, 1.2) * np.clip((self.lasts_s - u) / 0.5, 0, 1) * flicker)

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
        """Where it burns."""
        return Facts(self.kind, int((self.strength(t) > 0.3).sum()) >= 2, self.x)
