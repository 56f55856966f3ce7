"""Robust saliency over prompts, the choice of the expert heads (HeadHunt-VAD, equation of RSS), and its confidence.

Two sets of criteria give a head's saliency under one prompt. `paper`: the mean of LDA, KL, MMD and NMI, each scaled
over heads. `robust`: the cross-validated AUC of a linear probe of the head, folds grouped by video; and heads that
repeat a better one are skipped. The combination over prompts is the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np
from jaxtyping import Bool, Float64
from scipy.stats import t as student

from headhunt_svc.core.depth import possible_limits
from headhunt_svc.core.folds import check_videos, video_samples
from headhunt_svc.core.labelled import Labels
from headhunt_svc.core.metrics import ranking_auc
from headhunt_svc.core.probe import (
    bootstrap_rows,
    concatenated,
    cross_validated_outputs,
    held_out_auc,
    held_out_outputs,
)
from headhunt_svc.core.saliency import Values, check_labels, head_criteria, nearly_constant, saliency, separability
from headhunt_svc.errors import FeatureError
from headhunt_svc.params import IdentifyParams
from headhunt_svc.types import Alternatives, Confidence, HeadRef, RobustSaliency, Verdict

BOOTSTRAP = 200  # resamples of the videos for the standard error of a gain
RANDOM_SETS = 10  # of as many random heads, to compare a choice with
STABLE = 0.4  # below, agreement of choices is poor (Nogueira et al. 2018, after Fleiss)
OFTEN = 0.9  # "chosen in over 90 % of subsamples"

MEANING: dict[Verdict, str] = {
    "trustworthy": "the choice matters, and other videos would choose much the same: it can be trusted",
    "unstable": "the choice matters, but other videos would choose other heads",
    "interchangeable": "heads are interchangeable: they work, but random ones are not clearly worse",
    "not trustworthy": "heads are at chance, not clearly better: the choice is not trustworthy; check the labels, or "
    "label more videos",
}

Outputs = Float64[np.ndarray, "head segment"]


@dataclass(frozen=True, slots=True)
class HeadChoice:
    """Positions of the chosen heads, best first, and the saliency of all heads under each prompt.

    criteria: the four of `paper`, or None.
    """

    chosen: tuple[int, ...]
    table: Float64[np.ndarray, "prompt head"]
    criteria: Float64[np.ndarray, "prompt criterion head"] | None


def robust_saliency(saliency: Float64[np.ndarray, "prompt layer head"], penalty: float) -> RobustSaliency:
    """RSS = mean - penalty * std over prompts; NaN where a head is constant under any prompt."""
    mean, instability = saliency.mean(0), saliency.std(0)
    return RobustSaliency(mean, instability, mean - penalty * instability)


def ranked(rss: np.ndarray) -> list[int]:
    """Positions of the usable heads, the highest RSS first; ties go to the lower layer and head."""
    flat = rss.ravel()
    order = np.argsort(np.where(np.isfinite(flat), -flat, np.inf), kind="stable")
    return [int(i) for i in order if np.isfinite(flat[i])]


def _distinct(order: list[int], errors: Outputs | None, most: float) -> Iterator[int]:
    """Heads in order, without those whose errors correlate by more than `most` with those of an earlier one."""
    kept: list[int] = []
    for head in order:
        if errors is not None and kept and np.abs(errors[kept] @ errors[head]).max() > most:
            continue
        kept.append(head)
        yield head


def _errors(outputs: Float64[np.ndarray, "prompt head segment"], labels: Labels) -> Outputs:
    """Out-of-fold outputs minus the mean of each class, averaged over prompts, of unit length.

    All good heads agree on the labels; copies of one head also make the same errors.
    """
    result = outputs.copy()
    for group in (labels, ~labels):
        result[..., group] -= result[..., group].mean(-1, keepdims=True)
    mean = result.mean(0)
    length = np.linalg.norm(mean, axis=1, keepdims=True)
    return np.asarray(np.divide(mean, length, out=np.zeros_like(mean), where=length > 0))


def _auto_k(
    order: Iterator[int], prompts: Sequence[Values], labels: Labels, videos: Sequence[str], params: IdentifyParams
) -> tuple[int, ...]:
    """Heads in order while the cross-validated AUC gains more than one standard error (bootstrap over videos)."""
    resamples = [
        rows for rows in bootstrap_rows(videos, BOOTSTRAP, params.seed) if len(set(labels[rows].tolist())) == 2
    ]
    chosen: tuple[int, ...] = ()
    auc, drawn = 0.5, np.full(len(resamples), 0.5)
    for head in order:
        joined = [concatenated(values, (*chosen, head)) for values in prompts]
        outputs = np.concatenate([cross_validated_outputs(values, labels, videos, params) for values in joined])
        new = float(ranking_auc(outputs, labels).mean())
        new_drawn = np.array([ranking_auc(outputs[:, rows], labels[rows]).mean() for rows in resamples])
        if chosen and new - auc <= (new_drawn - drawn).std():
            break
        chosen, auc, drawn = (*chosen, head), new, new_drawn
    return chosen


def _choose_up_to_k(
    prompts: Sequence[Values], labels: Labels, videos: Sequence[str], params: IdentifyParams
) -> HeadChoice:
    """As choose_heads, but fewer than top_k heads where no more are usable and distinct."""
    criteria = errors = None
    if params.criteria == "paper":
        criteria = np.stack([head_criteria(values, labels, params.seed) for values in prompts])
        table = np.stack([saliency(c, nearly_constant(v)) for c, v in zip(criteria, prompts, strict=True)])
    else:
        outputs = np.stack([cross_validated_outputs(values, labels, videos, params) for values in prompts])
        table = np.full(outputs.shape[:2], np.nan)
        usable = np.isfinite(outputs).all(2)
        table[usable] = ranking_auc(outputs[usable], labels)
        if params.separability > 0:
            apart = np.stack([separability(values, labels) for values in prompts])
            table = (1 - params.separability) * table + params.separability * apart
        errors = _errors(outputs, labels)
    order = ranked(robust_saliency(table[:, None], params.instability_penalty).rss)
    distinct = _distinct(order, errors, params.max_redundancy)
    if params.top_k == "auto":
        return HeadChoice(_auto_k(distinct, prompts, labels, videos, params), table, criteria)
    return HeadChoice(tuple(islice(distinct, params.top_k)), table, criteria)


def choose_heads(
    prompts: Sequence[Values], labels: Labels, videos: Sequence[str], params: IdentifyParams
) -> HeadChoice:
    """Saliency of all heads under every prompt (features float[segment, head, d_head] each), and the expert heads.

    These are more than top_k where there are few videos (`IdentifyParams.n_heads`) and enough heads.

    Raises:
        FeatureError: too few segments or videos of a class, features that are not finite or all constant, or fewer
            usable (and, with `robust`, distinct) heads than top_k.
    """
    check_labels(labels)
    check_videos(labels, videos)
    n_heads = params.n_heads(len(set(videos)))
    choice = _choose_up_to_k(prompts, labels, videos, params.model_copy(update={"top_k": n_heads}))
    if params.top_k != "auto" and len(choice.chosen) < params.top_k:
        usable, n = int(np.isfinite(choice.table).all(0).sum()), choice.table.shape[1]
        raise FeatureError(
            f"identify.top_k is {params.top_k}, but only {usable} of {n} heads are usable and {len(choice.chosen)} of "
            "them distinct: lower identify.top_k, or raise identify.max_redundancy"
        )
    return choice


LEARNING_SHARES, LEARNING_DRAWS = (0.2, 0.35, 0.5, 0.65, 0.8), 10


def learning_curve(
    prompts: Sequence[Values], labels: Labels, videos: Sequence[str], top_k: int, params: IdentifyParams
) -> dict[int, tuple[float, float]]:
    """Number of videos -> mean and deviation of the AUC on other videos, heads chosen and fitted on random draws.

    Sizes for which there are too few videos (see `video_samples`) are left out.
    """
    names = np.asarray(videos)
    curve: dict[int, tuple[float, float]] = {}
    for share in LEARNING_SHARES:
        drawn = video_samples(labels, videos, share, LEARNING_DRAWS, params.seed)
        auc = [trial(prompts, labels, videos, inside, top_k, params).auc for inside in drawn]
        if auc:
            curve[len(set(names[drawn[0]].tolist()))] = (float(np.mean(auc)), float(np.std(auc)))
    return curve


@dataclass(frozen=True, slots=True)
class Measured:
    """Segments of other videos than heads are chosen on, under the prompt of that number."""

    values: Values
    labels: Labels
    prompt: int


def held_out_by_depth(
    prompts: Sequence[Values],
    labels: Labels,
    videos: Sequence[str],
    heads: Sequence[HeadRef],
    measured: Measured,
    params: IdentifyParams,
) -> dict[int, float]:
    """Layers that run -> AUC on other videos of a probe of the chosen heads, without the deepest layer each time.

    prompts: float[segment, head, d_head] of the candidates, `heads`. Ends where too few heads can be chosen; empty
    where the measured segments are of one class.
    """
    curve: dict[int, float] = {}
    if len(set(measured.labels.tolist())) < 2:
        return curve
    both = np.concatenate([labels, measured.labels])
    others = np.arange(len(labels), len(both))
    for limit in possible_limits(heads, params):
        if curve and limit + 1 >= min(curve):
            continue  # no chosen head is that deep
        columns = [i for i, head in enumerate(heads) if head.layer <= limit]
        try:
            chosen = choose_heads([values[:, columns] for values in prompts], labels, videos, params).chosen
        except FeatureError:
            break
        experts = [columns[i] for i in chosen]
        parts = [concatenated(values, experts) for values in (prompts[measured.prompt], measured.values)]
        outputs = held_out_outputs(np.concatenate(parts), both, [[others]])
        layers = max(heads[i].layer for i in experts) + 1
        curve[layers] = float(ranking_auc(outputs[:, others], measured.labels)[0])
    return curve


@dataclass(frozen=True, slots=True)
class Trial:
    """Heads chosen on half of the videos, and the AUC on the other half of a probe of them fitted on the first."""

    chosen: tuple[int, ...]
    auc: float
    share: float  # held-out segments per fitted segment


def halves(labels: Labels, videos: Sequence[str], params: IdentifyParams) -> list[Bool[np.ndarray, " segment"]]:
    """Random halves of the videos for `trial`; none if there are too few videos (see `video_samples`).

    As in stability selection (Meinshausen and Buehlmann 2010).
    """
    return video_samples(labels, videos, 0.5, params.subsamples, params.seed)


def trial(
    prompts: Sequence[Values],
    labels: Labels,
    videos: Sequence[str],
    inside: Bool[np.ndarray, " segment"],
    top_k: int,
    params: IdentifyParams,
) -> Trial:
    """Choose top_k heads from the segments `inside`, and measure them on the others."""
    part = [values[inside] for values in prompts]
    names = np.asarray(videos)[inside].tolist()
    chosen = _choose_up_to_k(part, labels[inside], names, params.model_copy(update={"top_k": top_k})).chosen
    outside = np.flatnonzero(~inside)
    outputs = np.concatenate([held_out_outputs(concatenated(v, chosen), labels, [[outside]]) for v in prompts])
    auc = float(ranking_auc(outputs[:, outside], labels[outside]).mean())
    return Trial(chosen, auc, len(outside) / int(inside.sum()))


def frequencies(trials: Sequence[Trial], n_heads: int) -> Float64[np.ndarray, " head"]:
    """Share of the subsamples in which each head was chosen."""
    counts = np.bincount([head for t in trials for head in t.chosen], minlength=n_heads)
    return np.asarray(counts / len(trials))


def selection_stability(frequency: Float64[np.ndarray, " head"], n_trials: int) -> float:
    """Agreement beyond chance of n_trials choices: 1 if all are the same, about 0 at random (Nogueira et al. 2018).

    Also 1 where every head is chosen.
    """
    share = frequency.mean()
    if share == 1:
        return 1.0
    variance = n_trials / (n_trials - 1) * frequency * (1 - frequency)
    return float(1 - variance.mean() / (share * (1 - share)))


def prompt_agreement(table: Float64[np.ndarray, "prompt head"], top_k: int) -> float | None:
    """Share of the best top_k heads that two prompts have in common, mean over pairs; None with one prompt."""
    best = [set(ranked(row)[:top_k]) for row in table]
    pairs = [len(a & b) / top_k for a, b in combinations(best, 2)]
    return float(np.mean(pairs)) if pairs else None


@dataclass(frozen=True, slots=True)
class Rivals:
    """AUC of other heads on each of some halves: the mean of RANDOM_SETS random sets, and all usable heads."""

    random: Float64[np.ndarray, " trial"]
    everything: Float64[np.ndarray, " trial"]


def rivals(
    prompts: Sequence[Values],
    labels: Labels,
    halves: Sequence[Bool[np.ndarray, " segment"]],
    choice: HeadChoice,
    params: IdentifyParams,
) -> Rivals:
    """Measure as many random heads as were chosen, and all usable heads, as `trial` measures the chosen ones."""
    usable, random = np.flatnonzero(np.isfinite(choice.table).all(0)), np.random.default_rng(params.seed)
    sets = [random.choice(usable, len(choice.chosen), replace=False).tolist() for _ in range(RANDOM_SETS)]
    tests = [np.flatnonzero(~inside) for inside in halves]
    auc = np.mean([held_out_auc(values, labels, [*sets, usable.tolist()], tests) for values in prompts], axis=0)
    return Rivals(auc[:, :-1].mean(1), auc[:, -1])


def _error(values: Float64[np.ndarray, " trial"], share: float) -> float:
    """Standard error of a mean over halves that overlap (Nadeau and Bengio 2003)."""
    return float(values.std(ddof=1) * np.sqrt(1 / len(values) + share))


def confidence(choice: HeadChoice, trials: Sequence[Trial], others: Rivals) -> Confidence:
    """Confidence in a choice, in numbers and in words, from halves of the videos.

    Heads are at chance (not trustworthy) if those chosen on one half are not clearly better than .5 on the other. They
    are interchangeable if they are, but not clearly better than as many random heads on the same halves. Else the
    choice matters: it is trustworthy if the halves' choices also agree (STABLE), and unstable if not. Clearly: by the
    corrected resampled t test at one side and 95 % (Nadeau and Bengio 2003), as the halves overlap.
    """
    k, n = len(choice.chosen), len(trials)
    frequency = frequencies(trials, choice.table.shape[1])
    own = frequency[list(choice.chosen)]
    auc = np.array([t.auc for t in trials])
    share, clear = float(np.mean([t.share for t in trials])), float(student.ppf(0.95, n - 1))
    error, agreement = _error(auc, share), prompt_agreement(choice.table, k)
    gain, lead = auc - others.random, others.everything - auc
    seen = Alternatives(
        float(others.random.mean()), _error(gain, share), float(others.everything.mean()), _error(lead, share)
    )
    stability = selection_stability(frequency, n)
    if auc.mean() - clear * error <= 0.5:
        verdict: Verdict = "not trustworthy"
    elif gain.mean() <= clear * seen.random_error:
        verdict = "interchangeable"
    else:
        verdict = "trustworthy" if stability >= STABLE else "unstable"
    more = " All heads together are clearly better: try a larger identify.top_k."
    words = (
        f"{int((own > OFTEN).sum())} of {k} heads were chosen in over {100 * OFTEN:.0f} % of {n} subsamples (half of "
        f"the videos each), {int((own > 0.5).sum())} in over half (chance: {100 * k / len(frequency):.0f} %); "
        f"stability {stability:.2f} (poor below {STABLE:g}). "
        + (f"Two prompts agree on {100 * agreement:.0f} % of their best {k}. " if agreement is not None else "")
        + f"Heads chosen on one half rank the other half's segments with AUC {auc.mean():.2f} +- {error:.2f} "
        f"(chance: 0.50), {gain.mean():+.3f} +- {seen.random_error:.3f} to as many random heads "
        f"({seen.random_auc:.2f}), {-lead.mean():+.3f} +- {seen.all_error:.3f} to all heads ({seen.all_auc:.2f}): "
        f"{MEANING[verdict]}." + (more if lead.mean() > clear * seen.all_error else "")
    )
    own_frequency = tuple(float(f) for f in own)
    return Confidence(n, own_frequency, stability, agreement, float(auc.mean()), error, verdict, words, seen)
