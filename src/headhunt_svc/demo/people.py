"""People of a scene: how walkers, runners, cyclists, fighters and others move, look, and when they are anomalous."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from headhunt_svc.demo.shapes import CLOTHES, COLOURS, Box, Facts, Times, box, ramp, shadow

BAG_COLOUR = (170, 80, 10)
HAIR = (45, 32, 25)
RUNNING = 0.3  # pictures/s from which a person on foot runs
CRAWLING = 0.13  # pictures/s


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a person is, how upright, and which way the face looks (-1 or 1), all float64[T]."""

    x: Times
    lying: Times
    crouching: Times
    present: Times
    facing: Times


@dataclass(slots=True)
class Person:
    """A person; `kind` says what happens (walk, run, bike, fall, ...), `event_s` when its event starts."""

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
        lasts_s: float | None = None,
    ) -> "Person":
        """A person with random clothes and timing."""
        spread = {"crouch": (0.8, 1.5), "bag": (3.0, 5.5)}.get(kind, (2.5, 5.0))
        return cls(
            kind=kind,
            x=x,
            at_s=at_s,
            depth=depth,
            height=height,
            speed=speed,
            colour=COLOURS[int(rng.integers(len(COLOURS)))],
            event_s=event_s,
            facing=1 if speed >= 0 else -1,
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
        facing = np.full_like(t, self.facing)
        start, event, v = self.at_s, self.event_s, self.speed
        x = self.x + v * (t - start)
        if self.kind == "turn":
            x = self.x + v * (np.minimum(t, event) - start) - v * np.maximum(t - event, 0)
            facing = np.where(t < event, facing, -facing)
        elif self.kind == "fall":  # slides a little, lies, gets up, walks on
            x = self.x + v * (np.minimum(t, event + 0.3) - start) + v * np.maximum(t - self.end_s - 0.5, 0)
            lying = ramp(t, event, 0.35) * (1 - ramp(t, self.end_s, 0.5))
        elif self.kind == "crouch":
            x = self.x + v * (np.minimum(t, event) - start) + v * np.maximum(t - self.end_s - 0.4, 0)
            crouching = ramp(t, event, 0.25) * (1 - ramp(t, self.end_s, 0.25))
        elif self.kind == "crawl":
            lying = np.ones_like(t)
        elif self.kind in ("fight", "vandal"):
            on = self.during_event(t)
            x = x + on * 0.045 * np.sin(2 * np.pi * 2.3 * t + self.phase) * (1.0 if self.kind == "fight" else 0.4)
            crouching = on * 0.25 * np.abs(np.sin(9 * t + self.phase))
        elif self.kind in ("stand", "talk"):
            x = x + 0.004 * np.sin(1.5 * t + self.phase)
        present = np.ones_like(t)
        if self.kind == "fight":  # fighters come together for the fight and part afterwards
            present = ((t >= event - 0.05) & (t <= event + 6)).astype(float)
        return Pose(x, lying, crouching, present, facing)

    def during_event(self, t: Times) -> Bool[np.ndarray, " t"]:
        """Is this person's event going on, for each time?"""
        return (t > self.event_s) & (t < self.end_s)

    def bag_box(self, t: Times) -> Box | None:
        """The bag that this person carries or has left behind, if there is one."""
        h, carried_x = self.height, self.pose(t).x + self.facing * 0.2 * self.height
        if self.kind == "carry":
            y, one = np.full_like(t, self.depth - 0.3 * h), np.ones_like(t)
            return box(carried_x, y, 0.13 * h, 0.1 * h, BAG_COLOUR, one)
        if self.kind != "bag":
            return None
        down = t >= self.event_s
        x = np.where(down, self.bag_x, carried_x)
        y = np.where(down, self.depth - 0.09 * h, self.depth - 0.3 * h)
        return box(x, y, 0.13 * h, 0.1 * h, BAG_COLOUR, (t < self.end_s).astype(float))

    @property
    def bag_x(self) -> float:
        """Where a dropped bag lies."""
        return self.x + self.speed * (self.event_s - self.at_s) + self.facing * 0.2 * self.height

    def body(self, t: Times) -> list[Box]:
        """The figure without a bag: (wheels), legs with shoes, torso, arm, (fist), head with hair, (running arm)."""
        pose, h, y = self.pose(t), self.height, self.depth
        x, lying, up, f, present = pose.x, pose.lying, 1 - pose.lying, pose.facing, pose.present
        squat = 1 - 0.45 * pose.crouching
        flat = np.zeros_like(t)
        cycling, running = self.kind == "bike", self.kind == "run"
        shirt = np.array(CLOTHES[self.colour], float)
        moving = np.abs(np.gradient(x, t)) > 0.04 if len(t) > 1 else np.ones(len(t), bool)
        cadence = 2 * np.pi * (3.0 if abs(self.speed) > RUNNING else 1.6)
        swing = np.where(moving, np.sin(cadence * t + self.phase), 0.4)
        stride = swing * (0.24 if running else 0.04 if cycling else 0.13) * h
        seat = y - (0.12 * h if cycling else 0.0)
        parts: list[Box] = []
        if cycling:
            for d in (-0.3, 0.3):
                parts.append(box(x + d * h, flat + y - 0.12 * h, 0.14 * h, 0.13 * h, (30, 30, 30), present, True))
                parts.append(box(x + d * h, flat + y - 0.12 * h, 0.08 * h, 0.07 * h, (120, 120, 120), present, True))
        for side in (-1, 1):
            leg_x = up * (x + side * stride) + lying * (x - f * 0.34 * h + 0.25 * side * stride)
            leg_y = up * (seat - 0.2 * h * squat) + lying * (y - 0.07 * h)
            half_w, half_h = up * 0.06 * h + lying * 0.2 * h, up * 0.2 * h * squat + lying * 0.06 * h
            parts.append(box(leg_x, leg_y, half_w, half_h, self.trousers, present))
            shoe_x, shoe_y = leg_x + f * (up * 0.04 - lying * 0.2) * h, up * (seat - 0.03 * h) + lying * leg_y
            parts.append(box(shoe_x, shoe_y, (0.08 * up + 0.03) * h, (0.03 + 0.04 * lying) * h, HAIR, present))
        lean = f * 0.2 * h if running else flat
        torso_x = x + lean * 0.5 + lying * f * 0.06 * h
        torso_y = up * (seat - 0.6 * h * squat) + lying * (y - 0.12 * h)
        half_w, half_h = up * 0.15 * h + lying * 0.22 * h, up * 0.21 * h * squat + lying * 0.11 * h
        parts.append(box(torso_x, torso_y, half_w, half_h, shirt, present))
        parts.append(
            box(torso_x - 0.5 * stride * up, torso_y + 0.02 * h, 0.045 * h, 0.8 * half_h, 0.7 * shirt, present)
        )
        if self.kind in ("fight", "vandal"):
            fist_x = x + f * (0.22 + 0.14 * np.sin(14 * t + self.phase)) * h
            fist_y = y - (0.68 + 0.14 * np.cos(11 * t + self.phase)) * h * squat
            parts.append(box(fist_x, fist_y, 0.15 * h, 0.06 * h, self.skin, self.during_event(t) * present))
        head_x = x + lean + lying * f * 0.4 * h
        head_y = up * (seat - 0.9 * h * squat) + lying * (y - 0.12 * h)
        parts.append(box(head_x, head_y, 0.1 * h, 0.11 * h, self.skin, present, True))
        hair_x, hair_y = head_x + (up * -0.05 * f + lying * 0.05 * f) * h, head_y - up * 0.05 * h
        parts.append(box(hair_x, hair_y, 0.065 * h, 0.08 * h, HAIR, present, True))
        if running:
            parts.append(box(x + f * 0.3 * h, flat + seat - 0.62 * h, 0.12 * h, 0.045 * h, self.skin, present))
        return parts

    def boxes(self, t: Times) -> list[Box]:
        """Shadow, the machine that a vandal beats, the figure and its bag."""
        pose, h = self.pose(t), self.height
        boxes = [shadow(pose.x, np.full_like(t, self.depth), (0.22 + 0.2 * pose.lying) * h, pose.present)]
        if self.kind == "vandal":  # a ticket machine
            x, one = self.x + self.facing * 0.42 * h + np.zeros_like(t), np.ones_like(t)
            boxes.append(box(x, self.depth - 0.35 * h * one, 0.14 * h, 0.35 * h, (95, 105, 120), one))
            boxes.append(box(x, self.depth - 0.5 * h * one, 0.09 * h, 0.1 * h, (150, 190, 200), one))
        boxes += self.body(t)
        bag = self.bag_box(t)
        return boxes + ([bag] if bag is not None else [])

    def visible(self, t: Times, margin: float = 0.0) -> Bool[np.ndarray, " t"]:
        """Is the person in the picture (widened by `margin`), for each time?"""
        pose = self.pose(t)
        return (pose.x > -margin) & (pose.x < 1 + margin) & (pose.present > 0)

    def anomalous(self, t: Times) -> Bool[np.ndarray, " t"]:
        """Running, falling, lying, crawling, fighting, beating a machine, or a bag left alone, for each time."""
        if self.kind == "bag":
            return np.asarray((t >= self.event_s) & (t < self.end_s) & (0 < self.bag_x < 1))
        event = {
            "run": np.ones(len(t), bool),
            "crawl": np.ones(len(t), bool),
            "vandal": self.during_event(t),
            "fall": self.pose(t).lying > 0.3,
            "fight": self.during_event(t),
        }.get(self.kind, np.zeros(len(t), bool))
        return np.asarray(event & self.visible(t, margin=0.03))

    def facts(self, t: Times) -> Facts:
        """What can be said about this person in the window t."""
        pose, seen = self.pose(t), self.visible(t)
        steps = np.abs(np.diff(pose.x))[seen[1:]] / np.diff(t)[seen[1:]]
        speed = float(steps.mean()) if seen.sum() >= 2 and len(steps) else 0.0
        velocity = self.speed if not (self.kind == "turn" and self.event_s <= t[0] + 0.3) else -self.speed
        visible = bool(seen.mean() > 0.3)
        bag_left = self.kind == "bag" and int(((t >= self.event_s) & (t < self.end_s)).sum()) >= 4
        return Facts(
            action=self._action(t, pose, seen, speed, bag_left and visible),
            visible=visible,
            x=float(np.clip(pose.x[seen].mean(), 0, 1)) if seen.any() else -1.0,
            colour=self.colour,
            direction="right" if velocity > 0 else "left",
            speed=speed,
            bag_left=bag_left,
        )

    def _action(self, t: Times, pose: Pose, seen: Bool[np.ndarray, " t"], speed: float, dropping: bool) -> str:
        plain = {"bag": "carry", "fall": "walk", "crouch": "walk", "turn": "walk", "fight": "stand", "vandal": "stand"}
        action = plain.get(self.kind, self.kind)
        if self.kind == "fall" and int((pose.lying * seen > 0.5).sum()) >= 3:
            action = "fall" if pose.lying[0] < 0.5 else "lie"
        elif self.kind == "crouch" and int((pose.crouching * seen > 0.5).sum()) >= 4:
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
