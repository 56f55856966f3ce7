"""What to do about an alarm, with the camera's real name in commands that can be copied.

Verdicts, pages and messages all say it in these words.
"""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from headhunt_svc import paths
from headhunt_svc.monitoring.config import Kind
from headhunt_svc.names import ALL_CAMERAS

LEARNT_FROM: tuple[Kind, ...] = ("activity", "view")  # kinds that marks of the window's segments may explain


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do; command: what to copy into a terminal. link: a page of the console."""

    text: str
    command: str | None = None
    link: str | None = None

    def __str__(self) -> str:
        return f"{self.text} `{self.command}`" if self.command else self.text


def command(*words: str) -> str:
    """A command line that any shell takes as these words."""
    return shlex.join(("headhunt", *words))


def rebaseline(camera: str, since: datetime | None = None, why: str = "") -> str:
    """The command that makes a camera's rows its new baseline."""
    start = () if since is None else ("--from", f"{since:%Y-%m-%dT%H:%M:%S}")
    return command("monitor", "rebaseline", "--camera", camera, *start, *(("--why", why) if why else ()))


def _learn(text: str, camera: str, since: datetime | None) -> tuple[Step, Step]:
    """Label segments of a camera, and learn from them."""
    start = () if since is None else ("--since", f"{since:%Y-%m-%dT%H:%M:%S}")
    return (
        Step(text, command("events", "questions", "--camera", camera, *start)),
        Step(
            "Learn from the answers:",
            command("recalibrate", "--from-events", "--camera", camera, "--out", str(paths.CANDIDATE)),
        ),
    )


def in_words(steps: Iterable[Step]) -> str:
    """Steps as one line of text."""
    return " ".join(map(str, steps))


def remedy(kind: Kind, camera: str, since: datetime | None, events: str | None = None) -> tuple[Step, ...]:
    """What to do about a kind of drift, in the order to try.

    events: the page of the camera's events, where there is one; else a command lists them.
    """
    if kind == "model":
        return (
            Step("What was deployed last?", command("bundles", "list")),
            Step("Go back to the bundle before:", command("bundles", "rollback", "--why", "the model has changed")),
            Step("Or stay, find heads again in the new model, and make new baselines:", "dvc repro"),
        )
    if camera == ALL_CAMERAS:
        return (Step("It is the same on most cameras: look at the single cameras, the worst first."),)
    look = None if events else command("events", "list", "--camera", camera)
    match kind:
        case "lighting":
            return (
                Step("Look at the camera: lamps, aperture, a dirty lens, the season."),
                Step("Are events still found?", look, events),
                Step("If the light stays like this, make it the normal one:", rebaseline(camera, since, "new light")),
            )
        case "view":
            return (
                Step("Was the camera moved? Turn it back."),
                Step("Are events still found in the new view?", look, events),
                *_learn("If not, label some segments:", camera, since),
                Step("If the view stays like this, make it the normal one:", rebaseline(camera, since, "new view")),
            )
        case "pipeline":
            return (
                Step("Does the source answer, and what does it show?", command("cameras", "check", "--camera", camera)),
                Step("Check stream, encoder, recorder and lens."),
            )
        case "activity":
            return (
                Step("Look at its events first.", look, events),
                *_learn("If this is normal from now on, label some of it:", camera, since),
                Step("Then make it the normal state:", rebaseline(camera, since, "normal from now on")),
            )
