"""Draws scenes: a camera's view, its light, noise and shake, and the actors in it.

Two generators share everything: `window` draws a short random clip for pre-training, `surveillance` a long
video of ordinary traffic with hard negatives (cyclists, people who crouch, turn or talk) and, on request, an anomaly.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from headhunt_svc.demo.people import CRAWLING, Person
from headhunt_svc.demo.shapes import COLOURS, Actor, Facts, Times
from headhunt_svc.demo.things import Blast, Car

FPS = 10
WINDOW_FRAMES = 16
SEEN_KINDS = ("run", "fall", "fight", "explosion", "bag", "car")
UNSEEN_KINDS = ("crawl", "fire", "vandal")  # in no pre-training window, word, or calibration or validation video
KINDS = SEEN_KINDS + UNSEEN_KINDS
N_CAMERAS = 24
N_LABELLED_CAMERAS = 16  # the first of them; the others are in test and hard videos only
SURVEILLANCE_S = (16.0, 24.0)  # length of a surveillance video
PASSERS_PER_S = (0.05, 0.24)  # of a surveillance video: from a lonely yard to a crowd
LIGHT_CHANGES = 0.4  # share of the surveillance videos in which the light changes
LIGHT_CHANGE_S = (0.2, 1.5)  # how long that takes
WINDOW_EVENTS = {  # of a short clip: how often each kind is drawn, and its earliest and latest start in seconds
    "run": (2, 0.8, 0.8),
    "bike": (1, 0.8, 0.8),
    "fall": (3, -1.5, 1.1),
    "crouch": (2, -0.5, 0.8),
    "turn": (2, 0.35, 1.1),
    "fight": (1, -1.5, 0.9),
    "talk": (1, 0.8, 0.8),
    "bag": (2, -2.0, 1.1),
    "car": (1, 0.8, 0.8),
    "explosion": (1, -1.0, 1.1),
}


@dataclass(frozen=True, slots=True)
class Static:
    """A house, tree or post: bottom centre, size, colour."""

    kind: str
    x: float
    y: float
    width: float
    height: float
    colour: Float[np.ndarray, "3"]


@dataclass(frozen=True, slots=True)
class CameraView:
    """The empty place in front of a camera; `road` is the far edge and width of a road or path, if there is one."""

    horizon: float
    ground: Float[np.ndarray, "3"]
    sky: Float[np.ndarray, "3"]
    statics: tuple[Static, ...]
    road: tuple[float, float] | None

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "CameraView":
        """A random place."""
        horizon = float(rng.uniform(0.3, 0.45))
        warm = float(rng.uniform(-18, 18))
        ground = rng.uniform(85, 165) + np.array([warm, 0.4 * warm, -warm]) + rng.uniform(-8, 8, 3)
        sky = rng.uniform(90, 200) + np.array([-14, 0, 14]) * rng.uniform(-0.3, 1.2) + rng.uniform(-8, 8, 3)

        def shade(low: float, high: float, spread: float) -> Float[np.ndarray, "3"]:
            return np.asarray(rng.uniform(low, high) + rng.uniform(-spread, spread, 3))

        statics = []
        for _ in range(rng.integers(0, 3)):
            x, width, height = rng.uniform(0, 1), rng.uniform(0.14, 0.34), rng.uniform(0.12, 0.28)
            statics.append(Static("house", x, horizon, width, height, shade(60, 180, 18)))
        for _ in range(rng.integers(0, 3)):
            leaves = np.array([70, 100, 55]) * rng.uniform(0.6, 1.1)
            place = rng.uniform(0, 1), horizon + rng.uniform(0.01, 0.08)
            statics.append(Static("tree", *place, rng.uniform(0.1, 0.16), rng.uniform(0.2, 0.34), leaves))
        for _ in range(rng.integers(0, 2)):
            place = rng.uniform(0, 1), rng.uniform(horizon + 0.1, 0.95)
            statics.append(Static("post", *place, rng.uniform(0.03, 0.05), rng.uniform(0.1, 0.18), shade(40, 180, 10)))
        road = (float(rng.uniform(horizon + 0.08, 0.7)), float(rng.uniform(0.12, 0.25))) if rng.random() < 0.6 else None
        return cls(horizon, ground, sky, tuple(sorted(statics, key=lambda s: s.y)), road)


@dataclass(frozen=True, slots=True)
class LightChange:
    """Brightness goes from 1 to 1 + amount within duration_s from start_s."""

    start_s: float
    amount: float
    duration_s: float

    def factor(self, t: Times) -> Times:
        """Brightness over time."""
        return np.asarray(1 + self.amount * np.clip((t - self.start_s) / self.duration_s, 0, 1))


@dataclass(frozen=True, slots=True)
class Daylight:
    """Brightness that changes more than once: straight lines between levels at some times, 1 before and after."""

    times_s: tuple[float, ...]
    levels: tuple[float, ...]

    def factor(self, t: Times) -> Times:
        """Brightness over time."""
        return np.asarray(np.interp(t, self.times_s, self.levels, left=1.0, right=1.0))


@dataclass(slots=True)
class Scene:
    """A camera's view with light, noise, shake and actors; once drawn, everything is a function of time."""

    view: CameraView
    noise: float  # standard deviation in grey levels
    shake: float  # camera shake amplitude in pictures
    seed: int
    light: LightChange | Daylight | None = None
    scale: float = 1.0  # of all people and things: below 1 the camera is far away
    actors: list[Actor] = field(default_factory=list)

    @classmethod
    def draw(cls, rng: np.random.Generator, view: CameraView | None = None, nuisance: float = 1.0) -> "Scene":
        """An empty scene; `nuisance` scales noise and how often the camera shakes."""
        view = view or CameraView.draw(rng)
        noise = float(rng.uniform(0, 5)) * nuisance
        shake = float(rng.uniform(0.8, 1.6)) / 64 if rng.random() < 0.25 * nuisance else 0.0
        return cls(view, noise, shake, seed=int(rng.integers(1 << 31)))

    def brightness(self, t: Times) -> Times:
        """Factor on every pixel over time."""
        return np.ones_like(t) if self.light is None else self.light.factor(t)

    def anomalous(self, t: Times) -> Bool[np.ndarray, " t"]:
        """Is something anomalous in the picture, for each time?"""
        truth = np.zeros(len(t), bool)
        for actor in self.actors:
            truth |= actor.anomalous(t)
        return truth

    def facts(self, t: Times) -> "SceneFacts":
        """What can be said about the window t."""
        light = self.brightness(t)
        change = light[-1] / light[0]
        word = "brighter" if change > 1.12 else "darker" if change < 0.89 else "same" if 0.96 < change < 1.04 else ""
        return SceneFacts(tuple(a.facts(t) for a in self.actors), word, self.shake > 0)


