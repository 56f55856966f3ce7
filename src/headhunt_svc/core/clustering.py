"""2-means clustering of many heads at once: the same steps as scikit-learn's KMeans, on Gram matrices.

scikit-learn's random draws do not depend on the data, so every head gets the same starts as there. Its own KMeans is
mostly overhead per head. Measured with `python benchmarks/identification.py --clusters` (two CPU cores, in use by
others; two runs), this file against scikit-learn, beside the time of the other three criteria:

    criteria `paper`, 784 heads x 128, 8 prompts, 100 segments: 1.3 to 2.4 s against 31 to 72 s (others: 4 to 6 s)
    a small model, 96 heads x 16, 4 prompts, 571 segments: 0.5 to 1.2 s against 2.5 to 2.7 s (others: 2 to 3 s)

For `robust`, which computes these criteria for the report only, scikit-learn's would do; `paper` needs this one.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int
from sklearn.cluster import KMeans

N_INIT, MAX_ITERATIONS, TOLERANCE = 10, 300, 1e-4  # scikit-learn's defaults (n_init: before version 1.4)

Points = Float64[np.ndarray, "head segment d_head"]
Gram = Float64[np.ndarray, "head segment segment"]
Clusters = Bool[np.ndarray, "head start segment"]
Rows = Int[np.ndarray, " run"]


class _Products:
    """X X^T v for some heads, through whichever of X and the Gram matrix takes fewer operations."""

    def __init__(self, x: Points, gram: Gram) -> None:
        self._primal = 2 * x.shape[2] < x.shape[1]
        self._x = x if self._primal else gram

    def __call__(self, v: Float64[np.ndarray, "head start segment"]) -> Float64[np.ndarray, "head start segment"]:
        return np.asarray((v @ self._x) @ self._x.transpose(0, 2, 1) if self._primal else v @ self._x)

    def with_some(self, index: Int[np.ndarray, "head start"]) -> Float64[np.ndarray, "head start segment"]:
        """Products of every segment with some of them, their numbers given for each head."""
        some = np.take_along_axis(self._x, index[..., None], 1)
        return np.asarray(some @ self._x.transpose(0, 2, 1) if self._primal else some)

    def only(self, heads: Bool[np.ndarray, " head"]) -> "_Products":
        """The products of some of the heads."""
        part = object.__new__(_Products)
        part._x, part._primal = self._x[heads], self._primal
        return part


def _starts(x: Points, products: _Products, seed: int) -> Clusters:
    """Clusters by k-means++ with scikit-learn's draws: a first point, and the better of two distant candidates."""
    n_heads, n, _ = x.shape
    random, norms = np.random.RandomState(seed), (x**2).sum(2)
    draws = [(random.choice(n, p=np.full(n, 1 / n)), random.uniform(size=2)) for _ in range(N_INIT)]

    def squared(index: Int[np.ndarray, "head start"]) -> Float64[np.ndarray, "head start segment"]:
        own = np.take_along_axis(norms, index, 1)[..., None]
        return np.asarray(np.maximum(own + norms[:, None] - 2 * products.with_some(index), 0))

    closest = squared(np.tile([first for first, _ in draws], (n_heads, 1)))
    sums, total = np.cumsum(closest, axis=2), closest.sum(2)
    second, least = closest, np.full(total.shape, np.inf)
    for candidate in range(2):
        targets = np.array([share[candidate] for _, share in draws]) * total
        distance = squared(np.minimum((sums < targets[..., None]).sum(2), n - 1))
        potential = np.minimum(closest, distance).sum(2)
        second = np.where((potential < least)[..., None], distance, second)
        least = np.minimum(potential, least)
    return np.asarray(second < closest)


