"""Finding heads: all at once against one after the other with scikit-learn and scipy, and which criteria find more.

    python benchmarks/identification.py                       # time and memory, same inputs; about ten minutes
    python benchmarks/identification.py --json out.json       # the figures as JSON
    python benchmarks/identification.py --recovery            # planted heads found by `paper` and by `robust`
    python benchmarks/identification.py --clusters            # 2-means: ours against scikit-learn's KMeans

Each measurement runs in a process of its own, so that its peak memory is its own. The loop is timed on some
of the heads and scaled up: it takes every head the same time.
"""

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from peak import peak_bytes
from rich.console import Console
from rich.table import Table
from scipy.spatial.distance import pdist, squareform
from sklearn.cluster import KMeans
from sklearn.covariance import ledoit_wolf
from sklearn.metrics import normalized_mutual_info_score

from headhunt_svc.core.clustering import two_means
from headhunt_svc.core.identification import choose_heads
from headhunt_svc.core.saliency import chunks, head_criteria
from headhunt_svc.params import IdentifyParams

HEADS, D_HEAD, PROMPTS, INFORMATIVE = 784, 128, 8, 5
LOOP_HEADS = 98  # of each prompt, evenly spread


def planted(
    seed: int, n: int, n_videos: int, n_heads: int = HEADS, d: int = D_HEAD, prompts: int = 2, strength: float = 5.0
) -> tuple[list[np.ndarray], np.ndarray, list[str], set[int]]:
    """Features under every prompt, labels, videos, and the heads that know: INFORMATIVE of them.

    Every head sees four scene factors (one value a video) and four that change with the segment, each in a direction of
    its own, and has its own scale; an informative head moves by `strength` in one direction (a factor by about 8).
    """
    rng = np.random.default_rng(seed)
    video = np.arange(n) * n_videos // n
    labels = video % 2 == 1
    informative = rng.choice(n_heads, INFORMATIVE, replace=False)
    factors = np.concatenate([rng.normal(size=(n_videos, 4))[video], rng.normal(size=(n, 4))], axis=1)
    loadings = 0.7 * rng.normal(size=(8, n_heads, d)) * rng.lognormal(sigma=0.5, size=(8, n_heads, 1))
    clip = np.tensordot(factors, loadings, axes=1) + rng.normal(size=(n, n_heads, d))
    signal = np.zeros((n_heads, d))
    signal[informative] = strength * rng.normal(size=(INFORMATIVE, d)) / np.sqrt(d)
    clip += labels[:, None, None] * signal
    scale = rng.lognormal(sigma=0.7, size=(n_heads, 1))
    values = [((clip + 0.5 * rng.normal(size=clip.shape)) * scale).astype(np.float32) for _ in range(prompts)]
    return values, labels, [f"video {v}" for v in video], set(informative.tolist())


def recovered(seed: int, n: int, criteria: str) -> int:
    """How many of the informative heads are among the chosen five; segments of 20 videos."""
    values, labels, videos, informative = planted(seed, n, 20)
    params = IdentifyParams.model_validate({"criteria": criteria, "top_k": INFORMATIVE})
    return len(informative & set(choose_heads(values, labels, videos, params).chosen))


