"""How far two samples of scored segments are apart, and how far two samples of the same thing would be by chance.

Segments of one video resemble each other, so a window of 300 segments of 24 videos says about as much as 24 videos:
chance is judged by drawing whole blocks of neighbouring segments.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import norm, rankdata, spearmanr, wasserstein_distance

CHANCE_ROWS = 2000  # of a baseline; what they say is carried over to all

Column = Float[np.ndarray, " row"]


@dataclass(frozen=True, slots=True)
class Sample:
    """Segments of one camera: rows of the prediction log as arrays; `block`: which rows belong together.

    prompt_scores: raw scores under each prompt, NaN where a segment was not probed. total, events: of all segments,
    where `block` and the other arrays hold only some of them.
    """

    block: Int[np.ndarray, " row"]
    raw: Column
    in_event: Bool[np.ndarray, " row"]
    brightness: Column
    sharpness: Column
    dropped: Column
    layout: Float[np.ndarray, "row tile"]
    heads: Float[np.ndarray, "row head feature"]
    prompt_scores: Float[np.ndarray, "row prompt"]
    prompt_heads: Float[np.ndarray, "row prompt head"]
    total: int
    events: int

    def __len__(self) -> int:
        return len(self.raw)

    def of(self, rows: Bool[np.ndarray, " row"]) -> "Sample":
        """Some of the rows."""
        arrays = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name not in ("total", "events")}
        return replace(self, **arrays, total=int(rows.sum()), events=int(self.in_event[rows].sum()))

    def some(self, rows: float) -> "Sample":
        """About so many rows (all, if there are no more) in whole blocks, always the same."""
        blocks, sizes = np.unique(self.block, return_counts=True)
        order = np.random.default_rng(0).permutation(len(blocks))
        enough = order[: int(np.searchsorted(np.cumsum(sizes[order]), rows)) + 1]
        return self if len(enough) == len(blocks) else self.of(np.isin(self.block, blocks[enough]))

    @property
    def probed(self) -> "Sample":
        """The rows that were read under all prompts."""
        return self.of(~np.isnan(self.prompt_scores).any(1)) if self.prompt_scores.shape[1] else self.of(self.block < 0)


def joined(parts: Mapping[Any, Sample]) -> Sample:
    """Several samples as one; their blocks stay apart."""
    shift, blocks = 0, []
    for part in parts.values():
        blocks.append(part.block + shift)
        shift += int(part.block.max(initial=-1)) + 1
    names = [f.name for f in fields(Sample) if f.name not in ("block", "total", "events")]
    arrays = {n: np.concatenate([getattr(p, n) for p in parts.values()]) for n in names}
    total, events = (sum(getattr(p, n) for p in parts.values()) for n in ("total", "events"))
    return Sample(block=np.concatenate(blocks), **arrays, total=total, events=events)


def wilson(hits: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share."""
    if n == 0:
        return 0.0, 1.0
    z = float(norm.ppf(0.5 + confidence / 2))
    p, scale = hits / n, 1 + z * z / n
    middle = (p + z * z / (2 * n)) / scale
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / scale
    return float(max(middle - half, 0.0)), float(min(middle + half, 1.0))


def psi(reference: Column, current: Column) -> float:
    """Population stability index over Sturges' bins of both together; empty bins are filled as Evidently does it."""
    edges = np.histogram_bin_edges(np.concatenate([reference, current]), "sturges")
    p, q = (_filled(np.histogram(x, edges)[0] / len(x)) for x in (reference, current))
    return float(((p - q) * np.log(p / q)).sum())


def _filled(shares: Float[np.ndarray, " bin"]) -> Float[np.ndarray, " bin"]:
    least = shares[shares > 0].min()
    return np.where(shares > 0, shares, least / 1e6 if least <= 1e-4 else 1e-4)


def wasserstein(reference: Column, current: Column) -> float:
    """First Wasserstein distance in standard deviations of the reference."""
    return float(wasserstein_distance(reference, current) / max(float(reference.std()), 1e-3))