@dataclass(slots=True)
class _Step:
    """One M-step: members of the first cluster, their number and the others', x . s of every point, and |s|^2."""

    member: Float64[np.ndarray, "head start segment"]
    n_1: Float64[np.ndarray, "head start"]
    n_0: Float64[np.ndarray, "head start"]
    dots: Float64[np.ndarray, "head start segment"]
    length: Float64[np.ndarray, "head start"]

    @classmethod
    def from_clusters(cls, clusters: Clusters, products: _Products) -> "_Step":
        member = clusters.astype(np.float64)
        n_1 = member.sum(2)
        dots = products(member)
        n_0 = np.maximum(clusters.shape[2] - n_1, 1)
        return cls(member, np.maximum(n_1, 1), n_0, dots, np.vecdot(member, dots))

    def nearest(self) -> Clusters:
        return np.asarray(self.dots > (self.length * (1 / self.n_1 - 1 / self.n_0) / 2)[..., None])

    def shift(self, old: "_Step") -> Float64[np.ndarray, "head start"]:
        """Sum of the squared distances by which the two centres have moved."""
        cross = np.vecdot(old.member, self.dots)
        pairs = ((self.n_1, old.n_1), (self.n_0, old.n_0))
        distances = [self.length / a**2 - 2 * cross / (a * b) + old.length / b**2 for a, b in pairs]
        return np.asarray(distances[0] + distances[1])

    def explained(
        self, runs: tuple[Rows, Rows], nearest: Bool[np.ndarray, "run segment"]
    ) -> Float64[np.ndarray, " run"]:
        """Sum of the points' squared lengths minus the inertia, of some runs (head and start of each)."""
        n_1, n_0, members = self.n_1[runs], self.n_0[runs], nearest.sum(1)
        own = np.vecdot(nearest.astype(np.float64), self.dots[runs])
        norms = members / n_1**2 + (nearest.shape[1] - members) / n_0**2
        return np.asarray(2 * own * (1 / n_1 + 1 / n_0) - norms * self.length[runs])

    def only(self, heads: Bool[np.ndarray, " head"]) -> "_Step":
        return _Step(self.member[heads], self.n_1[heads], self.n_0[heads], self.dots[heads], self.length[heads])


def two_means(x: Points, gram: Gram, seed: int) -> Bool[np.ndarray, "head segment"]:
    """The clusters of KMeans(2, n_init=10, random_state=seed) of every head; x centred, gram its Gram matrices.

    With s the sum of one cluster's n_1 points, the centres are s / n_1 and -s / n_0, and a point x is nearer to the
    first of them if x . s > |s|^2 (1 / n_1 - 1 / n_0) / 2: one product with s an iteration is all that is needed.
    """
    n_heads, n, d = x.shape
    tolerance = TOLERANCE * (x**2).sum((1, 2)) / (n * d)
    products = _Products(x, gram)
    clusters = _starts(x, products, seed)
    final, explained = clusters.copy(), np.zeros((n_heads, N_INIT))
    remaining, going, empty = np.arange(n_heads), np.ones((n_heads, N_INIT), bool), np.zeros(n_heads, bool)
    old: _Step | None = None
    for iteration in range(MAX_ITERATIONS):
        new = _Step.from_clusters(clusters, products)
        empty[remaining] |= (going & ~(clusters.any(2) & (new.n_1 < n))).any(1)
        nearest = new.nearest()
        ended = (nearest == clusters).all(2) | (iteration == MAX_ITERATIONS - 1)
        if old is not None:
            ended |= new.shift(old) <= tolerance[remaining, None]
        heads, starts = np.nonzero(going & ended)
        final[remaining[heads], starts] = nearest[heads, starts]
        explained[remaining[heads], starts] = new.explained((heads, starts), nearest[heads, starts])
        going &= ~ended
        unsettled = going.any(1) & ~empty[remaining]
        if not unsettled.any():
            break
        if 2 * unsettled.sum() < len(unsettled):  # drop the settled heads; not always, since it copies the others
            remaining, going, nearest = remaining[unsettled], going[unsettled], nearest[unsettled]
            new, products = new.only(unsettled), products.only(unsettled)
        clusters, old = nearest, new
    best = explained.argmax(1)  # the least inertia; of equals the first
    result = final[np.arange(n_heads), best]
    for head in np.flatnonzero(empty):  # a cluster ran empty: leave that case to scikit-learn
        result[head] = KMeans(2, random_state=seed, n_init=N_INIT).fit_predict(x[head]).astype(bool)
    return np.asarray(result)


def mutual_information(
    clusters: Bool[np.ndarray, "head segment"], labels: Bool[np.ndarray, " segment"]
) -> Float64[np.ndarray, " head"]:
    """Normalised mutual information of each clustering with the labels (arithmetic mean of the entropies)."""
    n = len(labels)
    joint = np.stack([(c & group).sum(1) for c in (clusters, ~clusters) for group in (labels, ~labels)], 1) / n

    def entropy(p: Float64[np.ndarray, "head outcome"]) -> Float64[np.ndarray, " head"]:
        return np.asarray(-(p * np.log(np.where(p > 0, p, 1.0))).sum(1))

    of_clusters, of_labels = joint.reshape(-1, 2, 2).sum(2), joint.reshape(-1, 2, 2).sum(1)
    shared = entropy(of_clusters) + entropy(of_labels) - entropy(joint)
    return np.asarray(np.maximum(shared, 0.0) / ((entropy(of_clusters) + entropy(of_labels)) / 2))
