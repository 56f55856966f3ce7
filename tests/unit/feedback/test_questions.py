"""Which segments people are asked about: properties of the choice."""

from collections import Counter
from datetime import timedelta
from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from headhunt_svc.feedback.questions import APART_S, REASONS, Asked, Candidate, Reason, choose
from helpers.events import NOON

SCORES = st.floats(0, 1)
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["dock", "gate", "yard"]),
        st.integers(0, 600),
        SCORES,
        st.none() | st.floats(0.1, 50),
        st.just(()) | st.tuples(SCORES, SCORES, SCORES),
    ),
    max_size=40,
)
Row = tuple[str, int, float, float | None, tuple[float, ...]]


def candidate(camera: str, second: int, score: float, distance: float | None, prompts: tuple[float, ...]) -> Candidate:
    start, stop = (NOON + timedelta(seconds=s) for s in (second, second + 2))
    return Candidate(camera, f"{camera}.mp4", start, stop, score, 0.5, "d" * 12, distance=distance, prompts=prompts)


@given(ROWS, st.integers(0, 12), st.integers(1, 4), st.randoms())
def test_the_choice(rows: list[Row], most: int, each: int, random: Random) -> None:
    candidates = [candidate(*row) for row in rows]
    chosen = choose(candidates, most, each)
    shuffled = list(candidates)
    random.shuffle(shuffled)
    assert choose(shuffled, most, each) == chosen  # whatever the order
    assert len(chosen) <= most
    pools = Counter((one.candidate.camera, one.reason) for one in chosen)
    assert all(n <= each for n in pools.values())
    for camera in ("dock", "gate", "yard"):
        times = sorted(one.candidate.start for one in chosen if one.candidate.camera == camera)
        assert all((b - a).total_seconds() >= APART_S for a, b in pairwise(times))
    for one in chosen:
        assert one.candidate.value(one.reason) is not None
    cameras = {c.camera for c in candidates if any(c.value(reason) is not None for reason in REASONS)}
    assert len({one.candidate.camera for one in chosen}) == min(most, len(cameras))  # all cameras come before a second


@given(ROWS, st.integers(1, 12))
def test_later_questions_do_not_change_those_that_were_asked(rows: list[Row], most: int) -> None:
    candidates = [candidate(*row) for row in rows]
    first = choose(candidates, most // 2, 1)
    asked = [Asked(one.candidate.camera, one.reason, one.candidate.start) for one in first]
    whole = choose(candidates, most, 1)
    assert first + choose(candidates, most, 1, asked) == whole  # in two steps as in one


@given(ROWS, st.sampled_from(REASONS))
def test_the_most_telling_one_of_a_camera_comes_first(rows: list[Row], reason: Reason) -> None:
    candidates = [c for c in (candidate(*row) for row in rows) if c.camera == "dock"]
    alone = [c for c in candidates if all((c.value(r) is None) == (r != reason) for r in REASONS)]
    values = [value for c in alone if (value := c.value(reason)) is not None]
    assert [one.candidate.value(one.reason) for one in choose(alone, 5, 1)] == ([max(values)] if values else [])


def test_each_reason_has_its_own_candidate() -> None:
    near, far, torn, usual = (
        candidate("yard", 0, 0.49, 1.0, ()),
        candidate("yard", 60, 0.02, 9.0, ()),
        candidate("yard", 120, 0.1, 1.1, (0.1, 0.6, 0.7)),
        candidate("yard", 180, 0.2, 1.2, (0.1, 0.2, 0.3)),
    )
    chosen = choose([usual, torn, far, near], 10, 1)
    assert [(one.candidate, one.reason) for one in chosen] == [
        (near, "uncertain"), (far, "new"), (torn, "disagreeing"),
    ]  # fmt: skip
    assert torn.disagreement == 1 / 3
    assert usual.value("uncertain") is None  # .2 is more than a logit below .5
