"""People of the wide world: what they do beyond the corpus' walking, falling and fighting, and what they hold."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
from jaxtyping import Bool

from headhunt_svc.demo.people import BAG_COLOUR, Person, Pose
from headhunt_svc.demo.shapes import CLOTHES, Box, Facts, Times, box, ramp, shadow

DARK, METAL, WOOD, PALE = (35, 35, 40), (140, 145, 150), (120, 90, 60), (215, 225, 230)
ALWAYS = (  # what a person does for as long as they are in the picture; everything else happens at a time
    "sit", "stagger", "cart", "pram", "suitcase", "umbrella", "scooter", "skateboard", "wheelchair", "leash",
    "hug", "follow", "chase", "queue", "group", "scatter",
)  # fmt: skip


@dataclass(slots=True)
class Props:
    """Shapes behind and before the figure, how far it is lifted off the ground, and in which share of the time."""

    front: list[Box] = field(default_factory=list)
    behind: list[Box] = field(default_factory=list)
    rise: Times | float = 0.0


@dataclass(slots=True)
class Performer(Person):
    """A person who does one of the kinds of the groups person and people."""

    def doing(self, t: Times) -> Bool[np.ndarray, " t"]:
        """Do they do it, for each time?"""
        return np.ones(len(t), bool) if self.kind in ALWAYS else self.during_event(t)

    def pose(self, t: Times) -> Pose:
        """Position and posture: a plain walk, changed by what they do."""
        pose, on, p = Person.pose(self, t), self.doing(t).astype(float), self.phase
        x, crouching = pose.x, pose.crouching
        if self.kind in ("sit", "wheelchair"):
            crouching = np.full_like(t, 0.8)
        elif self.kind == "squat":
            crouching = on * (0.5 - 0.5 * np.cos(2 * np.pi * 1.2 * t + p))
        elif self.kind == "dance":
            x = x + on * 0.2 * self.height * np.sin(5 * t + p)
        elif self.kind == "stagger":
            x, crouching = x + 0.2 * self.height * np.sin(3.3 * t + p), 0.2 + 0.2 * np.sin(5 * t + p)
        elif self.kind in ("pick", "lift"):
            crouching = ramp(t, self.event_s, 0.25) * (1 - ramp(t, self.event_s + 0.4, 0.3))
        return replace(pose, x=x, crouching=np.asarray(crouching))

    def props(self, t: Times) -> Props:
        """What belongs to the action: arms, tools, wheels."""
        draw = PROPS.get(self.kind)
        return draw(self, t, self.pose(t), self.doing(t).astype(float)) if draw is not None else Props()

    def boxes(self, t: Times) -> list[Box]:
        """Shadow, what is behind, the figure, what is before it."""
        pose, props, h = self.pose(t), self.props(t), self.height
        ground = shadow(pose.x, np.full_like(t, self.depth), 0.22 * h, pose.present)
        lifted = [replace(b, y0=b.y0 - props.rise, y1=b.y1 - props.rise) for b in self.body(t)]
        return [ground, *props.behind, *lifted, *props.front]

    def facts(self, t: Times) -> Facts:
        """As of any person; before and after the action they walk or stand."""
        facts = Person.facts(self, t)
        if int((self.doing(t) & self.visible(t)).sum()) >= 5:
            return facts
        return replace(facts, action="walk" if facts.speed >= 0.03 else "stand")


def _limb(x0: Times, y0: Times, x1: Times, y1: Times, width: float, colour: object, alpha: Times) -> list[Box]:
    """A straight arm or stick, as a row of dots."""
    return [
        box(x0 + s * (x1 - x0), y0 + s * (y1 - y0), width, width, colour, alpha, round=True)
        for s in np.linspace(0, 1, 5)
    ]


def _arm(p: Person, t: Times, pose: Pose, dx: Times | float, dy: Times | float, alpha: Times) -> list[Box]:
    """An arm from the shoulder to a hand at dx ahead and dy above the ground, in heights."""
    h, one = p.height, np.ones_like(t)
    squat = 1 - 0.45 * pose.crouching
    shoulder = p.depth - 0.72 * h * squat
    hand = pose.x + pose.facing * dx * h, p.depth - dy * h * one
    return [
        *_limb(pose.x, shoulder, *hand, 0.045 * h, 0.8 * np.array(CLOTHES[p.colour], float), alpha),
        box(*hand, 0.055 * h, 0.055 * h, p.skin, alpha, round=True),
    ]


Draw = Callable[[Performer, Times, Pose, Times], Props]


def _at(p: Person, t: Times, pose: Pose, dx: Times | float, dy: Times | float, w: float, h: float, colour: object,
        alpha: Times, round: bool = False) -> Box:  # fmt: skip
    """A shape at dx ahead of the person and dy above the ground, half sizes w and h, in heights."""
    one = np.ones_like(t)
    return box(pose.x + pose.facing * dx * p.height, p.depth - dy * p.height * one, w * p.height, h * p.height, colour,
               alpha, round)  # fmt: skip


def _wave(p: Performer, t: Times, pose: Pose, on: Times) -> Props:
    return Props(_arm(p, t, pose, 0.3 + 0.14 * np.sin(9 * t + p.phase), 1.08, on))


def _jump(p: Performer, t: Times, pose: Pose, on: Times) -> Props:
    up = np.abs(np.sin(2 * np.pi * 0.9 * t + p.phase)) * on
    return Props(rise=0.3 * p.height * up)


def _sit(p: Performer, t: Times, pose: Pose, on: Times) -> Props:
    bench = [_at(p, t, pose, 0, 0.24, 0.38, 0.05, WOOD, on)]
    bench += [_at(p, t, pose, d, 0.1, 0.03, 0.1, DARK, on) for d in (-0.3, 0.3)]
    return Props(behind=[_at(p, t, pose, -0.1, 0.5, 0.36, 0.06, WOOD, on), *bench])


def _dance(p: Performer, t: Times, pose: Pose, on: Times) -> Props:
    up = 0.85 + 0.25 * np.sin(6 * t + p.phase)
    return Props(_arm(p, t, pose, 0.3, up, on) + _arm(p, t, pose, -0.3, 1.7 - up, on))


def _squat(p: Performer, t: Times, pose: Pose, on: Times) -> Props:
    return Props(_arm(p, t, pose, 0.36, 0.7 - 0.3 * pose.crouching, on))


def _point(p: Performer, t: Times, pose: Pose, on: Times) -> Props:
    return Props(_arm(p, t, pose, 0.42, 0.76, on))


def _phone(p: Performer, t: Times, pose: Pose, on: Times) -> Props:
    return Props([*_arm(p, t, pose, 0.2, 0.82, on), _at(p, t, pose, 0.2, 0.87, 0.04, 0.07, (90, 200, 240), on)])


def _photo(p: Performer, t: Times, pose: Pose, on: Times) -> Props:
    flash = on * (((t - p.event_s) % 1.1) < 0.11)
    camera = _at(p, t, pose, 0.26, 0.9, 0.08, 0.06, DARK, on)
    return Props([*_arm(p, t, pose, 0.24, 0.86, on), camera, _at(p, t, pose, 0.36, 0.9, 0.1, 0.1, PALE, flash, True)])


def _sweep(p: Performer, t: Times, pose: Pose, on: Times) -> Props:
    dx = 0.45 + 0.16 * np.sin(5 * t + p.phase)
    end = pose.x + pose.facing * dx * p.height, p.depth - 0.04 * p.height * np.ones_like(t)
    hand = pose.x + pose.facing * 0.16 * p.height, p.depth - 0.5 * p.height * np.ones_like(t)
    stick = _limb(*hand, *end, 0.018 * p.height, WOOD, on)
    return Props([*_arm(p, t, pose, 0.16, 0.5, on), *stick, _at(p, t, pose, dx, 0.04, 0.1, 0.04, (190, 170, 90), on)])


def _wipe(p: Performer, t: Times, pose: Pose, on: Times) -> Props:
    """Slow circles of a cloth on a pane of glass."""
    pane = [
        _at(p, t, pose, 0.5, 0.75, 0.24, 0.34, METAL, on),
        _at(p, t, pose, 0.5, 0.75, 0.2, 0.3, (160, 200, 215), on),
    ]
    dx, dy = 0.45 + 0.12 * np.cos(3 * t + p.phase), 0.8 + 0.14 * np.sin(3 * t + p.phase)
    return Props([*_arm(p, t, pose, dx, dy, on), _at(p, t, pose, dx, dy, 0.07, 0.05, (235, 235, 120), on)], pane)


def _paint(p: Performer, t: Times, pose: Pose, on: Times) -> Props:
    """Slow strokes of a roller, up and down a wall of which a part has the new colour."""
    dy, done = 0.75 + 0.3 * np.sin(2.2 * t + p.phase), (120, 150, 110)
    wall = [
        _at(p, t, pose, 0.55, 0.6, 0.32, 0.6, (205, 200, 190), on),
        _at(p, t, pose, 0.38, 0.75, 0.1, 0.36, done, on),
    ]
    return Props([*_arm(p, t, pose, 0.34, dy, on), _at(p, t, pose, 0.42, dy, 0.04, 0.1, done, on)], wall)


def _flight(p: Performer, t: Times, speed: float, start: float, lift: float) -> tuple[Times, Times]:
    """Way of a ball, ahead and above the ground in heights, from the action's start on."""
    u = np.clip(t - p.event_s - 0.25, 0, 3)
    return 0.3 + speed * u, np.abs(start + lift * u - 2.0 * u**2)


