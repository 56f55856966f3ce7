"""From a verdict to the alarms that people are told of, each once, and when it is over."""

import re
import secrets
from collections.abc import Callable
from pathlib import Path

from headhunt_svc.errors import ArtifactError
from headhunt_svc.monitoring.verdicts import FLEET, SILENCE, CameraVerdict, Verdict
from headhunt_svc.notify.alarms import Alarm
from headhunt_svc.notify.messages import MessageKind
from headhunt_svc.storage.files import write_text
from headhunt_svc.storage.locks import exclusive

SOURCE = "monitor"  # of the alarms that earlier versions stored, whichever monitor raised them
IDENTITY = "monitor.id"
GONE = "camera no longer there: no baseline, no file of the log for the window's days and no cameras.yaml names it"
STOPPED, OTHER_DETECTOR = "log", "detector"  # the keys of alarms that are not of one camera
_NEW_ID = "restore it; or delete it, and the alarms that go on are told once more, as those of a new monitor"


def source_of(folder: Path) -> str:
    """The source of this monitor's alarms: monitors that share a database do not end each other's.

    folder: where the monitor keeps its verdicts. Its first use writes a random id there.

    Raises:
        ArtifactError: the id is damaged. OutputError: it cannot be written.
    """
    path = folder / IDENTITY
    with exclusive(folder / f".{IDENTITY}.lock"):
        if not path.exists():
            write_text(path, f"{secrets.token_hex(16)}\n", durable=True)
    try:
        identity = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as exc:
        raise ArtifactError(f"{path} cannot be read ({exc}): {_NEW_ID}") from exc
    if re.fullmatch("[0-9a-f]{32}", identity) is None:
        raise ArtifactError(f"{path} is damaged: {_NEW_ID}")
    return f"{SOURCE}/{identity}"


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
        is_silent = camera.alarm == SILENCE
        of_all = name != FLEET and fleet is not None and fleet.kind == camera.kind
        alarms.append(
            Alarm(
                key=f"{camera.alarm}/{name}",
                kind=MessageKind.SILENCE if is_silent else MessageKind.DRIFT,
                text=text_of(camera),
                began=camera.since,
                camera=None if name == FLEET else name,
                is_covered=bool(general) if is_silent else of_all,
            )
        )
    return alarms


def _general(verdict: Verdict) -> list[Alarm]:
    """An alarm if there are no rows that can be judged at all: one for all cameras."""
    cameras = _single(verdict)
    silent = [camera.since for camera in cameras if camera.status == "silent" and camera.since is not None]
    if not silent or any(camera.status not in ("silent", "no data") for camera in cameras):
        return []
    began = max(silent)
    if verdict.other_detectors:
        return [Alarm(OTHER_DETECTOR, MessageKind.DRIFT, text, began) for text in verdict.general]
    text = f"no rows of any of {len(silent)} cameras: is anything scored, and can the prediction log be written?"
    return [Alarm(STOPPED, MessageKind.LOG, text, began)]


def _single(verdict: Verdict) -> list[CameraVerdict]:
    return [camera for name, camera in verdict.cameras.items() if name != FLEET]


def text_of(camera: CameraVerdict) -> str:
    """An alarm in words: the kind, what moved, and what to do."""
    return f"{camera.word}: {camera.reason}: {camera.remedy}"


def unknown_in(verdict: Verdict) -> Callable[[str], bool]:
    """Whether it cannot be told if an open alarm goes on: its camera has too few rows, or is not in the verdict.

    That of a camera that is no longer there is over (`closing`).
    """

    def is_unknown(key: str) -> bool:
        kind, slash, name = key.partition("/")
        if not slash:
            return not _single(verdict)
        camera = verdict.cameras.get(name)
        return not verdict.is_gone(name) and (camera is None or not camera.can_tell(kind))

    return is_unknown


def closing(verdict: Verdict) -> Callable[[str], str | None]:
    """What is said at the end of an open alarm in place of its own text: that its camera is no longer there."""

    def words(key: str) -> str | None:
        _, slash, name = key.partition("/")
        return GONE if slash and verdict.is_gone(name) else None

    return words
