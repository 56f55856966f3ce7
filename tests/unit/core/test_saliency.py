"""The paper's criteria against scikit-learn and scipy, for fewer and for more segments than d_head."""

import numpy as np
import pytest
import scipy.linalg
from scipy.spatial.distance import pdist
from sklearn.covariance import LedoitWolf
from sklearn.metrics.pairwise import rbf_kernel

from headhunt_svc.core.identification import choose_heads, robust_saliency
from headhunt_svc.core.saliency import fisher_criterion, head_criteria, mmd_squared, saliency, symmetric_kl
from headhunt_svc.errors import FeatureError


@pytest.fixture(params=[(12, 9, 16), (60, 40, 8)], ids=["n<d", "n>d"])
def classes(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    n, a, d = request.param
    rng = np.random.default_rng(n)
    mix = rng.normal(size=(d, d))
    return rng.normal(size=(n, d)) @ mix, (rng.normal(size=(a, d)) + 0.7) @ mix * 1.3


def test_fisher_is_the_best_ratio_over_directions(classes: tuple[np.ndarray, np.ndarray]) -> None:
    normal, anomalous = classes
    within = sum(np.cov(x.T) * (len(x) - 1) for x in classes)
    delta = anomalous.mean(0) - normal.mean(0)
    u, s, _ = np.linalg.svd(within)
    keep = s > 1e-10 * s[0]
    whitened = (u[:, keep] / np.sqrt(s[keep])).T @ delta
    assert fisher_criterion(normal, anomalous) == pytest.approx(whitened @ whitened, rel=1e-4)


def test_kl_equals_the_gaussian_formula(classes: tuple[np.ndarray, np.ndarray]) -> None:
    def kl(p: tuple[np.ndarray, np.ndarray], q: tuple[np.ndarray, np.ndarray]) -> float:
        (mp, cp), (mq, cq) = p, q
        chol = scipy.linalg.cho_factor(cq)
        d = mq - mp
        logdet = np.linalg.slogdet(cq)[1] - np.linalg.slogdet(cp)[1]
        return 0.5 * float(
            np.trace(scipy.linalg.cho_solve(chol, cp)) + d @ scipy.linalg.cho_solve(chol, d) - len(d) + logdet
        )

    n, a = ((x.mean(0), LedoitWolf().fit(x).covariance_) for x in classes)
    assert symmetric_kl(*classes) == pytest.approx((kl(n, a) + kl(a, n)) / 2, rel=1e-4)


def test_mmd_equals_scikit_learns_kernel(classes: tuple[np.ndarray, np.ndarray]) -> None:
    gamma = 1 / (2 * np.median(pdist(np.concatenate(classes)) ** 2))
    n, a = classes
    expected = rbf_kernel(n, n, gamma).mean() + rbf_kernel(a, a, gamma).mean() - 2 * rbf_kernel(n, a, gamma).mean()
    assert mmd_squared(n, a) == pytest.approx(expected, rel=1e-4)


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
    table = np.stack([saliency(criteria)] * 2).reshape(2, 4, 6)
    chosen = choose_heads(robust_saliency(table, 0.5), 3)
    assert {h.layer * 6 + h.head for h in chosen} == {2, 9, 17}


def test_a_head_that_changes_with_the_prompt_loses_to_a_steady_one() -> None:
    table = np.array([[[1.0, 0.7]], [[0.5, 0.7]]])  # prompts x 1 layer x 2 heads: means 0.75 and 0.7
    assert choose_heads(robust_saliency(table, 0.0), 1)[0].head == 0
    assert choose_heads(robust_saliency(table, 0.5), 1)[0].head == 1


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


def test_more_heads_than_usable_is_an_error() -> None:
    with pytest.raises(FeatureError, match="only 2 of 4 heads are usable"):
        choose_heads(robust_saliency(np.array([[[1.0, np.nan], [0.5, np.nan]]]), 0.5), 3)
