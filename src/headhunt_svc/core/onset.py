"""When in a window a signal began to differ from the baseline: the first block of the stretch that differs most.

Every signal is read as one number a segment. How much likelier a segment is after the change than before it is the
logarithm of the ratio of two histograms; summed over blocks in the order of time, the stretch with the largest sum is
the change (Page's CUSUM, for a change that may end within the window).
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import rankdata

from headhunt_svc.core.drift import fill_empty_bins, head_auc, head_direction, instability_ratio
from headhunt_svc.core.samples import Column, Sample

ROUNDS = 10  # what comes after the change is learnt from the stretch, and the stretch from that; few rounds are needed
Pair = tuple[Column, Float[np.ndarray, " current_row"]]  # of the baseline and of the window


def first_bad(reference: Sample, current: Sample, signal: str, threshold: float) -> float:
    """The Unix time at which the first block begins that a signal beyond its limit comes from."""
    pair = _of_prompts(reference, current, signal, threshold)
    rows = np.ones(len(current), bool) if pair is None else current.is_probed
    before, now = pair or _of_rows(reference, current, signal, threshold)
    rows[np.flatnonzero(rows)[np.isnan(now)]] = False
    block, start = _blocks(current, rows)
    bins_before, bins_now, n_bins = _binned(before[~np.isnan(before)], now[~np.isnan(now)])
    shares_before = _shares(bins_before, n_bins)
    inside = np.ones(len(bins_now), bool)
    first = 0
    for _ in range(ROUNDS):
        evidence = np.log(_shares(bins_now[inside], n_bins) / shares_before)[bins_now]
        first, stop = _largest_sum(np.bincount(block, evidence, len(start)))
        was, inside = inside, (block >= first) & (block < stop)
        if (was == inside).all():
            break
    return float(start[first])


def _blocks(
    sample: Sample, rows: Bool[np.ndarray, " row"]
) -> tuple[Int[np.ndarray, " chosen"], Float[np.ndarray, " block"]]:
    """The block of each chosen row, numbered in the order of time, and when each begins, with whatever row."""
    names, chosen = np.unique(sample.block[rows], return_inverse=True)
    begin = np.full(int(sample.block.max()) + 1, np.inf)
    np.minimum.at(begin, sample.block, sample.time)
    order = np.argsort(begin[names], kind="stable")
    return np.argsort(order)[chosen], begin[names][order]


def _largest_sum(values: Float[np.ndarray, " block"]) -> tuple[int, int]:
    """Begin and end of the stretch with the largest sum; of equal ones the first and longest."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    lowest = np.minimum.accumulate(sums[:-1])
    stop = int(np.argmax(sums[1:] - lowest)) + 1
    return int(np.argmin(sums[:stop])), stop


def _binned(
    before: Column, now: Float[np.ndarray, " current_row"]
) -> tuple[Int[np.ndarray, " row"], Int[np.ndarray, " current_row"], int]:
    """The bin of every value, with the edges of `psi`."""
    edges = np.histogram_bin_edges(np.concatenate([before, now]), "sturges")
    a, b = (np.clip(np.searchsorted(edges, x, "right") - 1, 0, len(edges) - 2) for x in (before, now))
    return a, b, len(edges) - 1


def _shares(bins: Int[np.ndarray, " row"], n_bins: int) -> Float[np.ndarray, " bin"]:
    return fill_empty_bins(np.bincount(bins, minlength=n_bins) / len(bins))


def _of_rows(reference: Sample, current: Sample, signal: str, threshold: float) -> Pair:
    """Signals that every segment has a share in."""
    both = reference, current
    match signal:
        case "score_psi" | "score_wasserstein":
            before, now = (s.raw for s in both)
        case "event_rate":
            before, now = ((s.smoothed > threshold).astype(float) for s in both)
        case "brightness" | "sharpness":
            before, now = (getattr(s, signal) for s in both)
        case "dropped_frames":
            before, now = ((s.dropped > 0).astype(float) for s in both)
        case "view":
            way = np.nanmean(current.layout, 0) - np.nanmean(reference.layout, 0)
            before, now = (s.layout @ way for s in both)
        case "heads":
            best = int(np.nanargmax(head_auc(reference, current)))
            way = head_direction(reference, current, best)
            before, now = (s.heads[:, best] @ way for s in both)
        case _:
            raise ValueError(f"{signal!r} is no signal")
    return before, now


def _of_prompts(reference: Sample, current: Sample, signal: str, threshold: float) -> Pair | None:
    """Signals of the segments that were scored under all prompts; None for others."""
    both = [s.probed for s in (reference, current)]
    match signal:
        case "prompt_std":
            before, now = (s.prompt_scores.std(1) for s in both)
        case "flip_rate":
            above = [s.prompt_scores > threshold for s in both]
            before, now = ((a.any(1) & ~a.all(1)).astype(float) for a in above)
        case "rank_agreement":
            before, now = ((rankdata(s.prompt_scores, axis=0) / len(s)).std(1) for s in both)
        case "head_instability":
            worst = int(np.abs(np.log(instability_ratio(reference, current))).argmax())
            before, now = (s.prompt_heads[:, :, worst].std(1) for s in both)
        case _:
            return None
    return before, now
