"""The tests' own check of every call: a shape or a type that a signature excludes is refused."""

import numpy as np
import pytest
from beartype.roar import BeartypeCallHintViolation

from headhunt_svc.core.localization import smooth
from headhunt_svc.core.metrics import count
from headhunt_svc.types import FrameSpan, HeadFeatures, HeadRef, Segment


def test_axes_of_one_name_have_one_size_within_a_call() -> None:
    per_piece = np.zeros(2)
    count(np.zeros(2, int), per_piece, np.ones(2, int), np.ones(2, int))
    with pytest.raises(BeartypeCallHintViolation, match="piece"):
        count(np.zeros(2, int), per_piece, np.ones(3, int), np.ones(2, int))


def test_two_calls_may_differ_in_size() -> None:
    assert [len(smooth(np.zeros(n), 1.0)) for n in (3, 5)] == [3, 5]


def test_dimensions_and_other_types_are_checked() -> None:
    with pytest.raises(BeartypeCallHintViolation):
        smooth(np.zeros((2, 2)), 1.0)
    with pytest.raises(BeartypeCallHintViolation):
        smooth(np.zeros(2), "1.0")  # type: ignore[arg-type]


def test_a_dataclass_is_checked_when_it_is_made() -> None:
    segments = (Segment("a", 0, FrameSpan(0, 8), (0,)),)
    with pytest.raises(BeartypeCallHintViolation):
        HeadFeatures(segments, (HeadRef(0, 0),), np.zeros((1, 4), np.float32))