@dataclass(frozen=True, slots=True)
class SceneFacts:
    """Facts of all actors, the change of light ("" where it is too small to name), and whether the camera shakes."""

    actors: tuple[Facts, ...]
    light: str
    shaking: bool


def camera(index: int) -> CameraView:
    """The fixed view of evaluation camera `index` (0 to N_CAMERAS - 1 in the corpus; later ones in no video of it)."""
    return CameraView.draw(np.random.default_rng([20_240_601, index]))


def camera_name(index: int) -> str:
    """How annotations call evaluation camera `index`: camera-01 to camera-24."""
    return f"camera-{index + 1:02d}"


def _place(rng: np.random.Generator, scale: float) -> tuple[float, float]:
    """Depth and height of a person: nearer is lower and larger."""
    depth = float(rng.uniform(0.62, 0.97))
    return depth, scale * (0.30 + 0.14 * (depth - 0.62) / 0.35 + float(rng.uniform(-0.02, 0.02)))


def _sign(rng: np.random.Generator) -> int:
    return 1 if rng.random() < 0.5 else -1


def _pair(
    rng: np.random.Generator, kind: str, at_s: float, scale: float, gap: float, lasts_s: float | None = None
) -> list[Actor]:
    """Two people facing each other."""
    depth, height = _place(rng, scale)
    x = float(rng.uniform(0.15, 0.85))
    return [
        Person.draw(
            rng, kind, at_s=at_s, x=x - side * gap * height, depth=depth, height=height, speed=1e-6 * side,
            event_s=at_s, lasts_s=lasts_s,
        )
        for side in (1, -1)
    ]  # fmt: skip


def event(rng: np.random.Generator, kind: str, at_s: float, scale: float = 1.0) -> list[Actor]:
    """The actors of an event of `kind` near time at_s, well inside the picture."""
    depth, height = _place(rng, scale)
    side = _sign(rng)
    if kind == "car":
        colour = COLOURS[int(rng.integers(len(COLOURS)))]
        speed = side * float(rng.uniform(0.25, 0.55))
        length = scale * float(rng.uniform(0.42, 0.56))
        return [Car(rng.uniform(0.3, 0.7), at_s, rng.uniform(0.65, 0.95), speed, length, colour)]
    if kind in ("explosion", "fire"):
        return [Blast.draw(rng, kind, at_s, scale)]
    if kind in ("fight", "talk"):
        return _pair(rng, kind, at_s, scale, gap=float(rng.uniform(0.2, 0.3)), lasts_s=float(rng.uniform(2.5, 4.5)))
    speed = side * float(rng.uniform(0.09, 0.2))
    if kind in ("run", "bike"):
        speed = side * float(rng.uniform(0.34, 0.6) if kind == "run" else rng.uniform(0.3, 0.5))
    elif kind == "fall" and rng.random() < 0.3:
        speed *= 0.05
    elif kind == "crawl":
        speed = side * CRAWLING
    elif kind == "vandal":
        speed = 1e-6 * side
    x = float(rng.uniform(0.2, 0.8))
    return [Person.draw(rng, kind, at_s=at_s, x=x, depth=depth, height=height, speed=speed, event_s=at_s)]


