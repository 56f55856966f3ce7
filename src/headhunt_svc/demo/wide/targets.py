"""Dense targets of the wide world: what the narrow world has, a channel for each look of its kinds, and the weather."""

import numpy as np
from jaxtyping import UInt8

from headhunt_svc.demo.scenes import Scene
from headhunt_svc.demo.shapes import COLOURS, Times
from headhunt_svc.demo.targets import FACING, OCCUPANCY, Occupancy, near_horizon
from headhunt_svc.demo.wide.kinds import KINDS, SHOWN, of_group
from headhunt_svc.demo.wide.people import Performer
from headhunt_svc.demo.wide.things import Thing
from headhunt_svc.demo.wide.weather import Weather

LOOKS = (*OCCUPANCY, *SHOWN)
HORIZONS = np.linspace(0.08, 0.6, 14)
SKIES = of_group("weather")
N_TARGETS = 4 * len(LOOKS) + len(COLOURS) + len(FACING) + len(HORIZONS) + len(SKIES)


def dense_targets(scene: Scene, t: Times) -> UInt8[np.ndarray, "t tokens targets"]:
    """For 4 x 4 visual tokens of each picture, 0 to 255: occupancy by all looks, shirts, faces, horizon, weather."""
    occupancy = Occupancy(t, LOOKS)
    weather = np.zeros((len(t), len(SKIES)))
    for actor in scene.actors:
        if isinstance(actor, Thing):
            look = KINDS[actor.kind].shown
            if look:
                boxes = actor.boxes(t)
                seen = np.max([b.alpha for b in boxes], axis=0) > 0
                occupancy.put(look, boxes, seen.astype(float))
            continue
        occupancy.put_actor(actor)
        if isinstance(actor, Performer):
            look, props = KINDS[actor.kind].shown, actor.props(t)
            if look and (props.front or props.behind):
                occupancy.put(look, props.front + props.behind, actor.doing(t).astype(float))
        elif isinstance(actor, Weather):
            weather[:, SKIES.index(actor.kind)] = 1.0
    return occupancy.targets(np.concatenate([near_horizon(scene, t, HORIZONS), weather], axis=1))
