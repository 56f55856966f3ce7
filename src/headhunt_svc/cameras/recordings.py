"""Files of cameras, scored as cameras.yaml says of each camera."""

from collections.abc import Sequence
from dataclasses import replace

from headhunt_svc.cameras.config import Cameras
from headhunt_svc.detector.options import Options
from headhunt_svc.events.rules import EventRules
from headhunt_svc.names import camera_of
from headhunt_svc.pipeline.files import Input


def with_cameras(
    inputs: Sequence[Input], cameras: Cameras, options: Options, camera: str | None = None
) -> tuple[list[Input], list[str]]:
    """The inputs with what the file says of their cameras, and the cameras that it lacks.

    options: what the cameras do not say. camera: of all inputs; else of each as it states or names.camera_of says.
    """
    configured: list[Input] = []
    unknown: dict[str, None] = {}
    for item in inputs:
        name = camera or item.camera or camera_of(item.video_id, item.path)
        settings = cameras.get(name)
        if settings is None:
            unknown[name] = None
            configured.append(item)
            continue
        own = replace(options, operating_point=settings.operating_point, threshold=settings.threshold)
        rules = EventRules(settings.merge_s, settings.time_zone, settings.name_pattern, settings.keep_clips)
        masks = settings.masks
        configured.append(replace(item, camera=settings.name, masks=masks, options=own, event_rules=rules))
    return configured, list(unknown)