def _throw(p: Performer, t: Times, pose: Pose, on: Times) -> Props:
    dx, dy = _flight(p, t, 1.5, 0.95, 1.0)
    swing = np.clip((t - p.event_s) / 0.3, -1, 1)
    ball = _at(p, t, pose, dx, np.maximum(dy, 0.06), 0.08, 0.08, (240, 240, 240), on, True)
    return Props([*_arm(p, t, pose, 0.3 * swing, 0.95, on), ball])


def _kick(p: Performer, t: Times, pose: Pose, on: Times) -> Props:
    dx, dy = _flight(p, t, 1.9, 0.08, 0.6)
    ball = _at(p, t, pose, dx, np.maximum(dy, 0.08), 0.09, 0.09, (240, 240, 240), on, True)
    leg = on * (np.abs(t - p.event_s - 0.25) < 0.3)
    return Props([_at(p, t, pose, 0.22, 0.14, 0.16, 0.05, p.trousers, leg), ball])


def _lift(p: Performer, t: Times, pose: Pose, on: Times) -> Props:
    dy = 0.12 + 0.5 * ramp(t, p.event_s + 0.4, 0.5)
    crate = _at(p, t, pose, 0.28, dy, 0.15, 0.12, (165, 125, 75), on)
    return Props([crate, *_arm(p, t, pose, 0.24, dy, on)])


