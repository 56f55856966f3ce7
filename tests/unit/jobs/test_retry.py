"""How often an attempt is repeated: crashes a limited number of times, outages without end or up to a limit."""

from collections.abc import Callable

import pytest

from headhunt_svc.jobs.models import AttemptOutcome
from headhunt_svc.jobs.retry import backoff_s, retry
from headhunt_svc.settings import JobSettings

SETTINGS = JobSettings(attempts=3, backoff_s=1, backoff_most_s=60)
DIED: AttemptOutcome = {"died": "it died"}
AWAY: AttemptOutcome = {"trouble": "away"}
DONE: AttemptOutcome = {"result": "k", "events": 0}


def attempts(*outcomes: AttemptOutcome) -> Callable[[bool], AttemptOutcome]:
    """These in turn; checks that a video is tried alone once its process has died, and not before."""
    left = list(outcomes)

    def attempt(alone: bool) -> AttemptOutcome:
        assert alone == (DIED in outcomes[: len(outcomes) - len(left)])
        return left.pop(0)

    return attempt


@pytest.mark.parametrize(
    ("outcomes", "max_troubles", "end", "waits"),
    [
        ([DONE], None, DONE, []),
        ([{"error": "broken"}], None, {"error": "broken"}, []),
        ([DIED, DIED, DONE], None, DONE, ["died", "died"]),
        ([DIED, DIED, DIED], None, {"error": "it died, 3 times: the video is left out"}, ["died", "died"]),
        ([*[AWAY] * 50, DONE], None, DONE, ["trouble"] * 50),
        ([AWAY, AWAY], 2, {"error": "away, 2 times"}, ["trouble"]),
        ([AWAY, DIED, AWAY], 2, {"error": "away, 2 times"}, ["trouble", "died"]),
        (
            [DIED, AWAY, DIED, AWAY, DIED],
            None,
            {"error": "it died, 3 times: the video is left out"},
            ["died", "trouble", "died", "trouble"],
        ),
        ([{"stopped": "cancelled"}], None, {"stopped": "cancelled"}, []),
    ],
)
def test_what_is_repeated(
    outcomes: list[AttemptOutcome], max_troubles: int | None, end: AttemptOutcome, waits: list[str]
) -> None:
    calls: list[tuple[str, int]] = []

    def wait(cause: str, reason: str, n: int) -> None:
        calls.append((cause, n))

    assert retry(attempts(*outcomes), SETTINGS, wait, max_troubles) == end
    assert calls == [(cause, n) for n, cause in enumerate(waits, start=1)]


def test_the_wait_doubles_up_to_a_limit() -> None:
    assert [backoff_s(n, SETTINGS) for n in (1, 2, 3, 7, 100)] == [1, 2, 4, 60, 60]
