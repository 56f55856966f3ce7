"""What is removed for its age: not because of a clock that jumped ahead, by which everything is old."""

import logging
from time import monotonic

logger = logging.getLogger(__name__)
SETTLE_S = 3600.0  # a clock is believed when it has run on for so long after it seemed to jump
JUMP_DAYS = 2.0  # more than the clock of the process says; less is what removing once too early may cost


class Retention:
    """Says whether what is older than `keep_days` may be removed now."""

    def __init__(self, keep_days: float) -> None:
        self._keep_days = keep_days
        self._believed: tuple[float, float] | None = None  # the day, and the monotonic clock, when it was last allowed
        self._jumped: tuple[float, float] | None = None  # the same when a jump was noticed

    def may_remove(self, today: float, latest: float | None) -> bool:
        """Is the clock believed? Not for SETTLE_S after a jump of more than JUMP_DAYS.

        A process that has just started sees no jump: then it is a day by which all that is there is too old.

        today: as a number of days. latest: the day, before today, of the latest thing that is there.
        """
        now = monotonic()
        if self._believed is not None:
            jumped = today - self._believed[0] - (now - self._believed[1]) / 86_400 > JUMP_DAYS
        else:
            jumped = self._jumped is not None or (latest is not None and today - latest > self._keep_days)
        if jumped:
            if self._jumped is None or abs(today - self._jumped[0]) > JUMP_DAYS:
                self._jumped = today, now
                logger.warning(
                    "the clock seems to have jumped ahead: what is too old by it is removed if that is still so in %g "
                    "minutes",
                    SETTLE_S / 60,
                )
            if now - self._jumped[1] < SETTLE_S:
                return False
        self._believed, self._jumped = (today, now), None
        return True
