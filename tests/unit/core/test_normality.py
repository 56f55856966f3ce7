from collections.abc import Sequence

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score

from headhunt_svc.core.fitting import fit_scorer
from headhunt_svc.core.normality import Measured, NormalFeatures, choose_gamma, leave_one_kind_out
from headhunt_svc.core.scoring import apply_scorer, contributions, linearise, logits
from headhunt_svc.params import FitParams
from headhunt_svc.types import HeadRef, Normality, Scorer

HEADS = (HeadRef(0, 0), HeadRef(1, 1))


@pytest.mark.parametrize("n_features", [5, 90], ids=["more segments", "more features"])
def test_distance_is_scipys_with_scikit_learns_covariance(n_features: int) -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(3, rng.uniform(0.5, 4, n_features), (40, n_features)) @ rng.normal(size=(n_features, n_features))
    z[:, 2] = 1.5  # constant, as a head of layer 0 can be
    new = rng.normal(size=(7, n_features))
    scale = np.where(z.std(0) > 1e-8, z.std(0), 1.0)
    oracle = LedoitWolf(assume_centered=True).fit((z - z.mean(0)) / scale)
    precision = np.linalg.inv(oracle.covariance_) / np.outer(scale, scale)
    expected = cdist(new, z.mean(0)[None], "mahalanobis", VI=precision)[:, 0]
    normal = NormalFeatures.fit(z)
    np.testing.assert_allclose(normal.distance(new), expected, rtol=1e-9)
    np.testing.assert_allclose(normal.precision(), precision, rtol=1e-7, atol=1e-12)


def _videos(kinds: Sequence[str], per_kind: int, segments: int) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    names = [f"{kind}_{i}" for kind in kinds for i in range(per_kind)]
    videos = [name for name in names for _ in range(segments)]
    return videos, {n: () if n.startswith("normal") else (n.split("_")[0],) for n in names}


def _features(
    kinds: Sequence[str], seed: int = 0
) -> tuple[np.ndarray, np.ndarray, list[str], dict[str, tuple[str, ...]]]:
    """Each kind moves features along a direction of its own; anomalous in the second half of its videos."""
    rng = np.random.default_rng(seed)
    videos, labels_of = _videos(kinds, 5, 12)
    labels = np.array([bool(labels_of[v]) and i % 12 >= 6 for i, v in enumerate(videos)])
    z = rng.normal(size=(len(videos), 8))
    for i, kind in enumerate(k for k in kinds if k != "normal"):
        z[labels & np.array([v.startswith(kind) for v in videos]), i] += 5
    return z.astype(np.float32), labels, videos, labels_of


def test_each_kind_is_left_out_whole_and_once() -> None:
    z, labels, videos, kinds = _features(("normal", "fall", "fire", "run"))
    basis, left_out = leave_one_kind_out(z, labels, videos, kinds)
    assert (basis, [g.name for g in left_out]) == ("kinds", ["fall", "fire", "run"])
    names = np.array(videos)
    for group in left_out:
        train, test = set(names[group.train].tolist()), set(names[group.test].tolist())
        assert not train & test
        assert train | test == set(videos)
        assert not any(v.startswith(group.name) for v in train)
        assert all(v.startswith((group.name, "normal")) for v in test)
    dealt = [v for group in left_out for v in set(names[group.test].tolist()) if v.startswith("normal")]
    assert sorted(dealt) == sorted({v for v in videos if v.startswith("normal")})


def test_without_kinds_clusters_of_videos_are_left_out() -> None:
    z, labels, videos, kinds = _features(("normal", "fall", "fire", "run"))
    basis, left_out = leave_one_kind_out(z, labels, videos, {v: k and ("anomalous",) for v, k in kinds.items()})
    assert basis == "clusters"
    groups = [{v.split("_")[0] for v in np.array(videos)[g.test].tolist()} - {"normal"} for g in left_out]
    assert all(len(group) == 1 for group in groups)  # of four clusters two can be of one kind
    assert set().union(*groups) == {"fall", "fire", "run"}


def test_kinds_that_were_not_fitted_are_found_with_the_distance_to_normal() -> None:
    z, labels, videos, kinds = _features(("normal", "fall", "fire", "run", "fight"))
    seen = np.array([not v.startswith("fight") for v in videos])
    names = [v for v in videos if not v.startswith("fight")]
    auc = {}
    for name in ("logistic", "logistic+normality", "normality"):
        fitted = fit_scorer(z[seen], labels[seen], names, HEADS, FitParams(scorer=name), kinds)
        rows = ~seen | np.array([v.startswith("normal") for v in videos])
        auc[name] = roc_auc_score(labels[rows], apply_scorer(fitted.scorer, z[rows]))
    assert auc["logistic"] < 0.7
    assert auc["logistic+normality"] > 0.9
    assert auc["normality"] > 0.9
    choice = fit_scorer(z[seen], labels[seen], names, HEADS, FitParams(), kinds).normality
    assert choice is not None
    assert (choice.basis, choice.groups) == ("kinds", ("fall", "fire", "run"))
    assert choice.auc[choice.gamma] > choice.auc[0] + 0.1