def _pick(p: Performer, t: Times, pose: Pose, on: Times) -> Props:
    dy = 0.09 + 0.21 * ramp(t, p.event_s + 0.4, 0.3)
    return Props([*_arm(p, t, pose, 0.2, dy + 0.1, on), _at(p, t, pose, 0.2, dy, 0.13, 0.1, BAG_COLOUR, on)])


def _climb(p: Performer, t: Times, pose: Pose, on: Times) -> Props:
    rails = [_at(p, t, pose, d, 0.9, 0.015, 0.9, METAL, np.ones_like(t)) for d in (0.02, 0.28)]
    rungs = [_at(p, t, pose, 0.15, 0.2 + 0.2 * i, 0.13, 0.012, METAL, np.ones_like(t)) for i in range(8)]
    rise = 0.5 * p.height * np.clip((t - p.event_s) / 2.0, 0, 1)
    return Props(_arm(p, t, pose, 0.15, 0.95 + rise / p.height, on), rails + rungs, rise)


def _cart(p: Performer, t: Times, pose: Pose, on: Times) -> Props:
    wheels = [_at(p, t, pose, d, 0.06, 0.06, 0.06, DARK, on, True) for d in (0.35, 0.75)]
    basket = [_at(p, t, pose, 0.56, 0.36, 0.26, 0.16, METAL, on), _at(p, t, pose, 0.56, 0.4, 0.2, 0.08, PALE, on)]
    return Props([*_arm(p, t, pose, 0.3, 0.52, on), *basket, *wheels])


