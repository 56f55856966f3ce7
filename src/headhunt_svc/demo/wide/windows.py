"""Puts the wide world together: windows for pre-training with any of its kinds, before more cameras, in any weather."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

from headhunt_svc.demo.rendering import render
from headhunt_svc.demo.scenes import (
    FPS,
    SEEN_KINDS,
    WINDOW_EVENTS,
    WINDOW_FRAMES,
    CameraView,
    Scene,
    SceneFacts,
    Static,
    event,
    surveillance,
    window,
)
from headhunt_svc.demo.shapes import Actor, Times
from headhunt_svc.demo.targets import dense_targets
from headhunt_svc.demo.wide.kinds import of_group
from headhunt_svc.demo.wide.people import performers
from headhunt_svc.demo.wide.things import DRAWN, Thing
from headhunt_svc.demo.wide.weather import NIGHT, WEATHER, Weather, compress

PERFORMED = of_group("person", "people")
OLD_SHARE = 0.25  # of the events of a wide window are kinds of the corpus, which are shown most in the other windows
WEATHER_SHARE, NIGHT_SHARE, COMPRESSED_SHARE = 0.25, 0.12, 0.5
STRIDE = 2  # the model sees every second frame of a window
# Of the draws; about two thirds of the windows. The others are the corpus' scenes, about a third of them `decorated`.
WIDE_SHARE = 0.6
MIDDLE_S = WINDOW_FRAMES / FPS / 2
CRF = (20, 36)  # rate factors of H.264: hardly visible to blocks


@dataclass(frozen=True, slots=True)
class Window:
    """A rendered window: pictures, dense targets for each visual token, and facts."""

    frames: UInt8[np.ndarray, "frame size size 3"]
    targets: UInt8[np.ndarray, "frame token target"]
    facts: SceneFacts


@dataclass(frozen=True, slots=True)
class Shot:
    """A window before it is drawn: a scene, its times, and the rate factor of its compression (None for none)."""

    scene: Scene
    t: Times
    crf: int | None

    def pictures(self, t: Times, size: int) -> UInt8[np.ndarray, "t size size 3"]:
        """The pictures at times t, compressed."""
        drawn = render(self.scene, t, size)
        return drawn if self.crf is None else compress(drawn, self.crf)

    def facts(self) -> SceneFacts:
        """What can be said; weather and night are actors like all others."""
        return self.scene.facts(self.t)


def wide_view(rng: np.random.Generator) -> CameraView:
    """A view out of a wider choice: higher and lower horizons, coloured and dark grounds, more houses and trees."""
    view = CameraView.draw(rng)
    horizon = float(rng.uniform(0.12, 0.52))
    tint = rng.uniform(0.6, 1.15) * (1 + rng.uniform(-0.15, 0.15, 3))
    statics = list(view.statics)
    for _ in range(int(rng.integers(0, 3))):
        kind = str(rng.choice(["house", "tree", "post"]))
        width, height = (0.05, 0.3) if kind == "post" else (rng.uniform(0.1, 0.5), rng.uniform(0.15, 0.4))
        colour = rng.uniform(50, 180) + rng.uniform(-35, 35, 3)
        place = rng.uniform(0, 1), horizon + rng.uniform(0, 0.15)
        statics.append(Static(kind, *place, width, height, colour))
    road = (float(rng.uniform(horizon + 0.05, 0.75)), float(rng.uniform(0.1, 0.35))) if rng.random() < 0.6 else None
    ordered = tuple(sorted(statics, key=lambda s: s.y))
    return replace(view, horizon=horizon, ground=np.clip(view.ground * tint, 20, 235), statics=ordered, road=road)


def actors_of(rng: np.random.Generator, kind: str, middle_s: float, scale: float) -> list[Actor]:
    """The actors of a kind of `kinds.py`, in a window about time middle_s."""
    at_s = middle_s + float(rng.uniform(-1.3, 0.0))  # when it happens
    if kind in DRAWN:
        return [Thing.draw(rng, kind, middle_s, at_s, scale)]
    return list(performers(rng, kind, middle_s, at_s, scale))


def _weather(rng: np.random.Generator, scene: Scene) -> None:
    if rng.random() < WEATHER_SHARE:
        scene.actors.append(Weather.draw(rng, str(rng.choice(WEATHER[1:]))))
    if rng.random() < NIGHT_SHARE:
        scene.actors.append(Weather.draw(rng, NIGHT))
        scene.noise *= 1.5


def _crf(rng: np.random.Generator) -> int | None:
    return int(rng.integers(*CRF)) if rng.random() < COMPRESSED_SHARE else None


def wide_window(rng: np.random.Generator) -> Shot:
    """One random 1.6 s clip: bystanders of the corpus' kinds, one to three events, most of them of `kinds.py`."""
    scene, t = window(rng)
    scene.view = wide_view(rng) if rng.random() < 0.7 else scene.view
    scene.actors = [a for a in scene.actors if rng.random() < 0.5]
    for _ in range(int(rng.choice([1, 2, 3], p=[0.55, 0.35, 0.1]))):
        if rng.random() < OLD_SHARE:
            kind = str(rng.choice(list(WINDOW_EVENTS)))
            _, earliest_s, latest_s = WINDOW_EVENTS[kind]
            scene.actors += event(rng, kind, float(rng.uniform(earliest_s, latest_s)), scene.scale)
        else:
            kind = str(rng.choice([*PERFORMED, *DRAWN]))
            scene.actors += actors_of(rng, kind, MIDDLE_S, scene.scale)
    _weather(rng, scene)
    return Shot(scene, t, _crf(rng))


def corpus_scenes(rng: np.random.Generator) -> list[tuple[Scene, np.ndarray]]:
    """Eight short random clips, or four windows out of a long video (near its events in 60 of 100 cases)."""
    if rng.random() < 0.6:
        return [window(rng) for _ in range(8)]
    kind = str(rng.choice(SEEN_KINDS)) if rng.random() < 0.8 else None
    scene, t = surveillance(rng, kind, hard=rng.random() < 0.2)
    active = np.flatnonzero(scene.anomalous(t))
    windows = []
    for _ in range(4):
        if len(active) and rng.random() < 0.6:
            start = int(active[rng.integers(len(active))]) - int(rng.integers(0, WINDOW_FRAMES))
        else:
            start = int(rng.integers(0, len(t) - WINDOW_FRAMES))
        start = min(max(start, 0), len(t) - WINDOW_FRAMES)
        windows.append((scene, np.arange(start, start + WINDOW_FRAMES) / FPS))
    return windows


def decorated(rng: np.random.Generator, scene: Scene, t: Times) -> Shot:
    """A window of the corpus' kinds: in about a third of the cases in weather, at night or beside a thing."""
    if rng.random() < 0.5:
        return Shot(scene, t, _crf(rng))
    scene = replace(scene, actors=list(scene.actors))
    if rng.random() < 0.5:
        scene.actors += actors_of(rng, str(rng.choice(DRAWN)), float(t[0]) + MIDDLE_S, scene.scale)
    _weather(rng, scene)
    return Shot(scene, t, _crf(rng))


def windows(rng: np.random.Generator, size: int) -> Iterator[Window]:
    """Some windows of size x size pixels; all random numbers are drawn before the first one is rendered."""
    if rng.random() < WIDE_SHARE:
        shots = [wide_window(rng) for _ in range(8)]
    else:
        shots = [decorated(rng, scene, t) for scene, t in corpus_scenes(rng)]
    for shot in shots:
        shown = shot.t[::STRIDE]
        yield Window(shot.pictures(shown, size), dense_targets(shot.scene, shown), shot.facts())