def test_a_distance_that_tells_nothing_has_no_weight() -> None:
    """Anomalies are the normal features nearest to the mean: far from normal is normal."""
    rng = np.random.default_rng(1)
    videos, kinds = _videos(("normal", "fall", "fire", "run"), 5, 12)
    labels = np.array([bool(kinds[v]) and i % 12 >= 6 for i, v in enumerate(videos)])
    z = rng.normal(size=(len(videos), 6))
    z[labels] *= 0.3
    z[:, 0] = np.where(labels, 1.0, -1.0) + rng.normal(0, 0.2, len(videos))
    fitted = fit_scorer(z, labels, videos, HEADS, FitParams(), kinds)
    assert fitted.normality is not None
    assert fitted.normality.gamma == 0
    assert fitted.scorer.normality is None
    logistic = fit_scorer(z, labels, videos, HEADS, FitParams(scorer="logistic"), kinds)
    np.testing.assert_allclose(apply_scorer(fitted.scorer, z), apply_scorer(logistic.scorer, z), atol=1e-6)


def test_too_few_anomalous_videos_get_the_default_weight() -> None:
    z, labels, videos, _ = _features(("normal", "fall"))
    keep = np.array([not v.startswith("fall") or v in ("fall_0", "fall_1") for v in videos])
    names = [v for v, k in zip(videos, keep, strict=True) if k]
    fitted = fit_scorer(z[keep], labels[keep], names, HEADS, FitParams(default_normality_weight=0.5))
    assert fitted.normality is not None
    assert (fitted.normality.gamma, fitted.normality.basis) == (0.5, "default")


def test_gamma_is_the_default_unless_another_is_clearly_better() -> None:
    labels = np.array([False, False, True, True])
    margins = np.array([0.0, 1.0, 0.5, 2.0])  # AUC 0.75, and 1 with a distance of more than a half
    helps = Measured(labels, margins, np.array([0.0, 0.0, 0.7, 0.7]))
    same = Measured(labels, np.array([0.0, 0.0, 1.0, 1.0]), np.zeros(4))
    gamma, auc = choose_gamma([helps, helps, helps, same], (0.0, 0.5, 4.0), default=1.0)
    assert (gamma, auc) == (1.0, {0.0: 0.9375 - 0.125, 0.5: 0.9375 - 0.125, 1.0: 1.0, 4.0: 1.0})
    assert choose_gamma([helps, helps, helps], (0.0, 4.0), default=0.5)[0] == 4.0
    some = Measured(np.arange(5) > 2, np.array([0.0, 1.0, 1.5, 0.5, 3.0]), np.array([0.0, 0.0, 0.0, 0.7, 0.7]))
    gamma, auc = choose_gamma([some, same], (0.0, 4.0), default=1.0)
    assert gamma == 1.0  # 1/12 behind, with an error of 1/12 and one degree of freedom: it may be as good
    assert list(auc.values()) == pytest.approx([5 / 6, 11 / 12, 1])
    harms = Measured(labels, np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 9.0, 0.0, 0.0]))
    assert choose_gamma([harms, harms, same], (0.0, 4.0), default=1.0)[0] == 0.0


def test_shares_of_heads_and_local_weights_sum_to_the_logit() -> None:
    rng = np.random.default_rng(2)
    root = rng.normal(size=(6, 6))
    scorer = Scorer(HEADS, rng.normal(size=6), 0.7, Normality(rng.normal(size=6), root @ root.T, 1.3))
    z = rng.normal(size=(50, 2, 3)).astype(np.float32)
    flat = z.reshape(50, 6)
    z[0] = scorer.normality.mean.reshape(2, 3)  # distance 0
    expected = [
        scorer.weight @ x
        + 0.7
        + 1.3 * np.sqrt((x - scorer.normality.mean) @ root @ root.T @ (x - scorer.normality.mean))
        for x in flat.astype(np.float64)
    ]
    np.testing.assert_allclose(logits(scorer, flat), expected, atol=1e-9)
    np.testing.assert_allclose(contributions(scorer, z).sum(1) + scorer.bias, expected, atol=1e-9)
    local = linearise(scorer, flat)
    np.testing.assert_allclose((local.weight * flat).sum(1) + local.bias, expected, atol=1e-9)


def test_local_weights_are_the_gradient() -> None:
    rng = np.random.default_rng(3)
    scorer = Scorer(HEADS, rng.normal(size=6), 0.0, Normality(np.zeros(6), np.eye(6), 2.0))
    z = rng.normal(size=(1, 6))
    steps = [(logits(scorer, z + 1e-6 * e) - logits(scorer, z - 1e-6 * e))[0] / 2e-6 for e in np.eye(6)]
    np.testing.assert_allclose(linearise(scorer, z).weight[0], steps, atol=1e-6)
