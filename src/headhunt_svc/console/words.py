"""Signals, kinds of drift and states in plain words, and what to do about each, with the camera's real name."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import get_args

from headhunt_svc.events.records import EventState
from headhunt_svc.monitoring.config import Kind, Signal
from headhunt_svc.monitoring.verdicts import FLEET


@dataclass(frozen=True, slots=True)
class Meaning:
    """title: for a column. sentence: what it means if the value is beyond its limit."""

    title: str
    sentence: str


SIGNALS: Mapping[Signal, Meaning] = {
    "score_psi": Meaning("score mix", "scores are spread in another way than before"),
    "score_wasserstein": Meaning("score shift", "scores have moved up or down"),
    "event_rate": Meaning("events", "more or less of the time is in events"),
    "heads": Meaning("heads", "what the model sees there can be told apart from before"),
    "brightness": Meaning("light", "pictures are brighter or darker"),
    "sharpness": Meaning("sharpness", "pictures are sharper or more blurred"),
    "view": Meaning("view", "bright and dark places of the picture are elsewhere"),
    "dropped_frames": Meaning("lost pictures", "more pictures cannot be decoded"),
    "prompt_std": Meaning("prompt spread", "scores depend more on how the model is asked"),
    "flip_rate": Meaning("prompt flips", "more decisions change with how the model is asked"),
    "rank_agreement": Meaning("prompt order", "which segments score highest depends more on how the model is asked"),
    "head_instability": Meaning("head spread", "one head depends much more on how the model is asked"),
}
KINDS: Mapping[Kind, str] = {
    "lighting": "The light has changed, the view has not.",
    "view": "The camera shows something else: it was turned, zoomed or exchanged.",
    "pipeline": "Pictures are lost, blurred or missing.",
    "model": "The model sees all cameras differently: a library, template, checkpoint or driver has changed.",
    "activity": "Other things happen there: scores have moved, the pictures have not.",
}
STATES: Mapping[EventState, str] = {
    EventState.NEW: "new",
    EventState.ACKNOWLEDGED: "seen",
    EventState.FALSE_ALARM: "false alarm",
    EventState.CONFIRMED: "confirmed",
}
ALL_SIGNALS: tuple[Signal, ...] = get_args(Signal)


def title_of(signal: str) -> str:
    """A signal in plain words; one of another version of the monitor as it is."""
    return next((meaning.title for name, meaning in SIGNALS.items() if name == signal), signal)


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do; command: what to copy into a terminal. link: a page of the console."""

    text: str
    command: str | None = None
    link: str | None = None


def command(*words: str) -> str:
    """A command line that any shell takes as these words."""
    return shlex.join(("headhunt", *words))


def rebaseline(camera: str, since: datetime | None = None, why: str = "") -> str:
    """The command that makes a camera's rows its new baseline."""
    start = () if since is None else ("--from", f"{since:%Y-%m-%dT%H:%M:%S}")
    return command("monitor", "rebaseline", "--camera", camera, *start, *(("--why", why) if why else ()))


def remedy(kind: Kind, camera: str, since: datetime | None, events: str) -> tuple[Step, ...]:
    """What to do about a kind of drift, in the order to try. events: the page of the camera's events."""
    if kind == "model":
        return (
            Step("What was deployed last?", command("bundles", "list")),
            Step("Go back to the bundle before", command("bundles", "rollback", "--why", "the model has changed")),
            Step("Or stay, find heads again in the new model, and make new baselines", "dvc repro"),
        )
    if camera == FLEET:
        return (Step("It is the same on most cameras: open the rows of single cameras, the worst first."),)
    match kind:
        case "lighting":
            return (
                Step("Look at the camera: lamps, aperture, a dirty lens, the season."),
                Step("Are events still found?", link=events),
                Step("If the light stays like this, make it the normal one", rebaseline(camera, since, "new light")),
            )
        case "view":
            return (
                Step("Was the camera moved? Turn it back."),
                Step("Are events still found in the new view?", link=events),
                Step("If the view stays like this, make it the normal one", rebaseline(camera, since, "new view")),
            )
        case "pipeline":
            return (
                Step("Does the source answer, and what does it show?", command("cameras", "check")),
                Step("Check stream, encoder, recorder and lens."),
            )
        case "activity":
            return (
                Step("Look at its events first.", link=events),
                Step(
                    "If this is normal from now on: label some of it and fit the scorer again", "headhunt recalibrate"
                ),
                Step("Then make it the normal state", rebaseline(camera, since, "normal from now on")),
            )
