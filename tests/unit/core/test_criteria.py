"""Saliency and the choice by it; the criteria themselves are compared in tests/parity/test_saliency.py."""

import numpy as np
import pytest
import torch

from headhunt_svc.core.identification import ranked, robust_saliency
from headhunt_svc.core.saliency import head_criteria, nearly_constant, resolution, saliency, usable_heads
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


def rounded(values: np.ndarray) -> np.ndarray:
    """As bfloat16 computes, stored as float32."""
    return torch.from_numpy(values).bfloat16().float().numpy()


def test_the_number_format_is_read_from_the_bits() -> None:
    values = np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float32)
    assert resolution(values) == torch.finfo(torch.float32).eps
    assert resolution(rounded(values)) == torch.finfo(torch.bfloat16).eps
    assert resolution(values.astype(np.float16).astype(np.float32)) == torch.finfo(torch.float16).eps
    assert resolution(values.astype(np.float64)) == torch.finfo(torch.float64).eps


def test_steps_of_bfloat16_are_no_structure() -> None:
    """A head that varies by a thousandth says something in float32; in bfloat16 a few steps are left of it."""
    values, _ = _planted([1])
    steps = 1e-3 * np.random.default_rng(0).normal(size=(120, 4))
    values[:, 3] = (np.array([1.5, -0.7, 0.9, 1.2]) + steps).astype(np.float32)
    assert usable_heads(values).all()
    coarse = rounded(values)
    assert 1 < len(np.unique(coarse[:, 3], axis=0)) < 60
    assert np.flatnonzero(~usable_heads(coarse)).tolist() == [3]


def test_a_large_constant_feature_hides_no_structure_of_others() -> None:
    """Language models have such features."""
    values, _ = _planted([1])
    values[:, 3, 0] = 300.0
    assert usable_heads(rounded(values)).all()
    values[:, 3, 1:] = 1.0
    assert np.flatnonzero(~usable_heads(rounded(values))).tolist() == [3]


def test_a_nearly_constant_head_does_not_set_the_scale_of_a_criterion() -> None:
    """Its KL is far above that of heads that know, whose differences it would press together."""
    values, labels = _planted([2, 17])
    rng = np.random.default_rng(0)
    values[:, 5] = (1.0 + 1e-3 * rng.normal(size=(120, 4)) + 0.02 * labels[:, None]).astype(np.float32)
    criteria, steady = head_criteria(values, labels), nearly_constant(values)
    assert np.flatnonzero(steady).tolist() == [5]
    assert criteria[1, 5] > 2 * np.delete(criteria[1], 5).max()
    others = np.delete(criteria, 5, axis=1)
    low, high = others.min(1, keepdims=True), others.max(1, keepdims=True)
    result = saliency(criteria, steady)
    np.testing.assert_allclose(np.delete(result, 5), ((others - low) / (high - low)).mean(0))
    assert 0 <= result[5] <= 1
    assert saliency(criteria)[2] < result[2]
    np.testing.assert_array_equal(saliency(criteria, np.ones(24, bool)), saliency(criteria))  # nothing else sets it
    assert np.isnan(saliency(np.full((4, 3), np.nan))).all()
