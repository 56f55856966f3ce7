"""What vehicles, animals and things of the wide world look like over time, as boxes."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from headhunt_svc.demo.shapes import CLOTHES, Box, Times, box, ramp, shadow
from headhunt_svc.demo.wide.people import DARK, METAL, PALE, WOOD, four_legs

if TYPE_CHECKING:
    from headhunt_svc.demo.wide.things import Thing

GLASS, LAMP, GREY = (120, 150, 170), (250, 250, 235), (150, 150, 152)
Draw = Callable[["Thing", Times, Times, Times, float], list[Box]]  # of a thing at times, places, heights and a size


def _paint(a: "Thing") -> Float[np.ndarray, "3"]:
    return np.array(CLOTHES[a.colour], float)


def _wheels(x: Times, y: Times, s: float, places: tuple[float, ...], r: float) -> list[Box]:
    one = np.ones_like(x)
    return [
        box(x + d * s, y - r * s, radius * s, radius * s, (grey, grey, grey), one, True)
        for radius, grey in ((r, 15), (0.4 * r, 150))
        for d in places
    ]


def _truck(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
    one, f = np.ones_like(t), a.way
    load, cab = box(x - f * 0.12 * s, y - 0.32 * s, 0.36 * s, 0.22 * s, (200, 200, 195), one), _paint(a)
    return [
        shadow(x, y, 0.52 * s, one), load, box(x + f * 0.36 * s, y - 0.24 * s, 0.13 * s, 0.16 * s, cab, one),
        box(x + f * 0.4 * s, y - 0.3 * s, 0.08 * s, 0.06 * s, GLASS, one),
        *_wheels(x, y, s, (-0.34, -0.18, 0.34), 0.08),
    ]  # fmt: skip


def _bus(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
    one = np.ones_like(t)
    windows = [box(x + d * s, y - 0.3 * s, 0.07 * s, 0.06 * s, GLASS, one) for d in (-0.36, -0.18, 0.0, 0.18, 0.36)]
    body = box(x, y - 0.23 * s, 0.48 * s, 0.18 * s, _paint(a), one)
    return [shadow(x, y, 0.5 * s, one), body, *windows, *_wheels(x, y, s, (-0.3, 0.3), 0.07)]


def _tram(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
    one = np.ones_like(t)
    rails = box(0.5 * one, y, 0.6, 0.008, (60, 60, 62), one)
    body = [box(x + d * s, y - 0.17 * s, 0.235 * s, 0.13 * s, _paint(a), one) for d in (-0.25, 0.25)]
    glass = [box(x + d * s, y - 0.21 * s, 0.2 * s, 0.04 * s, GLASS, one) for d in (-0.25, 0.25)]
    return [rails, *body, *glass, box(x, y - 0.34 * s, 0.01 * s, 0.05 * s, DARK, one)]


def _motorbike(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
    one, f = np.ones_like(t), a.way
    rider = [box(x - f * 0.05 * s, y - 0.62 * s, 0.12 * s, 0.2 * s, (60, 60, 75), one),
             box(x + f * 0.02 * s, y - 0.9 * s, 0.1 * s, 0.1 * s, _paint(a), one, True)]  # fmt: skip
    frame = box(x, y - 0.32 * s, 0.36 * s, 0.1 * s, _paint(a), one)
    return [
        *_wheels(x, y, s, (-0.36, 0.36), 0.2),
        frame,
        *rider,
        box(x + f * 0.4 * s, y - 0.4 * s, 0.04 * s, 0.04 * s, LAMP, one),
    ]


def _forklift(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
    one, f = np.ones_like(t), a.way
    mast = [
        box(x + f * 0.3 * s, y - 0.42 * s, 0.03 * s, 0.4 * s, DARK, one),
        box(x + f * 0.46 * s, y - 0.1 * s, 0.16 * s, 0.02 * s, DARK, one),
    ]
    body = [
        box(x - f * 0.05 * s, y - 0.24 * s, 0.3 * s, 0.14 * s, _paint(a), one),
        box(x - f * 0.1 * s, y - 0.55 * s, 0.2 * s, 0.18 * s, METAL, one),
    ]
    return [
        *body,
        *mast,
        box(x + f * 0.46 * s, y - 0.24 * s, 0.14 * s, 0.12 * s, WOOD, one),
        *_wheels(x, y, s, (-0.24, 0.2), 0.1),
    ]


def _tractor(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
    one, f = np.ones_like(t), a.way
    cab = [
        box(x - f * 0.16 * s, y - 0.6 * s, 0.18 * s, 0.2 * s, GLASS, one),
        box(x + f * 0.2 * s, y - 0.34 * s, 0.26 * s, 0.12 * s, _paint(a), one),
    ]
    return [*cab, *_wheels(x, y, s, (-f * 0.2,), 0.24), *_wheels(x, y, s, (f * 0.34,), 0.13)]


def _beast(colour: tuple[int, int, int], pace: float, neck: float) -> Draw:
    def draw(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
        one = np.ones_like(t)
        return [shadow(x, y, 0.4 * s, one), *four_legs(x, y, a.way, s, t + a.phase, colour, one, pace, neck)]

    return draw


def _bird(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
    one, flap = np.ones_like(t), np.sin(11 * t + a.phase)
    wings = [box(x + d * 0.3 * s, y - 0.3 * s * flap, 0.3 * s, 0.08 * s, DARK, one) for d in (-1, 1)]
    return [*wings, box(x, y, 0.3 * s, 0.12 * s, (60, 60, 65), one, True)]


def _ball(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
    one, spin = np.ones_like(t), a.way * t * abs(a.speed) / s
    spot = box(x + 0.5 * s * np.cos(spin), y - s + 0.5 * s * np.sin(spin), 0.3 * s, 0.3 * s, DARK, one, True)
    return [shadow(x, y, s, one), box(x, y - s, s, s, (235, 235, 235), one, True), spot]


def _balloon(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
    one, up = np.ones_like(t), y + 0.2 - 0.25 * (t - a.event_s)
    x = x + 0.02 * np.sin(2 * t + a.phase)
    return [box(x, up + 0.9 * s, 0.006, 0.5 * s, DARK, one), box(x, up, 0.42 * s, 0.52 * s, _paint(a), one, True)]


def _drone(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
    one, spin = np.ones_like(t), 0.18 + 0.12 * np.sin(25 * t)
    rotors = [box(x + d * 0.4 * s, y - 0.16 * s, spin * s, 0.03 * s, GREY, one) for d in (-1, 1)]
    return [box(x, y, 0.24 * s, 0.12 * s, DARK, one), box(x, y - 0.1 * s, 0.45 * s, 0.03 * s, DARK, one), *rotors]


def _flag(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
    one = np.ones_like(t)
    cloth = [
        box(
            x + (0.1 + 0.2 * i) * s,
            y - 2.2 * s + 0.06 * (i + 1) * s * np.sin(6 * t + a.phase - i),
            0.1 * s,
            0.3 * s,
            _paint(a),
            one,
        )
        for i in range(5)
    ]
    return [box(x, y - 1.25 * s, 0.03 * s, 1.25 * s, METAL, one), *cloth]


def _gate(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
    one, gap = np.ones_like(t), 0.42 * s * ramp(t, a.event_s, 1.0)
    posts = [box(x + d * 0.5 * s, y - 0.22 * s, 0.03 * s, 0.22 * s, (90, 80, 75), one) for d in (-1, 1)]
    leaves = [
        box(x + d * (0.25 * s + gap / 2), y - 0.2 * s, 0.24 * s - gap / 2, 0.17 * s, (110, 120, 100), one)
        for d in (-1, 1)
    ]
    return [*leaves, *posts]


def _barrier(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
    one, turn = np.ones_like(t), 0.5 * np.pi * 0.9 * ramp(t, a.event_s, 1.0)
    arm = [
        box(
            x + a.way * d * s * np.cos(turn),
            y - 0.2 * s - d * s * np.sin(turn),
            0.07 * s,
            0.035 * s,
            (220, 50, 50) if i % 2 else PALE,
            one,
        )
        for i, d in enumerate(np.linspace(0.05, 0.95, 8))
    ]
    return [box(x, y - 0.12 * s, 0.05 * s, 0.12 * s, (90, 90, 95), one), *arm]


def _signal(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
    one, after = np.ones_like(t), (t > a.event_s).astype(float)
    case = [box(x, y - 0.9 * s, 0.04 * s, 0.9 * s, DARK, one), box(x, y - 2.0 * s, 0.18 * s, 0.4 * s, DARK, one)]
    red = box(x, y - 2.2 * s, 0.12 * s, 0.12 * s, (240, 40, 50), 1 - after, True)
    return [*case, red, box(x, y - 1.8 * s, 0.12 * s, 0.12 * s, (60, 230, 110), after, True)]


def _paper(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
    y = y - 0.12 + 0.08 * np.sin(4 * t + a.phase)
    return [box(x, y, s * (0.4 + 0.6 * np.abs(np.sin(7 * t))), 0.6 * s, PALE, np.ones_like(t))]


def _box(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
    down = np.clip((t - a.event_s) / 0.5, 0, 1) ** 2
    height = 0.5 * (1 - down) + 0.4 * s
    return [
        box(x, y - height, 0.5 * s, 0.4 * s, (165, 125, 75), np.ones_like(t)),
        box(x, y - height, 0.06 * s, 0.4 * s, WOOD, np.ones_like(t)),
    ]


def _sign(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
    one, turn = np.ones_like(t), 0.5 * np.pi * np.clip((t - a.event_s) / 0.6, 0, 1) ** 2
    pole = [
        box(x + a.way * d * s * np.sin(turn), y - d * s * np.cos(turn) - 0.04 * s, 0.06 * s, 0.06 * s, METAL, one)
        for d in np.linspace(0, 1.4, 8)
    ]
    board = box(
        x + a.way * 1.7 * s * np.sin(turn), y - 1.7 * s * np.cos(turn) - 0.1 * s, 0.36 * s, 0.26 * s, (50, 90, 170), one
    )
    return [*pole, board]


def _fountain(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
    one = np.ones_like(t)
    drops = []
    for i in range(10):
        u = (t * 0.9 + i / 10 + a.phase) % 1
        drops.append(
            box(
                x + (i - 4.5) * 0.14 * s * u,
                y - (0.4 + 2.6 * u * (1 - u)) * s,
                0.05 * s,
                0.07 * s,
                (190, 215, 235),
                0.8 * one,
                True,
            )
        )
    return [
        box(x, y - 0.15 * s, 0.6 * s, 0.16 * s, GREY, one, True),
        box(x, y - 0.25 * s, 0.08 * s, 0.15 * s, GREY, one),
        *drops,
    ]


def _puddle(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
    wide = s * (0.2 + 0.8 * ramp(t, a.event_s, 2.0))
    return [box(x, y, wide, 0.25 * wide, (85, 110, 135), 0.75 * np.ones_like(t), True)]


LOOKS: dict[str, Draw] = {
    "truck": _truck, "bus": _bus, "motorbike": _motorbike, "tram": _tram, "forklift": _forklift, "tractor": _tractor,
    "dog": _beast((110, 75, 45), 12.0, 0.22), "cat": _beast((70, 70, 72), 14.0, 0.12),
    "horse": _beast((90, 55, 35), 8.0, 0.45), "bird": _bird, "ball": _ball, "balloon": _balloon, "drone": _drone,
    "flag": _flag, "gate": _gate, "barrier": _barrier, "signal": _signal, "paper": _paper, "box": _box, "sign": _sign,
    "fountain": _fountain, "puddle": _puddle,
}  # fmt: skip
