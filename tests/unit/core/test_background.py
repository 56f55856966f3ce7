import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headhunt_svc.core.background import EMA_RATE, MovingAverage, check_live, inputs
from headhunt_svc.core.scoring import contributions, linearise, logits
from headhunt_svc.errors import ConfigError
from headhunt_svc.types import Background, HeadRef, Normality, Scorer

HEADS = (HeadRef(0, 1), HeadRef(2, 0))


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 1000))
def test_ema_is_that_of_the_earlier_segments_however_they_come(n: int, size: int, seed: int) -> None:
    z = np.random.default_rng(seed).normal(size=(n, 6)).astype(np.float32)
    x, average = inputs("ema", z), MovingAverage()
    batches = [average.push(z[i : i + size]) for i in range(0, n, size)]
    np.testing.assert_array_equal(np.concatenate(batches), x)  # to the bit
    averages = pd.DataFrame(z.astype(np.float64)).ewm(alpha=EMA_RATE, adjust=False).mean()
    background = averages.shift(1).fillna(averages.iloc[0])
    np.testing.assert_allclose(x, np.hstack([z, z - background]), atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_median_is_of_the_whole_video(n: int) -> None:
    z = np.random.default_rng(n).normal(size=(n, 6)).astype(np.float32)
    background = pd.DataFrame(z.astype(np.float64)).median().to_numpy()
    np.testing.assert_allclose(inputs("median", z), np.hstack([z, z - background]), atol=1e-12)


def test_without_a_background_the_features_stay_as_they_are() -> None:
    z = np.ones((3, 6), np.float32)
    assert inputs(None, z) is z


@pytest.mark.parametrize("background", ["ema", "median"])
def test_shares_and_local_weights_sum_to_the_logit(background: Background) -> None:
    rng = np.random.default_rng(4)
    root = rng.normal(size=(12, 12))
    normality = Normality(rng.normal(size=12), root @ root.T, 1.3)
    scorer = Scorer(HEADS, rng.normal(size=12), 0.7, normality, background)
    assert scorer.n_features == 6
    z = rng.normal(size=(50, 2, 3)).astype(np.float32)
    x = inputs(background, z)
    flat = x.reshape(50, 12)
    np.testing.assert_array_equal(flat, inputs(background, z.reshape(50, 6)))
    expected = logits(scorer, flat)
    shares = contributions(scorer, x)
    assert shares.shape == (50, 2)
    np.testing.assert_allclose(shares.sum(1) + scorer.bias, expected, atol=1e-9)
    local = linearise(scorer, flat)
    np.testing.assert_allclose((local.weight * z.reshape(50, 6)).sum(1) + local.bias, expected, atol=1e-9)


def test_local_weights_are_the_gradient_where_the_background_stays() -> None:
    rng = np.random.default_rng(5)
    scorer = Scorer(HEADS, rng.normal(size=12), 0.0, Normality(np.zeros(12), np.eye(12), 2.0), "median")
    z, background = rng.normal(size=(2, 6))

    def logit(values: np.ndarray) -> float:
        return float(logits(scorer, np.concatenate([values, values - background])[None])[0])

    steps = [(logit(z + 1e-6 * e) - logit(z - 1e-6 * e)) / 2e-6 for e in np.eye(6)]
    local = linearise(scorer, np.concatenate([z, z - background])[None])
    np.testing.assert_allclose(local.weight[0], steps, atol=1e-6)


def test_live_use_of_a_median_is_refused_with_the_way_out() -> None:
    check_live("ema", "a stream")
    check_live(None, "a stream")
    with pytest.raises(ConfigError, match=r"a stream: .*fit\.background: ema"):
        check_live("median", "a stream")