def _pram(p: Performer, t: Times, pose: Pose, on: Times) -> Props:
    wheels = [_at(p, t, pose, d, 0.08, 0.08, 0.08, METAL, on, True) for d in (0.38, 0.62)]
    hood = [
        _at(p, t, pose, 0.5, 0.32, 0.2, 0.16, (70, 75, 120), on, True),
        _at(p, t, pose, 0.55, 0.3, 0.1, 0.06, PALE, on),
    ]
    return Props([*_arm(p, t, pose, 0.26, 0.5, on), *hood, *wheels])


def _suitcase(p: Performer, t: Times, pose: Pose, on: Times) -> Props:
    handle = _at(p, t, pose, -0.26, 0.42, 0.015, 0.16, METAL, on)
    return Props(
        [handle, _at(p, t, pose, -0.34, 0.18, 0.12, 0.18, (40, 90, 110), on), *_arm(p, t, pose, -0.22, 0.5, on)]
    )


def _umbrella(p: Performer, t: Times, pose: Pose, on: Times) -> Props:
    stick = _at(p, t, pose, 0.12, 0.9, 0.012, 0.3, DARK, on)
    return Props([stick, _at(p, t, pose, 0.08, 1.2, 0.34, 0.1, np.array(CLOTHES[p.colour]) * 0.6, on, True)])


def _scooter(p: Performer, t: Times, pose: Pose, on: Times) -> Props:
    wheels = [_at(p, t, pose, d, 0.05, 0.06, 0.06, DARK, on, True) for d in (-0.25, 0.32)]
    bar = [_at(p, t, pose, 0.32, 0.34, 0.02, 0.3, METAL, on), _at(p, t, pose, 0.26, 0.64, 0.09, 0.02, DARK, on)]
    return Props([_at(p, t, pose, 0, 0.09, 0.28, 0.025, METAL, on), *bar, *wheels], rise=0.09 * p.height)


def _skateboard(p: Performer, t: Times, pose: Pose, on: Times) -> Props:
    wheels = [_at(p, t, pose, d, 0.03, 0.035, 0.035, PALE, on, True) for d in (-0.18, 0.18)]
    return Props([_at(p, t, pose, 0, 0.075, 0.28, 0.025, (150, 60, 120), on), *wheels], rise=0.09 * p.height)


def _wheelchair(p: Performer, t: Times, pose: Pose, on: Times) -> Props:
    wheel = [_at(p, t, pose, -0.06, 0.2, r, r, c, on, True) for r, c in ((0.22, DARK), (0.17, METAL))]
    small = _at(p, t, pose, 0.28, 0.07, 0.07, 0.07, DARK, on, True)
    return Props([*wheel, small, _at(p, t, pose, 0.22, 0.14, 0.1, 0.03, METAL, on)],
                 [_at(p, t, pose, -0.2, 0.5, 0.04, 0.22, DARK, on)], 0.06 * p.height)  # fmt: skip


def four_legs(x: Times, y: Times, f: Times | float, size: float, t: Times, colour: object, alpha: Times, pace: float,
              neck: float = 0.3) -> list[Box]:  # fmt: skip
    """A walking animal of length `size`: legs, body, tail, neck and head."""
    swing = np.sin(pace * t)
    legs = [
        box(x + f * (d + s * 0.08 * swing) * size, y - 0.16 * size, 0.05 * size, 0.16 * size, colour, alpha)
        for d, s in ((-0.34, 1), (-0.24, -1), (0.24, 1), (0.34, -1))
    ]
    return [
        *legs,
        box(x, y - 0.4 * size, 0.42 * size, 0.14 * size, colour, alpha, round=True),
        box(x - f * 0.46 * size, y - (0.48 + 0.05 * swing) * size, 0.1 * size, 0.03 * size, colour, alpha),
        box(x + f * 0.4 * size, y - (0.4 + neck / 2) * size, 0.07 * size, (0.06 + neck / 2) * size, colour, alpha),
        box(x + f * 0.5 * size, y - (0.4 + neck) * size, 0.14 * size, 0.1 * size, colour, alpha, round=True),
    ]


