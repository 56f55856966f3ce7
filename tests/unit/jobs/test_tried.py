"""How often what is tried: deaths a stated number of times, troubles for ever or as patience goes."""

from collections.abc import Callable

import pytest

from headhunt_svc.jobs.isolated import Outcome, backoff_s, tried
from headhunt_svc.settings import JobSettings

SETTINGS = JobSettings(attempts=3, backoff_s=1, backoff_most_s=60)
DIED, AWAY, DONE = {"died": "it died"}, {"trouble": "away"}, {"result": "k", "events": 0}


def attempts(*outcomes: Outcome) -> Callable[[], Outcome]:
    left = list(outcomes)
    return lambda: left.pop(0)


@pytest.mark.parametrize(
    ("outcomes", "patience", "end", "waits"),
    [
        ([DONE], None, DONE, []),
        ([{"error": "broken"}], None, {"error": "broken"}, []),
        ([DIED, DIED, DONE], None, DONE, ["died", "died"]),
        ([DIED, DIED, DIED], None, {"error": "it died, 3 times: the video is left out"}, ["died", "died"]),
        ([*[AWAY] * 50, DONE], None, DONE, ["trouble"] * 50),
        ([AWAY, AWAY], 2, {"error": "away, 2 times"}, ["trouble"]),
        ([DIED, AWAY, DIED, AWAY, DIED], None, {"error": "it died, 3 times: the video is left out"}, None),
        ([{"stopped": "cancelled"}], None, {"stopped": "cancelled"}, []),
    ],
)
def test_what_is_tried_again(
    outcomes: list[Outcome], patience: int | None, end: Outcome, waits: list[str] | None
) -> None:
    causes: list[str] = []
    numbers: list[int] = []

    def waiting(cause: str, why: str, n: int) -> None:
        causes.append(cause)
        numbers.append(n)

    assert tried(attempts(*outcomes), SETTINGS, waiting, patience) == end
    assert waits is None or causes == waits
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_wait_doubles_up_to_the_most() -> None:
    assert [backoff_s(n, SETTINGS) for n in (1, 2, 3, 7, 100)] == [1, 2, 4, 60, 60]
