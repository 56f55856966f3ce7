"""What is where, per visual token: dense targets that teach the vision tower to see before it learns to speak.

Used by pre-training stage 1 only and thrown away afterwards; no target says normal or anomalous.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, UInt8

from headhunt_svc.demo.actors import COLOURS, Blast, Box, Car, Person, Times
from headhunt_svc.demo.rendering import coverage
from headhunt_svc.demo.scenes import Scene

OCCUPANCY = ("upright", "lying", "crouching", "runner", "fighter", "bag", "car", "blast", "bike")
GRID = 8  # occupancy is given on GRID x GRID cells, colour on GRID/2 x GRID/2
N_TARGETS = 4 * len(OCCUPANCY) + len(COLOURS)  # per visual token: a 2 x 2 block of cells and the shirt colours


def _cells(boxes: list[Box], grid: int) -> Float[np.ndarray, "t g g"]:
    """Share of each cell under the bounding box of `boxes`."""
    x0, y0 = np.min([b.x0 for b in boxes], axis=0), np.min([b.y0 for b in boxes], axis=0)
    x1, y1 = np.max([b.x1 for b in boxes], axis=0), np.max([b.y1 for b in boxes], axis=0)
    rows, columns = coverage(y0 * grid, y1 * grid, 0, grid), coverage(x0 * grid, x1 * grid, 0, grid)
    return np.asarray(rows[:, :, None] * columns[:, None, :])


def dense_targets(scene: Scene, t: Times) -> UInt8[np.ndarray, "t tokens targets"]:
    """Soft occupancy of nine kinds and shirt colour, 0 to 255, for 4 x 4 visual tokens of each picture."""
    n, half = len(t), GRID // 2
    occupancy = np.zeros((n, GRID, GRID, len(OCCUPANCY)))
    colour = np.zeros((n, half, half, len(COLOURS)))

    def put(kind: str, cells: Float[np.ndarray, "t g g"], weight: Times | float = 1.0) -> None:
        channel = occupancy[..., OCCUPANCY.index(kind)]
        np.maximum(channel, cells * np.reshape(weight, (-1, 1, 1)), out=channel)

    for actor in scene.actors:
        if isinstance(actor, Blast):
            if actor.kind == "explosion":
                r, e = 0.9 * actor.radius, actor.strength(t)
                one = np.ones_like(t)
                x, y = actor.x * one, actor.y * one
                put(
                    "blast",
                    _cells([Box(x - r, y - r, x + r, y + r, np.zeros(3), one)], GRID),
                    np.clip(1.4 * e, 0, 1),
                )
        elif isinstance(actor, Car):
            put("car", _cells(actor.boxes(t), GRID))
        elif isinstance(actor, Person):
            _put_person(actor, t, put, colour)
    tokens = occupancy.reshape(n, half, 2, half, 2, -1).transpose(0, 1, 3, 2, 4, 5).reshape(n, half * half, -1)
    both = np.concatenate([tokens, colour.reshape(n, half * half, -1)], axis=-1)
    return np.asarray(np.clip(both, 0, 1) * 255, np.uint8)


def _put_person(person: Person, t: Times, put: Callable[..., None], colour: Float[np.ndarray, "t g g c"]) -> None:
    pose, body = person.pose(t), person.body(t)
    cells = _cells(body, GRID) * pose.present[:, None, None]
    put("upright", cells, 1 - pose.lying)
    put("lying", cells, pose.lying)
    if person.kind == "crouch":
        put("crouching", cells, pose.crouching)
    elif person.kind == "run":
        put("runner", cells)
    elif person.kind == "fight":
        put("fighter", cells, person.during_event(t).astype(float))
    elif person.kind == "bike":
        put("bike", cells)
    bag = person.bag_box(t)
    if bag is not None:
        put("bag", _cells([bag], GRID), bag.alpha)
    shirt = _cells(body, GRID // 2) * pose.present[:, None, None]
    widest = shirt.max(axis=(1, 2), keepdims=True)
    channel = colour[..., COLOURS.index(person.colour)]
    np.maximum(channel, np.where(widest > 0, shirt / np.maximum(widest, 0.25), 0.0), out=channel)
