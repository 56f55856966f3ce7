"""From a verdict to the alarms that people are told of, each once, and when it is over."""

from collections.abc import Callable

from headhunt_svc.monitoring.verdicts import FLEET, CameraVerdict, Verdict
from headhunt_svc.notify.alarms import Alarm
from headhunt_svc.notify.messages import MessageKind

SOURCE = "monitor"
STOPPED, OTHER_DETECTOR = "log", "detector"  # the keys of alarms that are not of one camera
SILENCE = "silence"  # in front of the camera's name, as the kinds of drift are


def alarms_of(verdict: Verdict) -> list[Alarm]:
    """All alarms of a verdict.

    If a kind of drift is an alarm of all cameras together, or no camera has rows, that covers those of single cameras.
    """
    fleet = verdict.cameras.get(FLEET)
    general = _general(verdict)
    alarms = list(general)
    for name, camera in verdict.cameras.items():
        if camera.kind is None or camera.since is None:
            continue
        is_silent = camera.status == "no data"
        of_all = name != FLEET and fleet is not None and fleet.kind == camera.kind
        alarms.append(
            Alarm(
                key=f"{SILENCE if is_silent else camera.kind}/{name}",
                kind=MessageKind.SILENCE if is_silent else MessageKind.DRIFT,
                text=f"{camera.kind}: {_why(camera)}: {camera.remedy}",
                began=camera.since,
                camera=None if name == FLEET else name,
                is_covered=bool(general) if is_silent else of_all,
            )
        )
    return alarms


def _general(verdict: Verdict) -> list[Alarm]:
    """An alarm if there are no rows that can be judged at all: one for all cameras."""
    cameras = _single(verdict)
    if not cameras or any(camera.status != "no data" for camera in cameras):
        return []
    if verdict.other_detectors:
        names = ", ".join(verdict.other_detectors)
        text = f"all rows are of detector {names}, not {verdict.detector_id}: rebaseline, or roll back"
        return [Alarm(OTHER_DETECTOR, MessageKind.DRIFT, text, verdict.start)]
    text = f"no rows of any of {len(cameras)} cameras: is anything scored, and can the prediction log be written?"
    return [Alarm(STOPPED, MessageKind.LOG, text, verdict.start)]


def _single(verdict: Verdict) -> list[CameraVerdict]:
    return [camera for name, camera in verdict.cameras.items() if name != FLEET]


def _why(camera: CameraVerdict) -> str:
    signals = [(name, camera.signals[name]) for name in camera.over]
    return ", ".join(f"{name} {s.value:.2f} > {s.limit:.2f}" for name, s in signals) or camera.why


def unknown_in(verdict: Verdict) -> Callable[[str], bool]:
    """Whether it cannot be told if an open alarm goes on: its camera has too few rows, or is not in the verdict."""

    def is_unknown(key: str) -> bool:
        kind, slash, name = key.partition("/")
        if not slash:
            return not _single(verdict)
        camera = verdict.cameras.get(name)
        if camera is None:
            return True
        if kind == SILENCE:
            return camera.segments == 0  # some rows are enough to end it, be they too few to be judged
        return camera.status not in ("fine", "drift")

    return is_unknown
