import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headhunt_svc.video.prefetch import prefetch


def threads() -> int:
    return sum(t.name == "prefetch" for t in threading.enumerate())


@given(st.lists(st.integers()), st.integers(1, 5))
def test_the_same_items_in_the_same_order(items: list[int], depth: int) -> None:
    assert list(prefetch(iter(items), depth)) == items
    assert threads() == 0


def test_no_more_than_depth_items_are_made_in_advance() -> None:
    made: list[int] = []

    def source() -> Iterator[int]:
        for i in range(100):
            made.append(i)
            yield i

    taken = prefetch(source(), 3)
    for wanted in range(20):
        assert next(taken) == wanted
        assert len(made) <= wanted + 1 + 3 + 1  # taken, in the queue, and one in the thread's hand
    taken.close()
    assert threads() == 0
    assert len(made) < 30


def test_an_error_comes_where_its_item_would_have_come() -> None:
    def source() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("broken packet")

    taken = prefetch(source(), 5)
    assert [next(taken), next(taken)] == [1, 2]
    with pytest.raises(ValueError, match="broken packet"):
        next(taken)
    assert threads() == 0
