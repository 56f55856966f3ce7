"""How well one head separates normal from anomalous: the four criteria of HeadHunt-VAD, section on saliency."""

import numpy as np
from jaxtyping import Bool, Float, Float64
from scipy.spatial.distance import pdist, squareform
from sklearn.cluster import KMeans
from sklearn.covariance import ledoit_wolf
from sklearn.metrics import normalized_mutual_info_score

from headhunt_svc.errors import FeatureError

CRITERIA = ("lda", "kl", "mmd", "nmi")
Features = Float64[np.ndarray, "segment d_head"]


def fisher_criterion(normal: Features, anomalous: Features) -> float:
    """LDA: (mu_a - mu_n)^T S_w^-1 (mu_a - mu_n), S_w the within-class scatter (pseudo-inverse if it is singular)."""
    difference = anomalous.mean(0) - normal.mean(0)
    scatter = sum(((x - x.mean(0)).T @ (x - x.mean(0)) for x in (normal, anomalous)), np.zeros((1, 1)))
    return float(difference @ np.linalg.pinv(scatter, hermitian=True) @ difference)


def symmetric_kl(normal: Features, anomalous: Features) -> float:
    """(KL(N_a || N_n) + KL(N_n || N_a)) / 2 of the class Gaussians, covariances by Ledoit-Wolf shrinkage."""
    cov_n, cov_a = ledoit_wolf(normal)[0], ledoit_wolf(anomalous)[0]
    jitter = 1e-12 * max(np.trace(cov_n), np.trace(cov_a)) * np.eye(len(cov_n))
    inverse_n, inverse_a = np.linalg.inv(cov_n + jitter), np.linalg.inv(cov_a + jitter)
    difference = anomalous.mean(0) - normal.mean(0)
    trace = np.trace(inverse_n @ cov_a) + np.trace(inverse_a @ cov_n) - 2 * len(difference)
    return float(0.25 * (trace + difference @ (inverse_n + inverse_a) @ difference))


def mmd_squared(normal: Features, anomalous: Features) -> float:
    """Biased MMD^2 with the kernel exp(-d^2 / (2 median(d^2))), the median over all pairs of segments."""
    pairs = pdist(np.concatenate([normal, anomalous]), "sqeuclidean")
    kernel = np.exp(-squareform(pairs) / (2 * np.median(pairs)))
    n = len(normal)
    return float(kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean())


def cluster_nmi(features: Features, labels: Bool[np.ndarray, " segment"], seed: int) -> float:
    """Normalised mutual information between a 2-means clustering and the labels."""
    clusters = KMeans(2, random_state=seed, n_init=10).fit_predict(features)
    return float(normalized_mutual_info_score(labels, clusters))


def check_labels(labels: Bool[np.ndarray, " segment"]) -> None:
    """Raise FeatureError unless both classes have at least two segments."""
    n_anomalous, n = int(labels.sum()), len(labels)
    if min(n_anomalous, n - n_anomalous) < 2:
        raise FeatureError(
            f"{n_anomalous} anomalous and {n - n_anomalous} normal segments: at least two of each are needed; "
            "add labelled videos to this split"
        )


def head_criteria(
    values: Float[np.ndarray, "segment head d_head"], labels: Bool[np.ndarray, " segment"], seed: int = 0
) -> Float64[np.ndarray, "criterion head"]:
    """The four criteria of every head under one prompt; NaN for a head whose features are constant.

    Raises:
        FeatureError: one class only, features that are not finite, or all heads constant.
    """
    check_labels(labels)
    if not np.isfinite(values).all():
        bad = np.unique(np.argwhere(~np.isfinite(values))[:, 1])
        raise FeatureError(f"features of heads {bad.tolist()[:8]} are not finite: re-run extract, or use dtype float32")
    result = np.full((len(CRITERIA), values.shape[1]), np.nan)
    for head in range(values.shape[1]):
        z = values[:, head].astype(np.float64)
        if z.std(0).max() <= 1e-6 * max(1.0, float(np.abs(z).max())):
            continue  # layer 0 at the last token can be constant: such a head says nothing
        normal, anomalous = z[~labels], z[labels]
        result[:, head] = (
            fisher_criterion(normal, anomalous),
            symmetric_kl(normal, anomalous),
            mmd_squared(normal, anomalous),
            cluster_nmi(z, labels, seed),
        )
    if np.isnan(result).all():
        raise FeatureError("every head's features are constant: is the right video and model used?")
    return result


def saliency(criteria: Float64[np.ndarray, "criterion head"]) -> Float64[np.ndarray, " head"]:
    """Mean of the criteria after min-max normalisation over heads; NaN stays NaN."""
    low = np.nanmin(criteria, axis=1, keepdims=True)
    width = np.nanmax(criteria, axis=1, keepdims=True) - low
    return np.asarray(((criteria - low) / np.where(width > 0, width, 1.0)).mean(0))
