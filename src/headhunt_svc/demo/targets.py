"""Dense targets of pre-training: which kinds of thing, shirts and faces are where, for each visual token.

They train the vision tower in stage `see` and beside the answers in stage `speak`; no target says normal or anomalous.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, UInt8

from headhunt_svc.demo.people import Person
from headhunt_svc.demo.rendering import coverage, shake
from headhunt_svc.demo.scenes import Scene
from headhunt_svc.demo.shapes import COLOURS, Box, Times, box
from headhunt_svc.demo.things import Blast, Car

OCCUPANCY = ("upright", "lying", "crouching", "runner", "fighter", "bag", "car", "blast", "bike")
FACING = (-1, 1)
HORIZONS = np.linspace(0.24, 0.5, 14)  # heights of the horizon in the picture, which a shaking camera changes
GRID = 8  # occupancy is given on GRID x GRID cells, the rest per visual token (GRID/2 x GRID/2)
N_CELL = 4 * len(OCCUPANCY)  # per visual token: a 2 x 2 block of cells
N_TARGETS = N_CELL + len(COLOURS) + len(FACING) + len(HORIZONS)


def _cells(boxes: list[Box], grid: int) -> Float[np.ndarray, "t g g"]:
    """Share of each cell under the bounding box of `boxes`."""
    x0, y0 = np.min([b.x0 for b in boxes], axis=0), np.min([b.y0 for b in boxes], axis=0)
    x1, y1 = np.max([b.x1 for b in boxes], axis=0), np.max([b.y1 for b in boxes], axis=0)
    rows, columns = coverage(y0 * grid, y1 * grid, 0, grid), coverage(x0 * grid, x1 * grid, 0, grid)
    return np.asarray(rows[:, :, None] * columns[:, None, :])


def dense_targets(scene: Scene, t: Times) -> UInt8[np.ndarray, "t tokens targets"]:
    """For 4 x 4 visual tokens of each picture, 0 to 255: soft occupancy of nine kinds, shirts, faces, the horizon."""
    n, half = len(t), GRID // 2
    occupancy = np.zeros((n, GRID, GRID, len(OCCUPANCY)))
    people = np.zeros((n, half, half, len(COLOURS) + len(FACING)))

    def put(kind: str, cells: Float[np.ndarray, "t g g"], weight: Times | float = 1.0) -> None:
        channel = occupancy[..., OCCUPANCY.index(kind)]
        np.maximum(channel, cells * np.reshape(weight, (-1, 1, 1)), out=channel)

    for actor in scene.actors:
        if isinstance(actor, Blast):
            if actor.kind == "explosion":
                r, one = 0.9 * actor.radius, np.ones_like(t)
                glow = box(actor.x * one, actor.y * one, r, r, (0, 0, 0), one)
                put("blast", _cells([glow], GRID), np.clip(1.4 * actor.strength(t), 0, 1))
        elif isinstance(actor, Car):
            put("car", _cells(actor.boxes(t), GRID))
        elif isinstance(actor, Person):
            _put_person(actor, t, put, people)
    tokens = occupancy.reshape(n, half, 2, half, 2, -1).transpose(0, 1, 3, 2, 4, 5).reshape(n, half * half, -1)
    horizon = scene.view.horizon - shake(scene, t)[1]
    near = np.clip(1 - np.abs(horizon[:, None] - HORIZONS) / (HORIZONS[1] - HORIZONS[0]), 0, 1)
    horizons = np.broadcast_to(near[:, None], (n, half * half, len(HORIZONS)))
    targets = np.concatenate([tokens, people.reshape(n, half * half, -1), horizons], axis=-1)
    return np.asarray(np.clip(targets, 0, 1) * 255, np.uint8)


def mirror(targets: UInt8[np.ndarray, "t tokens targets"]) -> UInt8[np.ndarray, "t tokens targets"]:
    """Dense targets of the mirrored pictures."""
    half = GRID // 2
    grid = targets.reshape(len(targets), half, half, -1)[:, :, ::-1].copy()
    cells = grid[..., :N_CELL].reshape(*grid.shape[:3], 2, 2, -1)[..., ::-1, :]
    grid[..., :N_CELL] = cells.reshape(*grid.shape[:3], -1)
    faces = slice(N_CELL + len(COLOURS), N_CELL + len(COLOURS) + len(FACING))
    grid[..., faces] = grid[..., faces][..., ::-1].copy()
    return grid.reshape(targets.shape)


def _put_person(person: Person, t: Times, put: Callable[..., None], people: Float[np.ndarray, "t g g c"]) -> None:
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
    whole = _cells(body, GRID // 2) * pose.present[:, None, None]
    widest = whole.max(axis=(1, 2), keepdims=True)
    share = np.where(widest > 0, whole / np.maximum(widest, 0.25), 0.0)
    shirt = people[..., COLOURS.index(person.colour)]
    np.maximum(shirt, share, out=shirt)
    for i, way in enumerate(FACING, start=len(COLOURS)):
        face = people[..., i]
        np.maximum(face, share * (pose.facing == way)[:, None, None], out=face)