def _leash(p: Performer, t: Times, pose: Pose, on: Times) -> Props:
    size, y = 0.5 * p.height, np.full_like(t, p.depth)
    dog = four_legs(pose.x + pose.facing * 0.7 * p.height, y, pose.facing, size, t, (110, 75, 45), on, 12.0, 0.22)
    hand = pose.x + pose.facing * 0.18 * p.height, y - 0.5 * p.height
    neck = pose.x + pose.facing * 0.86 * p.height, y - 0.26 * p.height
    return Props([*_limb(*hand, *neck, 0.012 * p.height, DARK, on), *dog])


def _hug(p: Performer, t: Times, pose: Pose, on: Times) -> Props:
    return Props(_arm(p, t, pose, 0.3, 0.7, on) + _arm(p, t, pose, 0.26, 0.58, on))


def _handshake(p: Performer, t: Times, pose: Pose, on: Times) -> Props:
    return Props(_arm(p, t, pose, 0.3, 0.5 + 0.07 * np.sin(11 * t), on))


PROPS: dict[str, Draw] = {
    "wave": _wave, "jump": _jump, "sit": _sit, "dance": _dance, "squat": _squat, "point": _point, "phone": _phone,
    "photo": _photo, "sweep": _sweep, "wipe": _wipe, "paint": _paint, "throw": _throw, "kick": _kick, "lift": _lift,
    "pick": _pick, "climb": _climb, "cart": _cart, "pram": _pram, "suitcase": _suitcase, "umbrella": _umbrella,
    "scooter": _scooter, "skateboard": _skateboard, "wheelchair": _wheelchair, "leash": _leash, "hug": _hug,
    "handshake": _handshake,
}  # fmt: skip
SPEEDS: dict[str, tuple[float, float]] = {  # pictures/s; everybody else stands
    **dict.fromkeys(("stagger", "cart", "pram", "suitcase", "leash", "umbrella", "follow", "group"), (0.08, 0.2)),
    **dict.fromkeys(("scooter", "skateboard"), (0.2, 0.4)),
    "wheelchair": (0.06, 0.16),
}


def place(rng: np.random.Generator, scale: float) -> tuple[float, float]:
    """Depth and height of a person: nearer is lower and larger."""
    depth = float(rng.uniform(0.58, 0.97))
    return depth, scale * (0.28 + 0.44 * (depth - 0.58) + float(rng.uniform(-0.03, 0.03)))


def performers(rng: np.random.Generator, kind: str, middle_s: float, event_s: float, scale: float) -> list[Performer]:
    """Those who take part in `kind`, in the picture at middle_s; it happens at event_s."""
    way = 1 if rng.random() < 0.5 else -1
    low, high = SPEEDS.get(kind, (1e-6, 1e-6))
    speed, x = way * float(rng.uniform(low, high)), float(rng.uniform(0.2, 0.8))
    depth, height = place(rng, scale)

    def one(dx: float, speed: float) -> Performer:
        near = float(np.clip(depth + rng.uniform(-0.02, 0.02), 0.55, 0.98))
        lasts_s = float(rng.uniform(2.0, 4.0))
        drawn = Performer.draw(
            rng, kind, at_s=middle_s, x=x + dx, depth=near, height=height, speed=speed, event_s=event_s, lasts_s=lasts_s
        )
        return cast(Performer, drawn)

    if kind in ("hug", "handshake"):
        gap = height * (0.11 if kind == "hug" else 0.3)
        return [one(-gap, 1e-6), one(gap, -1e-6)]
    if kind == "follow":
        return [one(0, speed), one(-way * float(rng.uniform(0.6, 0.9)) * height, speed)]
    if kind == "chase":
        fast = way * float(rng.uniform(0.34, 0.55))
        return [one(0, fast), one(-way * float(rng.uniform(0.5, 0.8)) * height, fast)]
    if kind == "queue":
        return [one(way * i * 0.42 * height, -way * 1e-6) for i in range(int(rng.integers(3, 5)))]
    if kind == "group":
        return [one(way * i * 0.36 * height, speed) for i in range(int(rng.integers(3, 5)))]
    if kind == "scatter":
        return [one(d * 0.2 * height, np.sign(d) * float(rng.uniform(0.3, 0.5))) for d in (-2, -1, 1, 2)]
    return [one(0, speed)]
