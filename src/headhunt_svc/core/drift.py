"""How far two samples of scored segments differ, and how far two samples of the same footage differ by chance.

Segments of one video resemble each other: 300 segments of 24 videos say about as much as 24 videos. So chance is
measured by drawing whole blocks of neighbouring segments, as a block bootstrap does.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import binomtest, spearmanr, wasserstein_distance

from headhunt_svc.core.metrics import ranking_auc
from headhunt_svc.core.samples import Column, Sample

CHANCE_ROWS = 2000  # rows of a baseline that chance is measured on; the result is scaled to the whole baseline
LEAST_STD = 1e-3  # keeps ratios finite where a column or a head is constant


def event_interval(sample: Sample) -> tuple[float, float]:
    """Wilson's 95 % interval of the event rate; without any segment, from 0 to 1."""
    if sample.total == 0:
        return 0.0, 1.0
    interval = binomtest(sample.events, sample.total).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


# Both distances are defined as in Evidently's stat tests, which draw the page (tests/unit/core/test_drift.py compares
# them). They are computed here because a limit needs the same distance of many draws, and `core` imports no Evidently.
def psi(reference: Column, current: Float[np.ndarray, " current_row"]) -> float:
    """Population stability index over Sturges' bins of both samples; empty bins are filled as Evidently does."""
    edges = np.histogram_bin_edges(np.concatenate([reference, current]), "sturges")
    p, q = (fill_empty_bins(np.histogram(x, edges)[0] / len(x)) for x in (reference, current))
    return float(((p - q) * np.log(p / q)).sum())


def fill_empty_bins(shares: Float[np.ndarray, " bin"]) -> Float[np.ndarray, " bin"]:
    """Shares of which none is 0, as Evidently fills them."""
    least = shares[shares > 0].min()
    return np.where(shares > 0, shares, least / 1e6 if least <= 1e-4 else 1e-4)


def wasserstein(reference: Column, current: Float[np.ndarray, " current_row"]) -> float:
    """First Wasserstein distance in standard deviations of the reference."""
    return float(wasserstein_distance(reference, current) / max(float(reference.std()), LEAST_STD))


def head_auc(reference: Sample, current: Sample) -> Float[np.ndarray, " head"]:
    """For every head: how well a classifier of its features tells the samples apart, from 0.5 (not at all) to 1.

    The classifier is Fisher's discriminant, fitted on every second block and tested on the others, in both directions.
    """
    x = np.concatenate([reference.heads, current.heads]).astype(np.float64)
    is_current = np.repeat([False, True], [len(reference), len(current)])
    half = np.concatenate([_every_second_block(reference), _every_second_block(current)])
    aucs = []
    for train in (half, ~half):
        counts = [int((rows & label).sum()) for rows in (train, ~train) for label in (is_current, ~is_current)]
        if min(counts) >= 2:
            weight = _fisher(x[train & ~is_current], x[train & is_current])
            aucs.append(ranking_auc(np.einsum("nkp,kp->nk", x[~train], weight).T, is_current[~train]))
    return np.asarray(np.mean(aucs, 0)) if aucs else np.full(x.shape[1], np.nan)


def _every_second_block(sample: Sample) -> Bool[np.ndarray, " row"]:
    """In the order of time, so that a change of a few hours is in both halves, whatever the numbers of the blocks."""
    names, block = np.unique(sample.block, return_inverse=True)
    begin = np.full(len(names), np.inf)
    np.minimum.at(begin, block, sample.time)
    return np.asarray(np.argsort(np.argsort(begin, kind="stable"))[block] % 2 == 1)


def _fisher(
    reference: Float[np.ndarray, "row head feature"], current: Float[np.ndarray, "current_row head feature"]
) -> Float[np.ndarray, "head feature"]:
    """Fisher's discriminant for every head, with a small ridge."""
    centred = np.concatenate([reference - reference.mean(0), current - current.mean(0)])
    scatter = np.einsum("nkp,nkq->kpq", centred, centred) / len(centred)
    ridge = 1e-3 * np.trace(scatter, axis1=1, axis2=2) / scatter.shape[1] + 1e-12
    scatter += ridge[:, None, None] * np.eye(scatter.shape[1])
    return np.asarray(np.linalg.solve(scatter, (current.mean(0) - reference.mean(0))[..., None])[..., 0])


def head_direction(reference: Sample, current: Sample, head: int) -> Float[np.ndarray, " feature"]:
    """The direction in a head's features in which the samples differ most."""
    parts = (s.heads[:, head : head + 1].astype(np.float64) for s in (reference, current))
    return np.asarray(_fisher(*parts)[0])


