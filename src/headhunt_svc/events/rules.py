"""How the events of one camera are stored."""

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
