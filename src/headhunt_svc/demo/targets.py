"""Dense targets of pre-training: which looks, shirts and faces are where, for each visual token, and the weather.

They train the vision tower in stage `see` and beside the answers in stage `speak`; no target says normal or anomalous.
"""

import numpy as np
from jaxtyping import Float, UInt8

from headhunt_svc.demo.people import Person
from headhunt_svc.demo.rendering import coverage, shake
from headhunt_svc.demo.scenes import Scene
from headhunt_svc.demo.shapes import COLOURS, Actor, Box, Times, box
from headhunt_svc.demo.things import Blast, Car
from headhunt_svc.demo.wide.kinds import KINDS, SHOWN, of_group
from headhunt_svc.demo.wide.people import Performer
from headhunt_svc.demo.wide.things import Thing
from headhunt_svc.demo.wide.weather import Weather

LOOKS = ("upright", "lying", "crouching", "runner", "fighter", "bag", "car", "blast", "bike", *SHOWN)
FACING = (-1, 1)
HORIZONS = np.linspace(0.08, 0.6, 14)  # heights of the horizon in the picture, which a shaking camera changes
SKIES = of_group("weather")
GRID = 8  # occupancy is given on GRID x GRID cells, the rest per visual token (GRID/2 x GRID/2)
N_CELL = 4 * len(LOOKS)  # per visual token: a 2 x 2 block of cells
N_TARGETS = N_CELL + len(COLOURS) + len(FACING) + len(HORIZONS) + len(SKIES)  # as they are stored
FINE_HORIZONS = np.linspace(HORIZONS[0], HORIZONS[-1], 2 * len(HORIZONS) - 1)
_SIDE = np.eye(GRID // 2)
PLACE = np.hstack([np.tile(_SIDE, (GRID // 2, 1)), np.repeat(_SIDE, GRID // 2, axis=0)])  # a token's column and row
N_LEARNT = N_TARGETS + len(FINE_HORIZONS) + PLACE.shape[1]


def _cells(boxes: list[Box], grid: int) -> Float[np.ndarray, "t g g"]:
    """Share of each cell under the bounding box of `boxes`."""
    x0, y0 = np.min([b.x0 for b in boxes], axis=0), np.min([b.y0 for b in boxes], axis=0)
    x1, y1 = np.max([b.x1 for b in boxes], axis=0), np.max([b.y1 for b in boxes], axis=0)
    rows, columns = coverage(y0 * grid, y1 * grid, 0, grid), coverage(x0 * grid, x1 * grid, 0, grid)
    return np.asarray(rows[:, :, None] * columns[:, None, :])


class Occupancy:
    """Fills the cells of a window's pictures: which looks are where, whose shirts and faces are there."""

    def __init__(self, t: Times) -> None:
        self.t = t
        self.cells = np.zeros((len(t), GRID, GRID, len(LOOKS)))
        self.people = np.zeros((len(t), GRID // 2, GRID // 2, len(COLOURS) + len(FACING)))

    def put(self, look: str, boxes: list[Box], weight: Times | float = 1.0) -> None:
        """The bounding box of `boxes` has this look; weight: 0 to 1, over time."""
        self._put(look, _cells(boxes, GRID), weight)

    def _put(self, look: str, cells: Float[np.ndarray, "t g g"], weight: Times | float = 1.0) -> None:
        channel = self.cells[..., LOOKS.index(look)]
        np.maximum(channel, cells * np.reshape(weight, (-1, 1, 1)), out=channel)

    def put_actor(self, actor: Actor) -> None:
        """Any actor; weather leaves no trace."""
        t = self.t
        if isinstance(actor, Thing):
            look = KINDS[actor.kind].shown
            if look:
                boxes = actor.boxes(t)
                seen = np.max([b.alpha for b in boxes], axis=0) > 0
                self.put(look, boxes, seen.astype(float))
        elif isinstance(actor, Blast):
            if actor.kind == "explosion":
                r, one = 0.9 * actor.radius, np.ones_like(t)
                glow = box(actor.x * one, actor.y * one, r, r, (0, 0, 0), one)
                self.put("blast", [glow], np.clip(1.4 * actor.strength(t), 0, 1))
        elif isinstance(actor, Car):
            self.put("car", actor.boxes(t))
        elif isinstance(actor, Person):
            self._put_person(actor)
            if isinstance(actor, Performer):
                look, props = KINDS[actor.kind].shown, actor.props(t)
                if look and (props.front or props.behind):
                    self.put(look, props.front + props.behind, actor.doing(t).astype(float))

    def _put_person(self, person: Person) -> None:
        t = self.t
        pose, body = person.pose(t), person.body(t)
        cells = _cells(body, GRID) * pose.present[:, None, None]
        self._put("upright", cells, 1 - pose.lying)
        self._put("lying", cells, pose.lying)
        if person.kind == "run":
            self._put("runner", cells)
        elif person.kind == "fight":
            self._put("fighter", cells, person.during_event(t).astype(float))
        elif person.kind == "bike":
            self._put("bike", cells)
        elif pose.crouching.any():
            self._put("crouching", cells, pose.crouching)
        bag = person.bag_box(t)
        if bag is not None:
            self.put("bag", [bag], bag.alpha)
        whole = _cells(body, GRID // 2) * pose.present[:, None, None]
        widest = whole.max(axis=(1, 2), keepdims=True)
        share = np.where(widest > 0, whole / np.maximum(widest, 0.25), 0.0)
        shirt = self.people[..., COLOURS.index(person.colour)]
        np.maximum(shirt, share, out=shirt)
        for i, way in enumerate(FACING, start=len(COLOURS)):
            face = self.people[..., i]
            np.maximum(face, share * (pose.facing == way)[:, None, None], out=face)

    def targets(self, of_pictures: Float[np.ndarray, "t k"]) -> UInt8[np.ndarray, "t tokens targets"]:
        """All targets of 4 x 4 visual tokens of each picture, 0 to 255; `of_pictures` is the same for its tokens."""
        n, half = len(self.t), GRID // 2
        tokens = self.cells.reshape(n, half, 2, half, 2, -1).transpose(0, 1, 3, 2, 4, 5).reshape(n, half * half, -1)
        whole = np.broadcast_to(of_pictures[:, None], (n, half * half, of_pictures.shape[1]))
        targets = np.concatenate([tokens, self.people.reshape(n, half * half, -1), whole], axis=-1)
        return np.asarray(np.clip(targets, 0, 1) * 255, np.uint8)


def _near_horizon(scene: Scene, t: Times) -> Float[np.ndarray, "t k"]:
    """How near the horizon is to each of HORIZONS: 1 at it, 0 from the next one on."""
    horizon = scene.view.horizon - shake(scene, t)[1]
    return np.asarray(np.clip(1 - np.abs(horizon[:, None] - HORIZONS) / (HORIZONS[1] - HORIZONS[0]), 0, 1))


def dense_targets(scene: Scene, t: Times) -> UInt8[np.ndarray, "t tokens targets"]:
    """For 4 x 4 visual tokens of each picture, 0 to 255: occupancy by all looks, shirts, faces, horizon, weather."""
    occupancy, weather = Occupancy(t), np.zeros((len(t), len(SKIES)))
    for actor in scene.actors:
        occupancy.put_actor(actor)
        if isinstance(actor, Weather):
            weather[:, SKIES.index(actor.kind)] = 1.0
    return occupancy.targets(np.concatenate([_near_horizon(scene, t), weather], axis=1))


def mirror(targets: UInt8[np.ndarray, "t tokens targets"]) -> UInt8[np.ndarray, "t tokens targets"]:
    """Dense targets of the mirrored pictures."""
    half = GRID // 2
    grid = targets.reshape(len(targets), half, half, -1)[:, :, ::-1].copy()
    cells = grid[..., :N_CELL].reshape(*grid.shape[:3], 2, 2, -1)[..., ::-1, :]
    grid[..., :N_CELL] = cells.reshape(*grid.shape[:3], -1)
    faces = slice(N_CELL + len(COLOURS), N_CELL + len(COLOURS) + len(FACING))
    grid[..., faces] = grid[..., faces][..., ::-1].copy()
    return grid.reshape(targets.shape)


def placed(targets: UInt8[np.ndarray, "t tokens targets"]) -> Float[np.ndarray, "t tokens learnt"]:
    """The targets that are learnt, 0 to 1: the stored ones, the horizon at half the distances, and the token's place.

    Without its place in the token, the language model must count tokens to tell on which side somebody is, and no run
    learnt that (docs/demo-model.md).
    """
    stored = targets / np.float32(255)
    first = N_CELL + len(COLOURS) + len(FACING)
    coarse = stored[..., first : first + len(HORIZONS)]
    height = (coarse * HORIZONS).sum(-1) / np.maximum(coarse.sum(-1), 1e-6)
    near = np.clip(1 - np.abs(height[..., None] - FINE_HORIZONS) / (FINE_HORIZONS[1] - FINE_HORIZONS[0]), 0, 1)
    place = np.broadcast_to(PLACE, (len(targets), *PLACE.shape))
    return np.concatenate([stored, near, place], axis=-1).astype(np.float32)
