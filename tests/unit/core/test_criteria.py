"""Saliency and the choice by it; the criteria themselves are compared in tests/parity/test_saliency.py."""

import numpy as np
import pytest

from headhunt_svc.core.identification import ranked, robust_saliency
from headhunt_svc.core.saliency import head_criteria, saliency
from headhunt_svc.errors import FeatureError


def _planted(informative: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(120) % 3 == 0
    values = rng.normal(size=(120, 24, 4)).astype(np.float32)
    values[:, informative] += 3 * labels[:, None, None]
    return values, labels


def test_planted_heads_are_found_and_a_constant_head_is_passed_over() -> None:
    values, labels = _planted([2, 17, 9])
    values[:, 0] = 1.5
    criteria = head_criteria(values, labels)
    assert np.isnan(criteria[:, 0]).all()
    table = np.stack([saliency(criteria)] * 2)
    order = ranked(robust_saliency(table[:, None], 0.5).rss)
    assert set(order[:3]) == {2, 9, 17}
    assert sorted(order) == list(range(1, 24))


def test_a_head_that_changes_with_the_prompt_loses_to_a_steady_one() -> None:
    table = np.array([[[1.0, 0.7]], [[0.5, 0.7]]])  # prompts x 1 layer x 2 heads: means 0.75 and 0.7
    assert ranked(robust_saliency(table, 0.0).rss) == [0, 1]
    assert ranked(robust_saliency(table, 0.5).rss) == [1, 0]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda v, y: (v, np.zeros_like(y)), "0 anomalous and 120 normal"),
        (lambda v, y: (np.where(np.arange(24)[None, :, None] == 3, np.nan, v), y), "heads [3] are not finite"),
        (lambda v, y: (np.ones_like(v), y), "every head's features are constant"),
    ],
)
def test_features_that_say_nothing_are_named(spoil, says: str) -> None:
    values, labels = spoil(*_planted([1]))
    with pytest.raises(FeatureError, match=says.replace("[", r"\[").replace("]", r"\]")):
        head_criteria(values, labels)
