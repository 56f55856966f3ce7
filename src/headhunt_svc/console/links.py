"""Addresses of the console's own pages."""

from collections.abc import Mapping
from urllib.parse import urlencode


def address(path: str, query: Mapping[str, str | None]) -> str:
    """A path with those parameters that are set."""
    parameters = urlencode({name: value for name, value in query.items() if value})
    return f"{path}?{parameters}" if parameters else path


def event_page(event_id: str) -> str:
    """An event."""
    return f"/events/{event_id}"


def questions_page(name: str | None = None, last: str | None = None) -> str:
    """Questions. name: of the set; None: those of today. last: the event of the question that was answered last."""
    return address("/events/questions", {"set": name, "last": last})


def proof_page(bundle: str | None = None) -> str:
    """What a bundle that has learnt from marks changes. bundle: name of its folder; None: the latest."""
    return address("/events/proof", {"bundle": bundle})


def learn_page(camera: str | None = None) -> str:
    """Learn from marks of a camera; None: of all."""
    return address("/events/learn", {"camera": camera})


def events_page(camera: str) -> str:
    """The events of a camera."""
    return address("/events", {"camera": camera})


def timeline_page(camera: str, day: str | None = None) -> str:
    """A day of a camera. day: 2026-03-01; None: the latest that was scored."""
    return address("/events/timeline", {"camera": camera, "day": day})


def drift_page(camera: str, window: str | None = None) -> str:
    """A camera's verdict. window: its folder; None: the latest."""
    return address("/drift/camera", {"camera": camera, "window": window})


def archive(window: str) -> str:
    """Evidently's page of a window. window: its folder."""
    return address("/drift/archive", {"window": window})