def window(rng: np.random.Generator) -> tuple[Scene, Times]:
    """One random 1.6 s clip for pre-training, never with an unseen kind."""
    scene = Scene.draw(rng)
    scene.scale = float(rng.uniform(0.6, 1.0)) if rng.random() < 0.3 else 1.0
    t = np.arange(WINDOW_FRAMES) / FPS
    simple = rng.random() < 0.35
    n_people = int(rng.choice(5, p=[0.22, 0.36, 0.26, 0.12, 0.04]))
    n_events = int(rng.choice(3, p=[0.22, 0.66, 0.12]))
    if simple:  # an easy curriculum: one thing happens, little nuisance
        n_events = int(rng.random() < 0.7)
        n_people = 1 - n_events if rng.random() < 0.75 else 1
        scene.shake, scene.noise = 0.0, 0.4 * scene.noise
    for _ in range(n_people):
        depth, height = _place(rng, scene.scale)
        kind = str(rng.choice(["walk", "stand", "carry"], p=[0.6, 0.2, 0.2]))
        speed = 1e-6 if kind == "stand" else _sign(rng) * float(rng.uniform(0.09, 0.22))
        x = float(rng.uniform(0.05, 0.95))
        scene.actors.append(Person.draw(rng, kind, at_s=0.8, x=x, depth=depth, height=height, speed=speed))
    drawn = [kind for kind, (weight, *_) in WINDOW_EVENTS.items() for _ in range(weight)]
    for _ in range(n_events):
        kind = str(rng.choice(drawn))
        _, earliest_s, latest_s = WINDOW_EVENTS[kind]
        scene.actors += event(rng, kind, float(rng.uniform(earliest_s, latest_s)), scene.scale)
    if rng.random() < 0.35:
        amount = _sign(rng) * float(rng.uniform(0.2, 0.4))
        scene.light = LightChange(float(rng.uniform(-0.3, 0.8)), amount, float(rng.uniform(0.2, 0.8)))
    return scene, t


def passer(rng: np.random.Generator, at_s: float, scale: float) -> Person:
    """Somebody who comes into the picture about at_s and crosses it, or turns back."""
    depth, height = _place(rng, scale)
    side = _sign(rng)
    kind = str(rng.choice(["walk", "carry", "turn", "crouch", "bike"], p=[0.55, 0.13, 0.1, 0.1, 0.12]))
    speed = side * float(rng.uniform(0.3, 0.5) if kind == "bike" else rng.uniform(0.09, 0.22))
    event_s = at_s + float(rng.uniform(0.25, 0.7)) / abs(speed)
    x = -0.1 if side > 0 else 1.1
    return Person.draw(rng, kind, at_s=at_s, x=x, depth=depth, height=height, speed=speed, event_s=event_s)


def bystanders(rng: np.random.Generator, scale: float) -> list[Actor]:
    """Those who stay for the whole video: up to two who stand, and sometimes a pair who talk."""
    staying: list[Actor] = []
    for _ in range(int(rng.choice(3, p=[0.6, 0.32, 0.08]))):
        depth, height = _place(rng, scale)
        x = float(rng.uniform(0.1, 0.9))
        staying.append(Person.draw(rng, "stand", at_s=0.0, x=x, depth=depth, height=height, speed=1e-6))
    return staying + (_pair(rng, "talk", 0.0, scale, gap=0.25) if rng.random() < 0.3 else [])


def light_amount(rng: np.random.Generator) -> float:
    """By which share the light of a surveillance video changes, in a sudden change."""
    return _sign(rng) * float(rng.uniform(0.2, 0.45))


def surveillance(
    rng: np.random.Generator, kind: str | None, view: CameraView | None = None, hard: bool = False
) -> tuple[Scene, Times]:
    """16 to 24 s of one camera: ordinary traffic, hard negatives, distractors, and an anomaly of `kind` if given.

    A hard video has a distant camera, a crowd, twice the noise and shakes twice as often.
    """
    seconds = float(rng.uniform(*SURVEILLANCE_S))
    t = np.arange(int(seconds * FPS)) / FPS
    scene = Scene.draw(rng, view, nuisance=2.0 if hard else 1.0)
    scene.scale = float(rng.uniform(0.6, 0.75)) if hard else 1.0
    per_second = float(rng.uniform(0.25, 0.5) if hard else rng.uniform(*PASSERS_PER_S))
    clock = -6.0
    while clock < seconds:
        clock += float(rng.exponential(1 / per_second))
        scene.actors.append(passer(rng, clock, scene.scale))
    scene.actors += bystanders(rng, scene.scale)
    if rng.random() < LIGHT_CHANGES:
        amount = light_amount(rng)
        scene.light = LightChange(float(rng.uniform(1, seconds - 1)), amount, float(rng.uniform(*LIGHT_CHANGE_S)))
    if kind is not None:
        at_s = float(rng.uniform(0.25, 0.5)) * seconds
        for _ in range(1 if kind in ("bag", "crawl", "fire", "vandal") else int(rng.integers(1, 3))):
            scene.actors += event(rng, kind, at_s, scene.scale)
            at_s += float(rng.uniform(1.0, 3.5) if kind in ("run", "car") else rng.uniform(2.0, 4.0))
    return scene, t
