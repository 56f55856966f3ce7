"""Draws a scene as pictures: anti-aliased rectangles and ellipses, glows, light, noise and camera shake, in numpy."""

import numpy as np
from jaxtyping import Float, UInt8

from headhunt_svc.demo.scenes import CameraView, Scene, Static
from headhunt_svc.demo.shapes import Box, Times, box
from headhunt_svc.demo.things import Blast


def shake(scene: Scene, t: Times) -> tuple[Times, Times]:
    """Offset of a shaking camera to the right and down, in picture sizes."""
    phase = scene.seed % 7
    dx = scene.shake * (np.sin(7.3 * t + phase) + 0.6 * np.sin(17 * t))
    dy = scene.shake * (np.sin(9.1 * t + phase) + 0.6 * np.cos(15 * t))
    return dx, dy


def _background(view: CameraView, dy: Times, yy: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "t h w 3"]:
    y = (yy[None] + dy[:, None, None])[..., None]
    sky = view.sky + (235 - view.sky) * 0.35 * np.clip(y / view.horizon, 0, 1)  # hazy towards the horizon
    ground = view.ground * (0.75 + 0.4 * yy[..., None])
    if view.road is not None:
        top, width = view.road
        across = (y - top) / width
        line = (np.abs(across - 0.5) < 0.04).astype(float)
        ground = np.where((across > 0) & (across < 1), 0.72 * ground + 45 * line, ground)
    return np.asarray(np.where(y < view.horizon, sky, ground), np.float32)


def _static(s: Static, one: Times) -> list[Box]:
    """The boxes of a house (roof, windows), a tree (trunk, crown) or a post."""

    def part(dx: float, dy: float, width: float, height: float, colour: object, round: bool = False) -> Box:
        """In shares of the thing's width and height from its bottom centre, colour absolute."""
        centre = (s.x + dx * s.width) * one, (s.y - dy * s.height) * one
        return box(*centre, width * s.width / 2, height * s.height / 2, colour, one, round)

    if s.kind == "tree":
        crown = [(0.0, 0.68, 1.0, 0.62), (-0.25, 0.55, 0.6, 0.4), (0.28, 0.58, 0.55, 0.42)]
        trunk = part(0, 0.2, 0.16, 0.4, np.array([85, 65, 45]))
        return [trunk, *(part(*c, s.colour * (0.9 + 0.1 * i), True) for i, c in enumerate(crown))]
    if s.kind == "house":
        dark = s.colour * 0.55
        windows = [part(dx, dy, 0.16, 0.16, dark) for dx in (-0.3, 0.0, 0.3) for dy in (0.35, 0.68)]
        return [part(0, 0.5, 1, 1, s.colour), part(0, 0.97, 1.06, 0.08, dark), *windows]
    return [part(0, 0.5, 1, 1, s.colour), part(0, 0.98, 1.5, 0.1, s.colour * 0.7)]


def coverage(low: Times, high: Times, first: int, last: int) -> Float[np.ndarray, "t n"]:
    """Share of every unit cell first..last-1 that the interval [low, high] covers, per time."""
    cell = np.arange(first, last)
    return np.asarray(np.clip(np.minimum(cell + 1, high[:, None]) - np.maximum(cell, low[:, None]), 0, 1))


def _ellipse(
    x0: Times, x1: Times, left: int, right: int, y0: Times, y1: Times, top: int, bottom: int
) -> Float[np.ndarray, "t h w"]:
    """Share of every pixel inside the ellipse, approximated from the pixel's distance to the edge."""

    def scaled(low: Times, high: Times, first: int, last: int) -> tuple[Float[np.ndarray, "t pixel"], Times]:
        half = np.maximum((high - low) / 2, 0.5)
        return (np.arange(first, last) + 0.5 - (low + high)[:, None] / 2) / half[:, None], half

    (u, half_w), (v, half_h) = scaled(x0, x1, left, right), scaled(y0, y1, top, bottom)
    distance = np.sqrt(u[:, None, :] ** 2 + v[:, :, None] ** 2)
    return np.asarray(np.clip(0.5 + (1 - distance) * np.minimum(half_w, half_h)[:, None, None], 0, 1))


def _paint(picture: Float[np.ndarray, "t h w 3"], shape: Box, dx: Times, dy: Times) -> None:
    height, width = picture.shape[1:3]
    on = shape.alpha > 0
    if not on.any():
        return
    x0, x1 = (shape.x0 - dx) * width, (shape.x1 - dx) * width
    y0, y1 = (shape.y0 - dy) * height, (shape.y1 - dy) * height
    left, right = max(int(x0[on].min()), 0), min(int(x1[on].max()) + 1, width)
    top, bottom = max(int(y0[on].min()), 0), min(int(y1[on].max()) + 1, height)
    if left >= right or top >= bottom:
        return
    if shape.round:
        alpha = _ellipse(x0, x1, left, right, y0, y1, top, bottom) * shape.alpha[:, None, None]
    else:
        rows = coverage(y0, y1, top, bottom) * shape.alpha[:, None]
        alpha = rows[:, :, None] * coverage(x0, x1, left, right)[:, None, :]
    region = picture[:, top:bottom, left:right]
    region += alpha[..., None].astype(np.float32) * (shape.colour.astype(np.float32) - region)


def render(scene: Scene, t: Times, size: int) -> UInt8[np.ndarray, "t size size 3"]:
    """The pictures of a scene at times t; noise is a function of the scene's seed and t[0]."""
    rng = np.random.default_rng([scene.seed, round(float(t[0]) * 1000) + 1_000_000])
    dx, dy = shake(scene, t)
    yy, xx = (np.mgrid[0:size, 0:size] + 0.5) / size
    picture = _background(scene.view, dy, yy)
    one = np.ones_like(t)
    boxes = [b for s in scene.view.statics for b in _static(s, one)]
    for actor in sorted(scene.actors, key=lambda a: a.depth):
        boxes += actor.boxes(t)
    for shape in boxes:
        _paint(picture, shape, dx, dy)
    for actor in scene.actors:
        if isinstance(actor, Blast) and (actor.strength(t) > 0).any():
            alpha, colour = actor.overlay(t, xx, yy)
            picture += (alpha * (colour - picture)).astype(np.float32)
    picture *= scene.brightness(t)[:, None, None, None].astype(np.float32)
    if scene.noise:
        picture += rng.standard_normal(picture.shape, dtype=np.float32) * np.float32(scene.noise)
    return np.asarray(np.clip(picture, 0, 255), np.uint8)