def loop(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The paper's criteria, float64[criterion, head], the plain way."""
    found = []
    for head in range(values.shape[1]):
        z = values[:, head].astype(np.float64)
        n, a = z[~labels], z[labels]
        difference = a.mean(0) - n.mean(0)
        scatter = (n - n.mean(0)).T @ (n - n.mean(0)) + (a - a.mean(0)).T @ (a - a.mean(0))
        lda = difference @ np.linalg.pinv(scatter, hermitian=True) @ difference
        cov_n, cov_a = ledoit_wolf(n)[0], ledoit_wolf(a)[0]
        inverse_n, inverse_a = np.linalg.inv(cov_n), np.linalg.inv(cov_a)
        trace = np.trace(inverse_n @ cov_a) + np.trace(inverse_a @ cov_n) - 2 * len(difference)
        kl = 0.25 * (trace + difference @ (inverse_n + inverse_a) @ difference)
        pairs = pdist(z, "sqeuclidean")
        kernel = np.exp(-squareform(pairs) / (2 * np.median(pairs)))
        within = kernel[~labels][:, ~labels].mean() + kernel[labels][:, labels].mean()
        mmd = within - 2 * kernel[~labels][:, labels].mean()
        clusters = KMeans(2, random_state=0, n_init=10).fit_predict(z)
        found.append((lda, kl, mmd, normalized_mutual_info_score(labels, clusters)))
    return np.array(found).T


def _prompts(n: int) -> tuple[list[np.ndarray], np.ndarray, list[str]]:
    """Features as `identify` holds them: every prompt at once; drawn piecewise, so that drawing takes no memory."""
    rng = np.random.default_rng(0)
    video = np.arange(n) * 20 // n
    values = []
    for _ in range(PROMPTS):
        of = np.empty((n, HEADS, D_HEAD), np.float32)
        for segment in of:
            rng.standard_normal(out=segment, dtype=np.float32)
        values.append(of)
    return values, video % 2 == 1, [f"video {v}" for v in video]


def ours(n: int, criteria: str) -> dict[str, Any]:
    """Seconds for the choice from all heads and prompts, and peak memory of the process with the features in it."""
    values, labels, videos = _prompts(n)
    params = IdentifyParams.model_validate({"criteria": criteria})
    start = time.perf_counter()
    choose_heads(values, labels, videos, params)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_gib": peak_bytes() / 2**30}


def side_by_side(n: int) -> dict[str, Any]:
    """Loop and batch in turns, prompt by prompt: seconds for everything, and the largest relative difference."""
    values, labels, _ = _prompts(n)
    some = np.arange(0, HEADS, HEADS // LOOP_HEADS)
    head_criteria(values[0][:, :8], labels), loop(values[0][:, :2], labels)  # warm
    plain = batched = off = 0.0
    for of in values:
        start = time.perf_counter()
        expected = loop(of[:, some], labels)
        between = time.perf_counter()
        found = head_criteria(of, labels)
        batched += time.perf_counter() - between
        plain += (between - start) * HEADS / len(some)
        off = max(
            off,
            float(np.abs(found[:3, some] / expected[:3] - 1).max()),
            float(np.abs(found[3, some] - expected[3]).max()),
        )
    return {"loop_s": plain, "batched_s": batched, "largest_difference": off}


def alone(what: Callable[..., dict[str, Any]], *args: Any) -> dict[str, Any]:
    """`what` in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(what, args)


def recovery(seeds: int) -> None:
    """Planted heads among the chosen five, mean over seeds, for fewer and more segments."""
    table = Table("segments", "paper", "robust", title=f"of {INFORMATIVE} planted among {HEADS} heads, {seeds} seeds")
    for n in (40, 80, 120):
        means = [np.mean([recovered(seed, n, c) for seed in range(seeds)]) for c in ("paper", "robust")]
        table.add_row(str(n), *(f"{m:.1f}" for m in means))
    Console().print(table)


def clusters() -> None:
    """Seconds of 2-means of all heads and prompts, by core/clustering.py and scikit-learn, and of all criteria."""
    title = "2-means of all heads and prompts"
    table = Table(
        "heads x d_head", "prompts", "n", "all criteria", "two_means", "KMeans", "all with KMeans", title=title
    )
    for n_heads, d, prompts, n, loop_heads in ((HEADS, D_HEAD, PROMPTS, 100, LOOP_HEADS), (96, 16, 4, 571, 96)):
        values, labels, _, _ = planted(0, n, 20, n_heads, d, 1)
        some = np.arange(0, n_heads, n_heads // loop_heads)
        head_criteria(values[0][:, :8], labels)  # warm
        start = time.perf_counter()
        head_criteria(values[0], labels)
        whole = prompts * (time.perf_counter() - start)
        ours = theirs = 0.0
        for _, x in chunks(values[0], np.arange(n_heads)):
            gram = x @ x.transpose(0, 2, 1)
            start = time.perf_counter()
            two_means(x, gram, 0)
            ours += prompts * (time.perf_counter() - start)
        for head in some:
            z = values[0][:, head].astype(np.float64)
            start = time.perf_counter()
            KMeans(2, random_state=0, n_init=10).fit_predict(z)
            theirs += prompts * (time.perf_counter() - start) * n_heads / len(some)
        seconds = (whole, ours, theirs, whole - ours + theirs)
        table.add_row(f"{n_heads} x {d}", str(prompts), str(n), *(f"{s:.1f} s" for s in seconds))
    Console().print(table)


def main() -> None:
    """Print the table; with --json write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--recovery", action="store_true", help="planted heads instead of time and memory")
    parser.add_argument("--clusters", action="store_true", help="k-means instead of time and memory")
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    if args.recovery:
        recovery(args.seeds)
        return
    if args.clusters:
        clusters()
        return
    turns = alone(side_by_side, 100)
    figures = {**turns, "ratio_loop": turns["loop_s"] / turns["batched_s"]}
    table = Table("what", "n", "seconds", "peak GiB", title=f"{HEADS} heads x {D_HEAD}, {PROMPTS} prompts")
    table.add_row("loop (scikit-learn, scipy), paper's criteria", "100", f"{turns['loop_s']:.1f}", "")
    table.add_row("all heads at once, paper's criteria", "100", f"{turns['batched_s']:.1f}", "")
    for n in (100, 800):
        for criteria in ("paper", "robust"):
            found = alone(ours, n, criteria)
            figures |= {f"{criteria}_n{n}_s": found["seconds"], f"{criteria}_n{n}_gib": found["peak_gib"]}
            table.add_row(f"choose_heads, {criteria}", str(n), f"{found['seconds']:.1f}", f"{found['peak_gib']:.2f}")
    figures["peak_gib_n800"] = max(figures["paper_n800_gib"], figures["robust_n800_gib"])
    Console().print(table)
    Console().print(f"ratio {figures['ratio_loop']:.1f}, largest difference {figures['largest_difference']:.1e}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
