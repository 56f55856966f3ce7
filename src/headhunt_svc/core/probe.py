"""Fits a linear probe to every head in closed form, and tests it on videos that it was not fitted on.

Ridge regression of the labels on a head's standardised features, as the scorer standardises them, with an intercept
and the penalty PENALTY x (mean squared length of a segment's features): the same relative to every head's scale and
width. The predictions for a fold held out follow from one fit to everything: with H the matrix that maps labels to
fitted values and F the rows of the fold, the error there is (I - H_FF)^-1 (y - H y)_F (the block form of PRESS).
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Float64, Int

from headhunt_svc.core.clustering import Gram, Points
from headhunt_svc.core.folds import video_folds
from headhunt_svc.core.labelled import Labels, Rows
from headhunt_svc.core.metrics import ranking_auc
from headhunt_svc.core.saliency import Values, chunks, usable_heads
from headhunt_svc.params import IdentifyParams

PENALTY = 0.1  # recovers as many planted heads (benchmarks/identification.py) as 0.01, and more than 1


class _Fit:
    """Residuals of a ridge fit to all segments, and blocks of the matrix H that maps labels to fitted values.

    H is there as a whole where a head has no fewer dimensions than there are segments, else as left x^T + 1 / n.
    """

    def __init__(self, x: Points, y: Float64[np.ndarray, " segment"]) -> None:
        n, d = x.shape[1:]
        self._x, self._is_whole = x, n <= d
        if self._is_whole:
            self._left = _hat(x @ x.transpose(0, 2, 1))
            fitted = self._left @ y
        else:
            products = x.transpose(0, 2, 1) @ x
            self._left = x @ np.linalg.inv(products + _penalty(products, n) * np.eye(d))
            fitted = (self._left @ (y @ x)[..., None])[..., 0] + y.mean()
        self._residuals = y - fitted

    def block(self, rows: Int[np.ndarray, " row"]) -> Float64[np.ndarray, "head row row"]:
        """H_FF, the part of the matrix for the rows F."""
        if self._is_whole:
            return np.asarray(self._left[:, rows][:, :, rows])
        return np.asarray(self._left[:, rows] @ self._x[:, rows].transpose(0, 2, 1) + 1 / self._x.shape[1])

    def held_out(
        self, rows: Int[np.ndarray, " row"], y: Float64[np.ndarray, " segment"]
    ) -> Float64[np.ndarray, "head row"]:
        """Predictions for some segments by a fit to the others."""
        return _left_out(self.block(rows), self._residuals[:, rows], y[rows])


def _penalty(products: Float64[np.ndarray, "head k k"], n: int) -> Float64[np.ndarray, "head 1 1"]:
    return np.asarray(PENALTY * np.trace(products, axis1=1, axis2=2)[:, None, None] / n)


def _hat(gram: Gram) -> Gram:
    """H from the products of the segments' features."""
    n, penalty = gram.shape[1], _penalty(gram, gram.shape[1])
    return np.asarray(np.eye(n) + 1 / n - penalty * np.linalg.inv(gram + penalty * np.eye(n)))


def _left_out(
    block: Float64[np.ndarray, "head row row"],
    residuals: Float64[np.ndarray, "head row"],
    y: Float64[np.ndarray, " row"],
) -> Float64[np.ndarray, "head row"]:
    """Predictions for rows by fits to the others."""
    return np.asarray(y - np.linalg.solve(np.eye(len(y)) - block, residuals[..., None])[..., 0])


def _standardised(x: Points) -> Points:
    scale = x.std(1, keepdims=True)
    return np.asarray(x / np.where(scale > 1e-8, scale, 1.0))


def held_out_outputs(
    values: Values, labels: Labels, tests: Sequence[Sequence[Rows]]
) -> Float64[np.ndarray, "head segment"]:
    """The probe's outputs for every segment that a fold holds out, mean over partitions; else NaN.

    tests: for each partition, fold by fold, the rows held out together. A constant head's outputs are NaN, too.
    """
    y = labels.astype(np.float64)
    result = np.full((values.shape[1], len(labels)), np.nan)
    for heads, x in chunks(values, np.flatnonzero(usable_heads(values))):
        fit = _Fit(_standardised(x), y)
        total = np.full((len(tests), *x.shape[:2]), np.nan)
        for partition, folds in zip(total, tests, strict=True):
            for rows in folds:
                partition[:, rows] = fit.held_out(rows, y)
        result[heads] = total.mean(0)
    return result


def held_out_auc(
    values: Values, labels: Labels, sets: Sequence[Sequence[int]], tests: Sequence[Rows]
) -> Float64[np.ndarray, "test set"]:
    """AUC of the probes of some sets of heads in rows that are held out, one fit of each set for all tests.

    A set's products are the sum of those of its heads, so its features are never put together.
    """
    y = labels.astype(np.float64)
    member = np.zeros((len(sets), values.shape[1]))
    for row, members in zip(member, sets, strict=True):
        row[list(members)] = 1.0
    gram = np.zeros((len(sets), len(y), len(y)))
    for heads, x in chunks(values, np.flatnonzero(usable_heads(values) & member.any(0))):
        x = _standardised(x)
        for total, row in zip(gram, member, strict=True):
            for points in x[row[heads] > 0]:
                total += points @ points.T
    hat = _hat(gram)
    residuals = y - hat @ y
    auc = [ranking_auc(_left_out(hat[:, t][:, :, t], residuals[:, t], y[t]), labels[t]) for t in tests]
    return np.array(auc)


def cross_validated_outputs(
    values: Values, labels: Labels, videos: Sequence[str], params: IdentifyParams
) -> Float64[np.ndarray, "head segment"]:
    """Out-of-fold outputs of each head's probe, mean over `repeats` partitions of the videos into `folds` folds."""
    seeds = range(params.seed, params.seed + params.repeats)
    partitions = [[test for _, test in video_folds(labels, videos, params.folds, seed)] for seed in seeds]
    return held_out_outputs(values, labels, partitions)


def concatenated(values: Values, heads: Sequence[int]) -> Float[np.ndarray, "segment 1 features"]:
    """Merge some heads into one with all their features."""
    return values[:, list(heads)].reshape(len(values), 1, -1)


def bootstrap_rows(videos: Sequence[str], count: int, seed: int) -> Iterator[Rows]:
    """Bootstrap samples of whole videos, as rows of segments: as many videos as there are, with replacement."""
    groups = np.unique(np.asarray(videos), return_inverse=True)[1]
    rows, random = [np.flatnonzero(groups == g) for g in range(groups.max() + 1)], np.random.default_rng(seed)
    for _ in range(count):
        yield np.concatenate([rows[g] for g in random.integers(0, len(rows), len(rows))])
