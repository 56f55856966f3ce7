"""The probe of all heads at once against one scikit-learn ridge regression per head and fold."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from headhunt_svc.core.folds import video_folds
from headhunt_svc.core.metrics import ranking_auc
from headhunt_svc.core.probe import PENALTY, cross_validated_outputs, held_out_outputs
from headhunt_svc.params import IdentifyParams


@pytest.mark.parametrize(("n", "d"), [(36, 50), (36, 36), (120, 12)])
def test_outputs_are_those_of_ridge_fits_to_the_other_folds(n: int, d: int) -> None:
    rng = np.random.default_rng(n)
    videos = [f"v{i // 4}" for i in range(n)]
    labels = np.arange(n) // 4 % 2 == 0
    values = (rng.normal(3, 2, size=(n, 6, d)) * rng.lognormal(size=(1, 6, d)) + labels[:, None, None]).astype("f4")
    values[:, 2] = -1.0
    found = cross_validated_outputs(values, labels, videos, IdentifyParams(folds=4, repeats=2, seed=5))
    assert np.isnan(found[2]).all()
    for head in (0, 1, 3, 4, 5):
        x = StandardScaler().fit_transform(values[:, head].astype(float))
        expected = np.zeros((2, n))
        for repeat in range(2):
            for train, test in video_folds(labels, videos, 4, 5 + repeat):
                assert not {videos[i] for i in train} & {videos[i] for i in test}
                ridge = Ridge(alpha=PENALTY * (x**2).sum() / n).fit(x[train], labels[train])
                expected[repeat, test] = ridge.predict(x[test])
        np.testing.assert_allclose(found[head], expected.mean(0), atol=1e-8)


def test_what_no_fold_holds_out_has_no_output() -> None:
    values = np.random.default_rng(0).normal(size=(20, 2, 3))
    rows = np.array([3, 4, 11])
    found = held_out_outputs(values, np.arange(20) % 2 == 0, [[rows]])
    assert np.isfinite(found[:, rows]).all()
    assert np.isnan(found).sum() == 2 * 17


def test_auc_equals_scikit_learns_with_ties() -> None:
    rng = np.random.default_rng(1)
    outputs, labels = np.round(rng.normal(size=(5, 40)), 1), rng.random(40) < 0.3
    expected = [roc_auc_score(labels, row) for row in outputs]
    np.testing.assert_allclose(ranking_auc(outputs, labels), expected)
