"""Which heads are chosen, and what is said about how far the choice holds, where the right answer is known."""

from itertools import combinations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from conftest import benchmark
from headhunt_svc.core.folds import video_folds, video_samples
from headhunt_svc.core.identification import (
    HeadChoice,
    Rivals,
    Trial,
    choose_heads,
    confidence,
    halves,
    prompt_agreement,
    rivals,
    selection_stability,
    trial,
)
from headhunt_svc.core.probe import concatenated, held_out_outputs
from headhunt_svc.core.saliency import separability
from headhunt_svc.errors import FeatureError
from headhunt_svc.params import IdentifyParams
from headhunt_svc.types import Confidence

KNOWING = (3, 17, 8)
ROBUST = IdentifyParams(criteria="robust", top_k=3, subsamples=12)


def calibration(n_videos: int = 24, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray, list[str]]:
    """Two prompts, 40 heads of 8 dimensions, three of which know; every other video is anomalous in its second half."""
    rng = np.random.default_rng(seed)
    videos = [f"v{i // 6}" for i in range(6 * n_videos)]
    labels = np.array([i // 6 % 2 == 1 and i % 6 >= 3 for i in range(6 * n_videos)])
    clip = rng.normal(size=(len(videos), 40, 8)) + rng.normal(size=(n_videos, 40, 8)).repeat(6, axis=0)
    for head in KNOWING:
        clip[labels, head] += 1.5 * rng.normal(size=8)
    prompts = [(clip + 0.2 * rng.normal(size=clip.shape)).astype(np.float32) for _ in range(2)]
    return prompts, labels, videos


def tried(prompts: list[np.ndarray], labels: np.ndarray, videos: list[str], params: IdentifyParams) -> Confidence:
    choice = choose_heads(prompts, labels, videos, params)
    drawn, k = halves(labels, videos, params), len(choice.chosen)
    trials = [trial(prompts, labels, videos, h, k, params) for h in drawn]
    return confidence(choice, trials, rivals(prompts, labels, drawn, choice, params))


def test_robust_finds_planted_heads_where_the_paper_does_not() -> None:
    """784 heads of 128 dimensions, five of which know, nuisance factors in all of them; segments of 20 videos."""
    module = benchmark("identification")

    def recovered(seed: int, n: int, *criteria: str) -> list[int]:
        values, labels, videos, informative = module.planted(seed, n, 20)
        params = [IdentifyParams.model_validate({"criteria": c}) for c in criteria]
        return [len(informative & set(choose_heads(values, labels, videos, p).chosen)) for p in params]

    assert np.mean([recovered(seed, 80, "robust") for seed in range(5)]) >= 4.5
    paper, robust = np.mean([recovered(seed, 40, "paper", "robust") for seed in range(5)], axis=0)
    assert robust >= paper + 2


@pytest.mark.parametrize("criteria", ["paper", "robust"])
def test_heads_that_know_are_chosen_and_the_choice_is_called_good(criteria: str) -> None:
    params = ROBUST.model_copy(update={"criteria": criteria})
    prompts, labels, videos = calibration()
    assert set(choose_heads(prompts, labels, videos, params).chosen) == set(KNOWING)
    measured = tried(prompts, labels, videos, params)
    assert measured.verdict == "trustworthy"
    assert min(measured.frequency) > 0.5
    assert measured.held_out_auc > 0.9
    assert measured.stability > 0.6
    assert "3 of 3 heads were chosen in over 90 % of 12 subsamples" in measured.words or criteria == "paper"


@pytest.mark.parametrize("criteria", ["paper", "robust"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_with_shuffled_labels_the_choice_is_called_untrustworthy(criteria: str, seed: int) -> None:
    params = ROBUST.model_copy(update={"criteria": criteria})
    prompts, labels, videos = calibration()
    measured = tried(prompts, np.random.default_rng(seed).permutation(labels), videos, params)
    assert measured.verdict == "not trustworthy"
    assert "the choice is not trustworthy" in measured.words
    assert abs(measured.held_out_auc - 0.5) < 0.12
    assert np.mean(measured.frequency) < 0.6
    assert measured.stability < 0.4


def test_heads_that_all_know_the_same_little_are_called_interchangeable() -> None:
    _, labels, videos = calibration()
    values = np.random.default_rng(0).normal(size=(len(labels), 40, 8)) + 0.4 * labels[:, None, None]
    measured = tried([values], labels, videos, ROBUST.model_copy(update={"top_k": 4}))
    assert measured.held_out_auc > 0.7
    assert measured.verdict == "interchangeable"
    assert measured.alternatives is not None
    assert "heads are interchangeable" in measured.words


def test_a_choice_that_matters_but_that_others_would_not_repeat_is_called_unstable() -> None:
    """20 of 40 heads know, all the same thing with noise of their own; three are chosen."""
    _, labels, videos = calibration()
    knows = np.arange(40) % 2 == 0
    values = np.random.default_rng(0).normal(size=(len(labels), 40, 8)) + 0.5 * labels[:, None, None] * knows[:, None]
    measured = tried([values], labels, videos, ROBUST.model_copy(update={"subsamples": 30}))
    assert measured.verdict == "unstable"
    assert measured.stability < 0.4
    assert measured.alternatives is not None
    assert measured.held_out_auc > measured.alternatives.random_auc
    assert "the choice matters, but other videos would choose other heads" in measured.words
    assert "All heads together are clearly better" in measured.words


def test_other_heads_are_measured_as_the_chosen_ones_are() -> None:
    """Against the same probe of the same heads put together, half by half, and the mean over prompts by hand."""
    prompts, labels, videos = calibration()
    prompts[0][:, 5], prompts[1][:, 5] = 1.0, 1.0  # a constant head, which is no alternative
    choice, drawn = choose_heads(prompts, labels, videos, ROBUST), halves(labels, videos, ROBUST)[:4]
    usable = [i for i in range(40) if i != 5]
    random = np.random.default_rng(ROBUST.seed)
    sets = [random.choice(usable, 3, replace=False) for _ in range(10)]

    def auc(heads: list[int], inside: np.ndarray) -> float:
        out = np.flatnonzero(~inside)
        rows = [held_out_outputs(concatenated(v, heads), labels, [[out]])[0, out] for v in prompts]
        return float(np.mean([roc_auc_score(labels[out], row) for row in rows]))

    others = rivals(prompts, labels, drawn, choice, ROBUST)
    for i, inside in enumerate(drawn):
        assert others.random[i] == pytest.approx(np.mean([auc(s.tolist(), inside) for s in sets]))
        assert others.everything[i] == pytest.approx(auc(usable, inside))


def test_copies_of_a_head_are_not_chosen_beside_it() -> None:
    prompts, labels, videos = calibration()
    rng = np.random.default_rng(0)
    for values in prompts:
        for copy, scale in ((20, 1.0), (21, 30.0), (22, -0.01), (23, 1.0)):
            noise = rng.normal(scale=0.01, size=values[:, 3].shape)
            values[:, copy] = scale * (values[:, 3] + noise)
    copies = {3, 20, 21, 22, 23}
    chosen = choose_heads(prompts, labels, videos, ROBUST).chosen
    assert len(copies & set(chosen)) == 1
    assert {17, 8} < set(chosen)
    with_copies = choose_heads(
        prompts, labels, videos, ROBUST.model_copy(update={"max_redundancy": 1.0, "top_k": 7})
    ).chosen
    assert copies < set(with_copies)


def test_heads_are_added_while_they_help() -> None:
    prompts, labels, videos = calibration(40)
    chosen = choose_heads(prompts, labels, videos, ROBUST.model_copy(update={"top_k": "auto"})).chosen
    assert 1 <= len(chosen) <= 4
    assert set(chosen[:3]) <= set(KNOWING)
    strong = [v + 20 * labels[:, None, None] * (np.arange(40) == 5)[:, None] for v in prompts]
    assert choose_heads(strong, labels, videos, ROBUST.model_copy(update={"top_k": "auto"})).chosen == (5,)


def test_separability_of_one_head() -> None:
    prompts, labels, videos = calibration()
    apart = separability(prompts[0], labels)
    z = prompts[0][:, 3].astype(float)
    distance = np.linalg.norm(z[labels].mean(0) - z[~labels].mean(0)) ** 2
    spread = sum(((z[of] - z[of].mean(0)) ** 2).sum() / of.sum() for of in (labels, ~labels))
    assert apart[3] == pytest.approx(1 / (1 + spread / distance))
    assert set(np.argsort(-apart)[:3]) == set(KNOWING)
    apart = ROBUST.model_copy(update={"separability": 1.0, "instability_penalty": 0.0})
    table = choose_heads(prompts, labels, videos, apart).table
    np.testing.assert_allclose(table, [separability(v, labels) for v in prompts])


def test_stability_is_kunchevas_index_of_the_choices() -> None:
    """Choices of one size: mean over pairs of (overlap - chance) / (K - chance), chance = K^2 / p (Kuncheva 2007)."""
    rng = np.random.default_rng(0)
    k, p = 4, 30
    sets = [set(rng.choice(8, k, replace=False).tolist()) for _ in range(9)]
    frequency = np.bincount([h for s in sets for h in s], minlength=p) / len(sets)
    pairs = [(len(a & b) - k * k / p) / (k - k * k / p) for a, b in combinations(sets, 2)]
    assert selection_stability(frequency, len(sets)) == pytest.approx(np.mean(pairs))
    assert selection_stability(np.ones(5), 9) == 1.0


def test_agreement_of_prompts() -> None:
    table = np.array([[0.9, 0.8, 0.1, 0.2], [0.9, 0.1, 0.8, 0.2], [0.9, 0.8, 0.1, np.nan]])
    assert prompt_agreement(table, 2) == pytest.approx((0.5 + 1 + 0.5) / 3)
    assert prompt_agreement(table[:1], 2) is None


def test_halves_keep_videos_whole_and_both_classes_on_both_sides() -> None:
    _, labels, videos = calibration(9)
    names = np.asarray(videos)
    samples = video_samples(labels, videos, 0.5, 30, seed=1)
    assert len(samples) == 30
    assert len({inside.tobytes() for inside in samples}) > 20
    for inside in samples:
        assert not set(names[inside]) & set(names[~inside])
        assert len(set(names[inside])) in (4, 5, 6)
        for of in (labels, ~labels):
            assert len(set(names[inside & of])) >= 2
            assert (of & ~inside).any()
    assert video_samples(labels[:18], videos[:18], 0.5, 30, seed=1) == []  # one anomalous video


def test_folds_repeat_for_a_seed_and_cover_every_segment_once() -> None:
    _, labels, videos = calibration(9)
    one, again, other = (video_folds(labels, videos, 3, seed) for seed in (1, 1, 2))
    assert np.array_equal(np.sort(np.concatenate([test for _, test in one])), np.arange(len(labels)))
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(one, again, strict=True))
    assert not all(np.array_equal(a[1], b[1]) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("criteria", ["paper", "robust"])
def test_what_cannot_be_chosen_from_is_named(criteria: str) -> None:
    prompts, labels, videos = calibration()
    params = ROBUST.model_copy(update={"criteria": criteria})

    def refuses(says: str, values: list[np.ndarray], of: np.ndarray, names: list[str]) -> None:
        with pytest.raises(FeatureError, match=says):
            choose_heads(values, of, names, params)

    refuses("0 anomalous and 144 normal segments", prompts, np.zeros_like(labels), videos)
    first = np.array([v == "v1" for v in videos])
    refuses("anomalous segments come from 1 videos and normal ones from 24", prompts, labels & first, videos)
    refuses("every head's features are constant", [np.ones_like(v) for v in prompts], labels, videos)
    spoilt = prompts[1].copy()
    spoilt[5, 7, 2] = np.inf
    refuses(r"features of heads \[7\] are not finite", [prompts[0], spoilt], labels, videos)
    few = [np.where(np.arange(40)[:, None] < 2, v, 0.0) for v in prompts]
    refuses("top_k is 3, but only 2 of 40 heads are usable and 2 of them distinct", few, labels, videos)


@pytest.mark.parametrize("criteria", ["paper", "robust"])
def test_few_videos_keep_more_heads(criteria: str) -> None:
    """24 videos: of half as many as `few_videos` asks for, twice the heads, in the same order, as far as there are."""
    prompts, labels, videos = calibration()

    def chosen(few_videos: int, values: list[np.ndarray] = prompts, **changes: object) -> tuple[int, ...]:
        params = ROBUST.model_copy(update={"criteria": criteria, "few_videos": few_videos, **changes})
        return choose_heads(values, labels, videos, params).chosen

    assert [len(chosen(n)) for n in (0, 24, 25, 48)] == [3, 3, 4, 6]
    assert chosen(48) == chosen(0, top_k=6)
    assert set(chosen(10_000)) == set(range(40))
    some = [np.where(np.arange(40)[:, None] < 9, v, 0.0) for v in prompts]
    assert set(chosen(10_000, some)) == set(range(9))
    if criteria == "robust":
        assert chosen(48, top_k="auto") == chosen(0, top_k="auto")


def test_words_and_numbers_agree() -> None:
    choice = HeadChoice((0, 1), np.array([[0.9, 0.8, 0.1, 0.2]]), None)
    trials = [Trial((0, 1), 0.9, 1.0)] * 19 + [Trial((0, 2), 0.8, 1.0)]
    auc, others = np.array([0.9] * 19 + [0.8]), Rivals(np.linspace(0.6, 0.65, 20), np.full(20, 0.85))
    measured = confidence(choice, trials, others)
    assert measured.frequency == (1.0, 0.95)
    assert measured.words.startswith("2 of 2 heads were chosen in over 90 % of 20 subsamples")
    assert "+0.270 +- " in measured.words
    assert measured.held_out_error == pytest.approx(auc.std(ddof=1) * np.sqrt(1 / 20 + 1))
    assert (measured.verdict, measured.agreement) == ("trustworthy", None)
    seen = measured.alternatives
    assert seen is not None
    assert (seen.random_auc, seen.all_auc) == (pytest.approx(0.625), pytest.approx(0.85))
    assert seen.random_error == pytest.approx((auc - others.random).std(ddof=1) * np.sqrt(1 / 20 + 1))
    assert seen.all_error == pytest.approx((others.everything - auc).std(ddof=1) * np.sqrt(1 / 20 + 1))


@pytest.mark.parametrize(("lead", "verdict"), [(1.04, "trustworthy"), (0.96, "interchangeable")])
def test_better_than_random_heads_is_decided_by_the_corrected_t_test(lead: float, verdict: str) -> None:
    """The mean gain just above and just below its quantile times its standard error."""
    choice = HeadChoice((0, 1), np.array([[0.9, 0.8, 0.1, 0.2]]), None)
    auc = np.random.default_rng(0).normal(0.9, 0.001, 8)
    spread = np.random.default_rng(1).normal(size=8)
    spread = 0.01 * (spread - spread.mean()) / spread.std(ddof=1)
    needed = 1.894579 * 0.01 * np.sqrt(1 / 8 + 1)  # t with 7 degrees of freedom
    others = Rivals(auc - lead * needed - spread, auc)
    assert confidence(choice, [Trial((0, 1), a, 1.0) for a in auc.tolist()], others).verdict == verdict
