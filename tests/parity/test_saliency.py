"""The criteria of all heads at once against one head at a time in scikit-learn and scipy."""

import numpy as np
import pytest
import scipy.linalg
from scipy.spatial.distance import pdist
from sklearn.cluster import KMeans
from sklearn.covariance import LedoitWolf
from sklearn.metrics import normalized_mutual_info_score
from sklearn.metrics.pairwise import rbf_kernel

from headhunt_svc.core import saliency
from headhunt_svc.core.clustering import two_means
from headhunt_svc.core.saliency import CRITERIA, head_criteria


def fisher(normal: np.ndarray, anomalous: np.ndarray) -> float:
    within = sum(np.cov(x.T) * (len(x) - 1) for x in (normal, anomalous))
    u, s, _ = np.linalg.svd(within)
    keep = s > 1e-12 * s[0]
    return float((((u[:, keep] / np.sqrt(s[keep])).T @ (anomalous.mean(0) - normal.mean(0))) ** 2).sum())


def symmetric_kl(normal: np.ndarray, anomalous: np.ndarray) -> float:
    def kl(p: tuple[np.ndarray, np.ndarray], q: tuple[np.ndarray, np.ndarray]) -> float:
        (mp, cp), (mq, cq) = p, q
        chol, d = scipy.linalg.cho_factor(cq), mq - mp
        logdet = np.linalg.slogdet(cq)[1] - np.linalg.slogdet(cp)[1]
        trace = np.trace(scipy.linalg.cho_solve(chol, cp))
        return 0.5 * float(trace + d @ scipy.linalg.cho_solve(chol, d) - len(d) + logdet)

    n, a = ((x.mean(0), LedoitWolf().fit(x).covariance_) for x in (normal, anomalous))
    return (kl(n, a) + kl(a, n)) / 2


def mmd_squared(n: np.ndarray, a: np.ndarray) -> float:
    gamma = 1 / (2 * np.median(pdist(np.concatenate([n, a])) ** 2))
    return float(rbf_kernel(n, n, gamma).mean() + rbf_kernel(a, a, gamma).mean() - 2 * rbf_kernel(n, a, gamma).mean())


def nmi(z: np.ndarray, labels: np.ndarray, seed: int) -> float:
    return float(normalized_mutual_info_score(labels, KMeans(2, random_state=seed, n_init=10).fit_predict(z)))


def heads(n: int, d: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Heads of many scales, with nuisance factors, a signal of random strength, one coarse and one constant head."""
    rng = np.random.default_rng(n)
    labels = np.arange(n) % 3 == 0
    values = rng.normal(size=(n, count, d)) * rng.lognormal(size=(1, count, d)) + rng.normal(size=(1, count, d)) * (
        3 * rng.normal(size=(n, count, 1)) + rng.normal(size=(1, count, 1)) * labels[:, None, None]
    )
    values[:, 1] = 2.0
    values[:, 2] = np.round(values[:, 2])
    return values.astype(np.float32), labels


@pytest.mark.parametrize(("n", "d"), [(24, 128), (90, 128), (90, 64), (128, 128), (150, 12), (300, 40)])
def test_all_heads_at_once_equal_one_at_a_time(n: int, d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saliency, "CHUNK_BYTES", 7 * 8 * (6 * n * n + 3 * n * d))  # seven heads at a time
    values, labels = heads(n, d, 30)
    found = dict(zip(CRITERIA, head_criteria(values, labels, seed=3), strict=True))
    for head in range(30):
        if head == 1:
            assert all(np.isnan(found[name][head]) for name in CRITERIA)
            continue
        z = values[:, head].astype(np.float64)
        normal, anomalous = z[~labels], z[labels]
        expected = {f.__name__: f(normal, anomalous) for f in (fisher, symmetric_kl, mmd_squared)}
        assert found["lda"][head] == pytest.approx(expected["fisher"], rel=1e-4)
        assert found["kl"][head] == pytest.approx(expected["symmetric_kl"], rel=1e-4)
        assert found["mmd"][head] == pytest.approx(expected["mmd_squared"], rel=1e-4)
        assert found["nmi"][head] == pytest.approx(nmi(z, labels, 3), abs=1e-12)


@pytest.mark.parametrize(("n", "d"), [(30, 64), (200, 3)])
@pytest.mark.parametrize("seed", [0, 1])
def test_clusters_are_those_of_scikit_learn(n: int, d: int, seed: int) -> None:
    values, _ = heads(n, d, 60)
    values[:, 4] = np.repeat(values[:2, 4], [n - 1, 1], axis=0)  # two different segments only
    x = values.astype(np.float64).transpose(1, 0, 2)
    x -= x.mean(1, keepdims=True)
    x = np.delete(x, 1, axis=0)
    found = two_means(x, x @ x.transpose(0, 2, 1), seed)
    for head, clusters in zip(x, found, strict=True):
        expected = KMeans(2, random_state=seed, n_init=10).fit_predict(head).astype(bool)
        assert (clusters == expected).all() or (clusters != expected).all()


def test_a_head_of_low_rank_has_the_pseudo_inverses_criterion() -> None:
    """Two of 32 dimensions vary: every matrix over segments or dimensions is singular."""
    values, labels = heads(20, 32, 6)
    values[:, 0] = 0
    values[:, 0, :2] = np.random.default_rng(0).integers(-4, 5, (20, 2)) + labels[:, None]
    z = values[:, 0].astype(np.float64)
    assert head_criteria(values, labels)[0, 0] == pytest.approx(fisher(z[~labels], z[labels]), rel=1e-4)
