"""Scene -> pixels: anti-aliased rectangles, glows, light, noise and camera shake, in numpy."""

import numpy as np
from jaxtyping import Float, UInt8

from headhunt_svc.demo.actors import Blast, Box, Times
from headhunt_svc.demo.scenes import Scene, View


def _shake(scene: Scene, t: Times) -> tuple[Times, Times]:
    if scene.shake == 0:
        return np.zeros_like(t), np.zeros_like(t)
    phase = scene.seed % 7
    dx = scene.shake * (np.sin(7.3 * t + phase) + 0.6 * np.sin(17 * t))
    dy = scene.shake * (np.sin(9.1 * t + phase) + 0.6 * np.cos(15 * t))
    return dx, dy


def _background(view: View, dy: Times, yy: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "t h w 3"]:
    sky = view.sky * (1 - 0.25 * yy[..., None])
    ground = view.ground * (0.8 + 0.35 * yy[..., None])
    above = (yy[None] + dy[:, None, None] < view.horizon)[..., None]
    return np.asarray(np.where(above, sky, ground), np.float32)


def _static_boxes(view: View, t: Times) -> list[Box]:
    one = np.ones_like(t)
    return [
        Box(
            (s.x - s.width / 2) * one,
            (s.y - s.height) * one,
            (s.x + s.width / 2) * one,
            s.y * one,
            s.colour,
            one,
        )
        for s in view.statics
    ]


def coverage(low: Times, high: Times, first: int, last: int) -> Float[np.ndarray, "t n"]:
    """Share of every unit cell first..last-1 that the interval [low, high] covers, per time."""
    cell = np.arange(first, last)
    return np.asarray(np.clip(np.minimum(cell + 1, high[:, None]) - np.maximum(cell, low[:, None]), 0, 1))


def _paint(picture: Float[np.ndarray, "t h w 3"], box: Box, dx: Times, dy: Times) -> None:
    height, width = picture.shape[1:3]
    on = box.alpha > 0
    if not on.any():
        return
    x0, x1 = (box.x0 - dx) * width, (box.x1 - dx) * width
    y0, y1 = (box.y0 - dy) * height, (box.y1 - dy) * height
    left, right = max(int(x0[on].min()), 0), min(int(x1[on].max()) + 1, width)
    top, bottom = max(int(y0[on].min()), 0), min(int(y1[on].max()) + 1, height)
    if left >= right or top >= bottom:
        return
    alpha = (coverage(y0, y1, top, bottom) * box.alpha[:, None])[:, :, None] * coverage(x0, x1, left, right)[:, None, :]
    region = picture[:, top:bottom, left:right]
    region += alpha[..., None].astype(np.float32) * (box.colour.astype(np.float32) - region)


def render(scene: Scene, t: Times, size: int) -> UInt8[np.ndarray, "t size size 3"]:
    """The pictures of a scene at times t; noise is a function of the scene's seed and t[0]."""
    rng = np.random.default_rng([scene.seed, round(float(t[0]) * 1000) + 1_000_000])
    dx, dy = _shake(scene, t)
    yy, xx = (np.mgrid[0:size, 0:size] + 0.5) / size
    picture = _background(scene.view, dy, yy)
    boxes = _static_boxes(scene.view, t)
    for actor in sorted(scene.actors, key=lambda a: a.depth):
        boxes += actor.boxes(t)
    for box in boxes:
        _paint(picture, box, dx, dy)
    for actor in scene.actors:
        if isinstance(actor, Blast) and (actor.strength(t) > 0).any():
            alpha, colour = actor.overlay(t, xx, yy)
            picture += (alpha * (colour - picture)).astype(np.float32)
    picture *= scene.brightness(t)[:, None, None, None].astype(np.float32)
    if scene.noise:
        picture += rng.standard_normal(picture.shape, dtype=np.float32) * np.float32(scene.noise)
    return np.asarray(np.clip(picture, 0, 255), np.uint8)
