"""What the effects of the wide world look like over time: clouds, lamps and what changes the whole picture."""

from typing import TYPE_CHECKING

import numpy as np

from headhunt_svc.demo.shapes import Box, Times, box, ramp
from headhunt_svc.demo.wide.looks import LAMP, Draw
from headhunt_svc.demo.wide.people import DARK

if TYPE_CHECKING:
    from headhunt_svc.demo.wide.things import Thing


def _puffs(
    a: "Thing", t: Times, x: Times, y: Times, s: float, grey: tuple[int, int, int], drift: float, climb: float
) -> list[Box]:
    """Soft round clouds that are born at (x, y), grow, drift and thin out; white or grey."""
    puffs = []
    for i in range(8):
        u = (0.45 * t + i / 8 + a.phase) % 1
        alpha = 0.5 * np.sin(np.pi * u) * ramp(t, a.event_s, 0.4)
        place = x + drift * u + 0.2 * s * np.sin(5 * i + 3 * u), y - climb * u
        puffs.append(box(*place, s * (0.25 + 0.5 * u), s * (0.25 + 0.5 * u), grey, alpha, True))
    return puffs


def _steam(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
    vent = box(x, y, 0.3 * s, 0.1 * s, DARK, np.ones_like(t))
    return [vent, *_puffs(a, t, x, y, s, (225, 228, 232), 0.05 * a.way, 0.38)]


def _dust(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
    return _puffs(a, t, x, y, s, (150, 146, 140), -0.2 * a.way, 0.06)


def _lamp(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
    """A street lamp of cold white light whose size never changes."""
    lit = np.where(a.on(t) > 0, (np.sin(17 * t + a.phase) * np.sin(29 * t) > 0).astype(float), 1.0)
    pole = box(x, y - 1.4 * s, 0.035 * s, 1.4 * s, DARK, np.ones_like(t))
    return [
        pole,
        box(x, y - 2.8 * s, 0.6 * s, 0.6 * s, (225, 235, 250), 0.35 * lit, True),
        box(x, y - 2.8 * s, 0.16 * s, 0.1 * s, LAMP, lit),
    ]


def _beam(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
    on = a.on(t)
    return [box(x, y, r * s, 0.8 * r * s, (235, 240, 250), 0.35 * on, True) for r in (1.0, 0.7, 0.4)]


def _screen(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
    one, turn = np.ones_like(t), np.floor((t - a.event_s) / 0.35) % 3
    pictures = [
        box(x, y - 1.2 * s, 0.62 * s, 0.36 * s, c, (turn == i).astype(float))
        for i, c in enumerate(((60, 130, 210), (90, 200, 140), (190, 120, 200)))
    ]
    return [
        box(x, y - 0.5 * s, 0.05 * s, 0.5 * s, DARK, one),
        box(x, y - 1.2 * s, 0.68 * s, 0.42 * s, DARK, one),
        *pictures,
    ]


def _beacon(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
    lit = ((t * 2.5 + a.phase) % 1 < 0.45).astype(float)
    glow = [
        box(x, y - 0.3 * s, r * s, r * s, (70, 120, 255), alpha * lit, True) for r, alpha in ((0.9, 0.3), (0.3, 1.0))
    ]
    return [box(x, y - 0.1 * s, 0.2 * s, 0.1 * s, DARK, np.ones_like(t)), *glow]


def _whole(colour: tuple[int, int, int], alpha: Times) -> list[Box]:
    half = np.full_like(alpha, 0.5)
    return [box(half, half, 0.6, 0.6, colour, alpha)]


def _lightning(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
    u = t - a.event_s
    return _whole((225, 230, 255), 0.7 * ((u > 0) & (u < 0.9) & ((u % 0.4) < 0.2)))


def _shadow(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
    one = np.ones_like(t)
    return [box(x, 0.75 * one, s, 0.28, (15, 18, 25), 0.45 * one, True)]


def _insect(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
    one, x, y = np.ones_like(t), x + 0.15 * np.sin(1.3 * t + a.phase), y - 0.2 + 0.12 * np.sin(2.1 * t)
    legs = [
        box(x + d * 0.5 * s, y + e * 0.3 * s + 0.05 * s * np.sin(20 * t + d), 0.2 * s, 0.03 * s, DARK, one)
        for d in (-1, 1)
        for e in (-1, 0, 1)
    ]
    return [*legs, box(x, y, 0.3 * s, 0.42 * s, (30, 28, 25), one, True)]


def _blackout(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
    return _whole((2, 2, 3), 0.97 * a.on(t))


def _cover(a: "Thing", t: Times, x: Times, y: Times, s: float) -> list[Box]:
    down = ramp(t, a.event_s, 0.8)
    return [box(np.full_like(t, 0.5), -0.6 + down * s, 0.6, 0.6, (70, 72, 78), np.ones_like(t))]


EFFECTS: dict[str, Draw] = {
    "steam": _steam, "dust": _dust, "lamp": _lamp, "beam": _beam, "screen": _screen, "beacon": _beacon,
    "lightning": _lightning, "shadow": _shadow, "insect": _insect, "blackout": _blackout, "cover": _cover,
}  # fmt: skip
