"""Measures how well each head separates normal from anomalous: the four criteria of HeadHunt-VAD (saliency).

All heads are computed together. X are a head's centred features of N segments, G = X X^T their N x N Gram matrix
(float64, which Fisher's criterion needs), m the vector of 1/n_a on anomalous and -1/n_n on normal segments, and C
centres within classes. Everything follows from G: X^T m is the difference of the class means; C G m and C G C hold the
scatter. Where a head has fewer dimensions than there are segments, the same matrices in feature space are smaller.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from headhunt_svc.core.clustering import Gram, Points, mutual_information, two_means
from headhunt_svc.core.labelled import Labels
from headhunt_svc.errors import FeatureError

CRITERIA = ("lda", "kl", "mmd", "nmi")
CHUNK_BYTES = 32 << 20  # of float64 work arrays at a time, however many heads and segments there are
MAX_CONDITION = 1e10  # beyond it the error of a plain inverse exceeds the 1e-4 to which the criteria are exact

MIN_STEPS = 8  # a step is between half of the resolution and the whole of it, relative to a number
NEARLY_CONSTANT = 0.01

Values = Float[np.ndarray, "segment head d_head"]


def check_labels(labels: Labels) -> None:
    """Raise FeatureError unless both classes have at least two segments."""
    n_anomalous, n = int(labels.sum()), len(labels)
    if min(n_anomalous, n - n_anomalous) < 2:
        raise FeatureError(
            f"{n_anomalous} anomalous and {n - n_anomalous} normal segments: at least two of each are needed; "
            "add labelled videos to this split"
        )


def resolution(values: Values) -> float:
    """Distance of 1 and the next larger number in the format that features were computed in, as their bits show it.

    bfloat16 and float16 are stored as float32, exactly.
    """
    if values.dtype == np.float64:
        return float(np.finfo(np.float64).eps)
    rows = [np.ascontiguousarray(row, np.float32).view(np.uint32) for row in values]
    for unused_bits, bits in ((0xFFFF, 7), (0x1FFF, 10)):  # bits after the first: of bfloat16, of float16
        if not any((row & unused_bits).any() for row in rows):
            return float(2.0**-bits)
    return float(np.finfo(np.float32).eps)


def usable_heads(values: Values) -> Bool[np.ndarray, " head"]:
    """Which heads are not constant but for rounding (those of layer 0 at the last token can be).

    In bfloat16 a nearly constant head takes a few different values, whose steps would pass for structure: a feature
    must span more than MIN_STEPS steps of its own largest value.

    Raises:
        FeatureError: features that are not finite, or all heads constant.
    """
    low, high = values.min(0), values.max(0)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        broken = np.unique(np.argwhere(~(np.isfinite(low) & np.isfinite(high)))[:, 0])
        raise FeatureError(
            f"features of heads {broken.tolist()[:8]} are not finite: re-run extract, or use dtype float32"
        )
    largest = np.maximum(np.abs(low), np.abs(high))
    least = np.maximum(1e-6 * np.maximum(1.0, largest), MIN_STEPS / 2 * resolution(values) * largest)
    usable = np.asarray((high - low > least).any(1))
    if not usable.any():
        raise FeatureError("every head's features are constant: is the right video and model used?")
    return usable


def nearly_constant(values: Values) -> Bool[np.ndarray, " head"]:
    """Heads most of whose features vary by less than NEARLY_CONSTANT of their own size (root mean square)."""
    result = np.zeros(values.shape[1], bool)
    for head in range(values.shape[1]):
        x = values[:, head].astype(np.float64)
        size = np.sqrt((x**2).mean(0))
        result[head] = np.median(x.std(0) / np.where(size > 0, size, 1.0)) < NEARLY_CONSTANT
    return result


def chunks(values: Values, heads: Int[np.ndarray, " usable"]) -> Iterator[tuple[Int[np.ndarray, " head"], Points]]:
    """Split heads into chunks that fit CHUNK_BYTES: their numbers, and their centred features."""
    n, _, d = values.shape
    size = max(1, CHUNK_BYTES // (8 * (6 * n * n + 3 * n * d)))
    for start in range(0, len(heads), size):
        part = heads[start : start + size]
        x = np.ascontiguousarray(values[:, part].transpose(1, 0, 2), dtype=np.float64)
        x -= x.mean(1, keepdims=True)
        yield part, x


class _Batch:
    """Some heads with their normal segments first, and the matrices that several criteria share."""

    def __init__(self, x: Points, gram: Gram, labels: Labels) -> None:
        self.n, self.d = x.shape[1:]
        order, n, n_normal = np.argsort(labels, kind="stable"), self.n, int((~labels).sum())
        self.gram = np.take(gram.reshape(len(x), -1), (order[:, None] * n + order).ravel(), axis=1).reshape(gram.shape)
        self.normal, self.anomalous = slice(0, n_normal), slice(n_normal, n)
        self.contrast = np.repeat([-1 / n_normal, 1 / (n - n_normal)], [n_normal, n - n_normal])
        self.dual = n <= self.d  # are the matrices over segments the smaller ones?
        if self.dual:
            products = self.gram @ self.contrast
            self.distance = products @ self.contrast  # ||mu_a - mu_n||^2
            self.along = self._centred(products)
            self.within = self._centred(self._centred(self.gram).transpose(0, 2, 1))
        else:
            self.delta = self.contrast @ x[:, order]
            self.centred = self._centred(x[:, order])

    def _centred(
        self, rows: Float64[np.ndarray, "head segment *column"]
    ) -> Float64[np.ndarray, "head segment *column"]:
        """Subtract the mean of each class, along axis 1."""
        result = np.empty_like(rows, order="C")
        for members in (self.normal, self.anomalous):
            np.subtract(rows[:, members], rows[:, members].mean(1, keepdims=True), out=result[:, members])
        return result


def _solve(a: Float64[np.ndarray, "head k k"], v: Float64[np.ndarray, "head k"]) -> Float64[np.ndarray, "head k"]:
    """A^+ v of symmetric matrices; the pseudo-inverse (slow) only where a matrix is close to singular.

    The condition is estimated with a second, random right-hand side, which a near-singular matrix makes very long.
    """
    k = v.shape[1]
    probe = np.random.default_rng(0).standard_normal(k) / np.sqrt(k)
    try:
        solutions = np.linalg.solve(a, np.stack([v, np.broadcast_to(probe, v.shape)], 2))
        condition = np.linalg.norm(a, axis=(1, 2)) * np.linalg.norm(solutions[..., 1], axis=1) * np.sqrt(k)
    except np.linalg.LinAlgError:
        solutions, condition = np.empty((*v.shape, 2)), np.full(len(a), np.inf)
    result, singular = solutions[..., 0], ~(condition < MAX_CONDITION)
    if singular.any():
        result[singular] = (np.linalg.pinv(a[singular], hermitian=True) @ v[singular, :, None])[..., 0]
    return np.asarray(result)


def _fisher(batch: _Batch) -> Float64[np.ndarray, " head"]:
    """LDA: (mu_a - mu_n)^T S_w^-1 (mu_a - mu_n), S_w the within-class scatter (pseudo-inverse if it is singular)."""
    if not batch.dual:
        scatter = batch.centred.transpose(0, 2, 1) @ batch.centred
        return np.asarray((batch.delta * _solve(scatter, batch.delta)).sum(1))
    # centring leaves a null space, which the class indicators span: filled in, the matrix can be inverted
    height = np.trace(batch.within, axis1=1, axis2=2) / batch.n
    filled = batch.within.copy()
    for members in (batch.normal, batch.anomalous):
        filled[:, members, members] += (height / (members.stop - members.start))[:, None, None]
    return np.asarray((_solve(filled, batch.along) ** 2).sum(1))


class _Covariance(NamedTuple):
    """Ledoit-Wolf covariances a S + b I of one class, S the maximum-likelihood one; mu: mean variance."""

    a: Float64[np.ndarray, " head"]
    b: Float64[np.ndarray, " head"]
    mu: Float64[np.ndarray, " head"]


def _ledoit_wolf(norms: Float64[np.ndarray, "head n"], squared: Float64[np.ndarray, " head"], d: int) -> _Covariance:
    """Shrinkage of n centred rows from their squared norms and ||X^T X||_F^2 (Ledoit and Wolf 2004)."""
    n = norms.shape[1]
    mu, delta = norms.sum(1) / (n * d), squared / n**2
    beta = ((norms**2).sum(1) / n - delta) / (d * n)
    delta = (delta - d * mu**2) / d
    beta = np.minimum(beta, delta)
    shrinkage = np.divide(beta, delta, out=np.zeros_like(beta), where=beta != 0) if d > 1 else np.zeros_like(beta)
    return _Covariance(1 - shrinkage, shrinkage * mu, mu)


def _kl_dual(batch: _Batch) -> Float64[np.ndarray, " head"]:
    """(KL(N_a || N_n) + KL(N_n || N_a)) / 2 of the class Gaussians, covariances by Ledoit-Wolf, over segments."""
    d, classes = batch.d, (batch.normal, batch.anomalous)
    grams = [batch.within[:, c, c] for c in classes]
    squared = [(k**2).sum((1, 2)) for k in grams]
    lw = [_ledoit_wolf(np.diagonal(k, axis1=1, axis2=2), q, d) for k, q in zip(grams, squared, strict=True)]
    jitter = 1e-12 * d * np.maximum(lw[0].mu, lw[1].mu)
    total = np.full(len(batch.gram), -2.0 * d)
    for own, other in ((0, 1), (1, 0)):
        # (a S + b I)^-1 = (I - a X^T R X) / b with R = (n b I + a X X^T)^-1 (Woodbury)
        k, n = grams[own], grams[own].shape[1]
        a, b = lw[own].a, lw[own].b + jitter
        r = np.linalg.inv((n * b)[:, None, None] * np.eye(n) + a[:, None, None] * k)
        across, along = batch.within[:, classes[own], classes[other]], batch.along[:, classes[own]]
        scatter = np.trace(grams[other], axis1=1, axis2=2) - a * ((r @ across) * across).sum((1, 2))
        unit = d - a * (r * k).sum((1, 2))
        quadratic = batch.distance - a * ((r @ along[..., None])[..., 0] * along).sum(1)
        total += (lw[other].a / grams[other].shape[1] * scatter + lw[other].b * unit + quadratic) / b
    return np.asarray(total / 4)


def _kl_primal(batch: _Batch) -> Float64[np.ndarray, " head"]:
    """The same, over features."""
    d, covariances, means = batch.d, [], []
    for members in (batch.normal, batch.anomalous):
        x = batch.centred[:, members]
        scatter = x.transpose(0, 2, 1) @ x
        lw = _ledoit_wolf((x**2).sum(2), (scatter**2).sum((1, 2)), d)
        covariances.append((lw.a / x.shape[1])[:, None, None] * scatter + lw.b[:, None, None] * np.eye(d))
        means.append(lw.mu)
    jitter = (1e-12 * d * np.maximum(*means))[:, None, None] * np.eye(d)
    inverses = [np.linalg.inv(c + jitter) for c in covariances]
    trace = (inverses[0] * covariances[1]).sum((1, 2)) + (inverses[1] * covariances[0]).sum((1, 2)) - 2 * d
    quadratic = ((inverses[0] + inverses[1]) @ batch.delta[..., None])[..., 0] * batch.delta
    return np.asarray((trace + quadratic.sum(1)) / 4)


def _mmd_squared(batch: _Batch) -> Float64[np.ndarray, " head"]:
    """Biased MMD^2 with the kernel exp(-d^2 / (2 median(d^2))), the median over all pairs of segments.

    NaN where more than half of the pairs are equal: there is no bandwidth then.
    """
    i, j = np.triu_indices(batch.n, 1)
    norms = np.diagonal(batch.gram, axis1=1, axis2=2)
    squared = norms[:, :, None] + norms[:, None, :] - 2 * batch.gram
    pairs = np.take(squared.reshape(len(norms), -1), i * batch.n + j, axis=1)
    median = np.median(pairs, axis=1, keepdims=True)
    median[median <= 1e-12 * norms.mean(1, keepdims=True)] = np.nan
    np.divide(pairs, -2 * median, out=pairs)
    kernel = np.exp(pairs, out=pairs)
    m = batch.contrast  # MMD^2 = m^T kernel m, and the kernel's diagonal is 1
    return np.asarray(kernel @ (2 * m[i] * m[j]) + (m**2).sum())


def head_criteria(values: Values, labels: Labels, seed: int = 0) -> Float64[np.ndarray, "criterion head"]:
    """The four criteria of every head under one prompt; NaN for a head whose features are constant.

    NMI is that of scikit-learn's 2-means clustering (ten starts from `seed`) and the labels.

    Raises:
        FeatureError: one class only, features that are not finite, or all heads constant.
    """
    check_labels(labels)
    result = np.full((len(CRITERIA), values.shape[1]), np.nan)
    for heads, x in chunks(values, np.flatnonzero(usable_heads(values))):
        gram = x @ x.transpose(0, 2, 1)
        batch = _Batch(x, gram, labels)
        nmi = mutual_information(two_means(x, gram, seed), labels)
        kl = _kl_dual(batch) if batch.dual else _kl_primal(batch)
        result[:, heads] = _fisher(batch), kl, _mmd_squared(batch), nmi
    return result


def saliency(
    criteria: Float64[np.ndarray, "criterion head"], without_scale: Bool[np.ndarray, " head"] | None = None
) -> Float64[np.ndarray, " head"]:
    """Mean of the criteria after min-max normalisation over heads; NaN stays NaN.

    without_scale: heads that do not set the ends of the scale (see `nearly_constant`); beyond an end they count as at
    it. Without others, all heads set them.
    """
    sets = np.isfinite(criteria).all(0)
    if not sets.any():
        return np.full(criteria.shape[1], np.nan)
    if without_scale is not None and (sets & ~without_scale).any():
        sets &= ~without_scale
    low = criteria[:, sets].min(1, keepdims=True)
    width = criteria[:, sets].max(1, keepdims=True) - low
    return np.asarray(np.clip((criteria - low) / np.where(width > 0, width, 1.0), 0, 1).mean(0))


def separability(values: Values, labels: Labels) -> Float64[np.ndarray, " head"]:
    """J / (1 + J) of every head, J = ||mu_a - mu_n||^2 / (s_a^2 + s_n^2), s^2 the total variance of a class (SteerVAD).

    In [0, 1], so that no single head sets the scale; NaN for a head whose features are constant.
    """
    result = np.full(values.shape[1], np.nan)
    for heads, x in chunks(values, np.flatnonzero(usable_heads(values))):
        normal, anomalous = x[:, ~labels], x[:, labels]
        distance = ((anomalous.mean(1) - normal.mean(1)) ** 2).sum(1)
        result[heads] = distance / (distance + normal.var(1).sum(1) + anomalous.var(1).sum(1))
    return result