def head_auc(reference: Sample, current: Sample) -> Float[np.ndarray, " head"]:
    """Of every head, how well a classifier of its features tells the two samples apart: 0.5 not at all, 1 wholly.

    Fisher's discriminant, fitted on every second block and asked about the others, both ways.
    """
    x = np.concatenate([reference.heads, current.heads]).astype(np.float64)
    new = np.repeat([False, True], [len(reference), len(current)])
    # ranks of blocks: halves are alike in size however blocks are numbered
    half = np.concatenate([np.unique(s.block, return_inverse=True)[1] % 2 == 1 for s in (reference, current)])
    found = []
    for train in (half, ~half):
        old_x, new_x = x[train & ~new], x[train & new]
        test, of_new = x[~train], new[~train]
        n_new, n_old = int(of_new.sum()), int((~of_new).sum())
        if min(len(old_x), len(new_x), n_new, n_old) < 2:
            continue
        centred = np.concatenate([old_x - old_x.mean(0), new_x - new_x.mean(0)])
        scatter = np.einsum("nkp,nkq->kpq", centred, centred) / len(centred)
        ridge = 1e-3 * np.trace(scatter, axis1=1, axis2=2) / scatter.shape[1] + 1e-12
        scatter += ridge[:, None, None] * np.eye(scatter.shape[1])
        weight = np.linalg.solve(scatter, (new_x.mean(0) - old_x.mean(0))[..., None])[..., 0]
        ranks = rankdata(np.einsum("nkp,kp->nk", test, weight), axis=0)
        found.append((ranks[of_new].sum(0) - n_new * (n_new + 1) / 2) / (n_new * n_old))
    return np.asarray(np.mean(found, 0)) if found else np.full(x.shape[1], np.nan)


def rank_agreement(scores: Float[np.ndarray, "row prompt"]) -> float:
    """Mean rank correlation of the scores under two prompts."""
    ranks = [spearmanr(scores[:, a], scores[:, b]).statistic for a, b in combinations(range(scores.shape[1]), 2)]
    return float(np.nanmean(ranks)) if np.isfinite(ranks).any() else float("nan")


def prompt_figures(sample: Sample, threshold: float) -> dict[str, float]:
    """What the probed segments of a sample say: spread of scores over prompts, decisions that flip, agreement."""
    probed = sample.probed
    above = probed.prompt_scores > threshold
    return {
        "prompt_std": float(probed.prompt_scores.std(1).mean()),
        "flip_rate": float((above.any(1) & ~above.all(1)).mean()),
        "rank_agreement": rank_agreement(probed.prompt_scores),
    }


def instability(sample: Sample) -> Float[np.ndarray, " head"]:
    """Of every head, how much its contribution to the logit depends on the prompt: mean std over prompts."""
    return np.asarray(sample.probed.prompt_heads.std(1).mean(0))


def signals(reference: Sample, current: Sample, threshold: float, min_probed: int) -> dict[str, float]:
    """Every signal of drift by name; 0 is none, more is more. A signal that cannot be told is not there."""
    found = {
        "score_psi": psi(reference.raw, current.raw),
        "score_wasserstein": wasserstein(reference.raw, current.raw),
        "event_rate": abs(current.events / current.total - reference.events / reference.total),
    }
    if reference.heads.shape[1:].count(0) == 0:
        found["heads"] = 2 * float(np.max(head_auc(reference, current))) - 1
    for name in ("brightness", "sharpness"):
        old, new = (x[~np.isnan(x)] for x in (getattr(reference, name), getattr(current, name)))
        if min(len(old), len(new)) > 1:
            found[name] = wasserstein(old, new)
    if reference.layout.shape[1]:
        a, b = (np.nanmean(s.layout, 0) for s in (reference, current))
        if a.std() > 1e-3 and b.std() > 1e-3:
            found["view"] = float(1 - np.corrcoef(a, b)[0, 1])
    lost = [float((s.dropped > 0).mean()) for s in (reference, current)]
    found["dropped_frames"] = max(lost[1] - lost[0], 0.0)
    if min(len(reference.probed), len(current.probed)) >= min_probed:
        old_prompts, new_prompts = (prompt_figures(s, threshold) for s in (reference, current))
        found |= {k: abs(new_prompts[k] - old_prompts[k]) for k in old_prompts}
        old_heads, new_heads = instability(reference), instability(current)
        found["head_instability"] = float(np.abs(np.log((new_heads + 1e-3) / (old_heads + 1e-3))).max())
    return {k: v for k, v in found.items() if np.isfinite(v)}


def chance(
    reference: Sample, blocks: int, threshold: float, min_probed: int, draws: int, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation by which chance moves every signal of a window of `blocks` blocks.

    Measured between some blocks of the reference (half of them at most) and its others, and carried over to the whole
    reference and the window as the standard error of a difference is: with the root of 1/n + 1/m.
    """
    rng = np.random.default_rng(seed)
    whole = len(np.unique(reference.block))
    reference = reference.some(CHANCE_ROWS)
    names = np.unique(reference.block)
    n, some = len(names), min(blocks, len(names) // 2)
    scale = float(np.sqrt((1 / whole + 1 / blocks) / (1 / some + 1 / (n - some))))
    found: dict[str, list[float]] = {}
    for _ in range(draws):
        drawn = rng.choice(names, some, replace=False)
        rows = np.isin(reference.block, drawn)
        for name, value in signals(reference.of(~rows), reference.of(rows), threshold, min_probed).items():
            found.setdefault(name, []).append(value)
    return {name: (scale * float(np.mean(v)), scale * float(np.std(v))) for name, v in found.items()}
