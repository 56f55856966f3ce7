"""Signals, kinds of drift and states in plain words; what to do about each is in monitoring/remedies.py."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from headhunt_svc.events.records import EventState
from headhunt_svc.monitoring.config import Kind, Signal
from headhunt_svc.monitoring.remedies import Step as Step
from headhunt_svc.monitoring.remedies import command as command
from headhunt_svc.monitoring.remedies import rebaseline as rebaseline
from headhunt_svc.monitoring.remedies import remedy as remedy


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
ANSWERS: Mapping[EventState, str] = {
    EventState.NEW: "not answered",
    EventState.ACKNOWLEDGED: "cannot tell",
    EventState.FALSE_ALARM: "normal",
    EventState.CONFIRMED: "not normal",
}
ALL_SIGNALS: tuple[Signal, ...] = get_args(Signal)


def title_of(signal: str) -> str:
    """A signal in plain words; one of another version of the monitor as it is."""
    return next((meaning.title for name, meaning in SIGNALS.items() if name == signal), signal)
