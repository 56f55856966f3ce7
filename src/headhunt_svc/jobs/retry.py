"""Repeats attempts at a video: a limited number of times where its scoring process dies, for longer in an outage."""

from collections import Counter
from collections.abc import Callable

from headhunt_svc.jobs.models import AttemptOutcome
from headhunt_svc.settings import JobSettings

Wait = Callable[[str, str, int], object]  # cause (died or trouble), reason, number of attempts so far


def backoff_s(attempt: int, settings: JobSettings) -> float:
    """Seconds to wait after attempt 1, 2, ...: doubles up to a limit."""
    return min(settings.backoff_s * 2.0 ** min(attempt - 1, 30), settings.backoff_most_s)


def retry(
    attempt: Callable[[bool], AttemptOutcome], settings: JobSettings, wait: Wait, max_troubles: int | None = None
) -> AttemptOutcome:
    """Calls `attempt` until it returns `result`, `error` or `stopped`, or until a limit is reached.

    `died` is accepted settings.attempts times, `trouble` (an outage that may pass) max_troubles times or without end.

    attempt: its argument is whether the scoring process has died of this video before.
    wait: called before each repetition; it has to do the waiting.
    """
    n, counts = 0, Counter[str]()
    limits = {"died": settings.attempts, "trouble": max_troubles}
    while True:
        n += 1
        outcome = attempt(counts["died"] > 0)
        if "died" in outcome:
            cause, reason = "died", outcome["died"]
        elif "trouble" in outcome:
            cause, reason = "trouble", outcome["trouble"]
        else:
            return outcome
        counts[cause] += 1
        if counts[cause] == limits[cause]:
            ending = ": the video is left out" if cause == "died" else ""
            return {"error": f"{reason}, {counts[cause]} times{ending}"}
        wait(cause, reason, n)
