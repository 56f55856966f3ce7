"""How the events of one camera are stored."""

from collections.abc import Iterable
from dataclasses import dataclass

from headhunt_svc.settings import EventSettings


@dataclass(frozen=True, slots=True)
class EventRules:
    """merge_s: closer events are one. time_zone: how times are shown, and what those in file names mean.

    name_pattern: the time in a file's name. keep_clips: do events get a clip?
    """

    merge_s: float
    time_zone: str
    name_pattern: str | None = None
    keep_clips: bool = True

    @classmethod
    def of_settings(cls, settings: EventSettings) -> "EventRules":
        """Those of cameras that no cameras.yaml describes."""
        return cls(settings.merge_s, settings.time_zone, settings.name_pattern)


def merged(runs: Iterable[tuple[float, float]], merge_s: float) -> list[tuple[float, float]]:
    """The events of one camera, from its runs above the threshold (begin and end, seconds): closer ones are one.

    The same as events/candidates.py and the store do while scores come in.
    """
    events: list[tuple[float, float]] = []
    for start, stop in sorted(runs):
        if events and start - events[-1][1] < merge_s:
            events[-1] = events[-1][0], max(events[-1][1], stop)
        else:
            events.append((start, stop))
    return events
