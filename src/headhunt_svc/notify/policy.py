"""Which messages are left out: those too soon after another of the camera, and those in its quiet hours."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

Reason = Literal["cooldown", "quiet hours"]


def _never(_: datetime) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Policy:
    """A camera's rules for messages on its events; those of alarms are never left out.

    cooldown_s: least time between two messages that an event has begun. is_quiet: is a moment in the quiet hours?
    """

    cooldown_s: float = 0.0
    is_quiet: Callable[[datetime], bool] = _never

    def reason_to_hold_back(self, now: datetime, latest: datetime | None) -> Reason | None:
        """Why a message that an event has begun is left out. latest: when the last one was put into the outbox."""
        if self.is_quiet(now):
            return "quiet hours"
        # a clock that was set back must not hold messages back for as long as it was ahead
        if latest is not None and latest <= now < latest + timedelta(seconds=self.cooldown_s):
            return "cooldown"
        return None