def rank_agreement(scores: Float[np.ndarray, "row prompt"]) -> float:
    """Mean rank correlation between the scores under two prompts."""
    ranks = [spearmanr(scores[:, a], scores[:, b]).statistic for a, b in combinations(range(scores.shape[1]), 2)]
    return float(np.nanmean(ranks)) if np.isfinite(ranks).any() else float("nan")


def prompt_figures(sample: Sample, threshold: float) -> dict[str, float]:
    """How much scores, decisions and ranks of the probed segments depend on the prompt."""
    probed = sample.probed
    above = probed.prompt_scores > threshold
    return {
        "prompt_std": float(probed.prompt_scores.std(1).mean()),
        "flip_rate": float((above.any(1) & ~above.all(1)).mean()),
        "rank_agreement": rank_agreement(probed.prompt_scores),
    }


def instability_ratio(reference: Sample, current: Sample) -> Float[np.ndarray, " head"]:
    """For every head: its instability in the window over that in the baseline.

    Instability is the standard deviation over prompts of what the head adds to the logit, mean over segments.
    """
    before, now = (s.probed.prompt_heads.std(1).mean(0) for s in (reference, current))
    return np.asarray((now + LEAST_STD) / (before + LEAST_STD))


def signals(reference: Sample, current: Sample, threshold: float, min_probed: int) -> dict[str, float]:
    """All signals of drift by name: 0 is no difference, larger is more. Unknown ones are left out.

    threshold: for both samples, so that one that was changed since is no drift.
    """
    values = {
        "score_psi": psi(reference.raw, current.raw),
        "score_wasserstein": wasserstein(reference.raw, current.raw),
        "event_rate": abs(current.share_above(threshold) - reference.share_above(threshold)),
    }
    if all(reference.heads.shape[1:]):
        values["heads"] = 2 * float(np.max(head_auc(reference, current))) - 1
    values |= _picture_signals(reference, current)
    if min(len(reference.probed), len(current.probed)) >= min_probed:
        before, now = (prompt_figures(s, threshold) for s in (reference, current))
        values |= {name: abs(now[name] - before[name]) for name in before}
        values["head_instability"] = float(np.abs(np.log(instability_ratio(reference, current))).max())
    return {name: value for name, value in values.items() if np.isfinite(value)}


def _picture_signals(reference: Sample, current: Sample) -> dict[str, float]:
    values = {}
    for name in ("brightness", "sharpness"):
        before, now = (x[~np.isnan(x)] for x in (getattr(reference, name), getattr(current, name)))
        if min(len(before), len(now)) > 1:
            values[name] = wasserstein(before, now)
    if reference.layout.shape[1]:
        before, now = (np.nanmean(s.layout, 0) for s in (reference, current))
        if min(before.std(), now.std()) > 1e-3:  # a picture of one brightness has no layout
            values["view"] = float(1 - np.corrcoef(before, now)[0, 1])
    before_share, now_share = (float((s.dropped > 0).mean()) for s in (reference, current))
    values["dropped_frames"] = max(now_share - before_share, 0.0)
    return values


@dataclass(frozen=True, slots=True)
class Chance:
    """Mean and standard deviation of a signal between samples that differ only by chance."""

    mean: float
    std: float


def chance(reference: Sample, blocks: int, threshold: float, min_probed: int, draws: int) -> dict[str, Chance]:
    """By how much chance alone moves every signal of a window with this many blocks.

    Measured between randomly drawn blocks of the reference (at most half of them) and its other blocks; scaled to the
    sizes of the whole reference and the window as the standard error of a difference is: sqrt(1/n + 1/m).
    """
    rng = np.random.default_rng(0)
    whole = reference.n_blocks
    reference = reference.subsample(CHANCE_ROWS)
    names = np.unique(reference.block)
    drawn = min(blocks, len(names) // 2)
    scale = float(np.sqrt((1 / whole + 1 / blocks) / (1 / drawn + 1 / (len(names) - drawn))))
    values: dict[str, list[float]] = {}
    for _ in range(draws):
        rows = np.isin(reference.block, rng.choice(names, drawn, replace=False))
        for name, value in signals(reference.where(~rows), reference.where(rows), threshold, min_probed).items():
            values.setdefault(name, []).append(value)
    return {name: Chance(scale * float(np.mean(v)), scale * float(np.std(v))) for name, v in values.items()}
