"""Signals of drift on samples whose difference is known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from headhunt_svc.core import drift
from headhunt_svc.core.drift import chance, event_interval, head_auc, signals
from headhunt_svc.core.samples import Sample, concatenate


def sample(n: int, seed: int, shift: float = 0.0, blocks: int = 20) -> Sample:
    """n segments in blocks that differ a little from each other; the second head is moved by `shift`."""
    rng = np.random.default_rng(seed)
    block = np.arange(n) % blocks
    own = rng.normal(0, 0.3, (blocks, 1, 3))
    heads = rng.normal(0, 1, (n, 2, 3)) + own[block]
    heads[:, 1] += shift
    raw = rng.beta(1, 5, n)
    prompts = np.where(rng.random((n, 1)) < 0.5, np.clip(raw[:, None] + rng.normal(0, 0.05, (n, 3)), 0, 1), np.nan)
    return Sample(
        np.arange(n) // blocks * 60.0,
        block,
        raw,
        raw > 0.5,
        rng.normal(0.5, 0.1, n),
        rng.normal(0.2, 0.01, n),
        np.zeros(n),
        1 + rng.normal(0, 0.01, (n, 36)) + np.sin(np.arange(36)),
        heads,
        prompts,
        rng.normal(0, 1, (n, 3, 2)),
        n,
        int((raw > 0.5).sum()),
        smoothed=raw,
    )


@pytest.mark.usefixtures("evidently")
def test_the_distances_are_those_of_evidently() -> None:
    from evidently.legacy.calculations.stattests import psi_stat_test, wasserstein_stat_test
    from evidently.legacy.core import ColumnType

    rng = np.random.default_rng(0)
    for a, b in (
        (rng.beta(1, 5, 400), rng.beta(2, 5, 300)),
        (rng.normal(0, 3, 900), rng.normal(1, 2, 50)),
        (rng.normal(0, 1, 20_000), rng.normal(0, 3, 100)),
    ):
        for ours, theirs in ((drift.psi, psi_stat_test), (drift.wasserstein, wasserstein_stat_test)):
            assert ours(a, b) == pytest.approx(
                theirs.func(pd.Series(a), pd.Series(b), ColumnType.Numerical, 0.1)[0], rel=1e-9
            )


def test_the_event_interval_agrees_with_the_literature_and_contains_the_rate() -> None:
    def interval(events: int, total: int) -> tuple[float, float]:
        return event_interval(replace(sample(10, 0), events=events, total=total))

    assert interval(10, 100) == pytest.approx((0.0552, 0.1744), abs=1e-4)  # Newcombe 1998
    assert interval(0, 0) == (0.0, 1.0)
    for total in (1, 5, 400):
        for events in (0, total // 2, total):
            low, high = interval(events, total)
            assert 0 <= low <= events / total + 1e-12
            assert events / total - 1e-12 <= high <= 1


def test_a_head_that_moved_is_told_from_one_that_did_not() -> None:
    quiet, moved = head_auc(sample(600, 0), sample(400, 1, shift=1.0))
    assert abs(quiet - 0.5) < 0.1
    assert moved > 0.75
    # beside a classifier of scikit-learn, also fitted on one half and asked about the other
    a, b = sample(600, 0), sample(400, 1, shift=1.0)
    x, y = np.concatenate([a.heads[:, 1], b.heads[:, 1]]), np.repeat([0, 1], [600, 400])
    half = np.concatenate([a.block, b.block]) % 2 == 1
    aucs = [roc_auc_score(y[~t], LogisticRegression().fit(x[t], y[t]).decision_function(x[~t])) for t in (half, ~half)]
    assert moved == pytest.approx(np.mean(aucs), abs=0.03)


@pytest.mark.parametrize(
    ("change", "moves"),
    [
        (lambda s: s, set()),
        (lambda s: replace(s, brightness=s.brightness * 0.5), {"brightness"}),
        (lambda s: replace(s, sharpness=s.sharpness * 0.5), {"sharpness"}),
        (lambda s: replace(s, layout=np.roll(s.layout, 3, 1)), {"view"}),
        (lambda s: replace(s, dropped=np.arange(len(s)) % 3.0), {"dropped_frames"}),
        (lambda s: replace(s, raw=s.raw * 0.1), {"score_psi", "score_wasserstein"}),
        (lambda s: replace(s, smoothed=np.where(np.arange(len(s)) % 2, 0.9, s.smoothed)), {"event_rate"}),
        (lambda s: replace(s, heads=s.heads + 1.0), {"heads"}),
        (
            lambda s: replace(s, prompt_scores=s.prompt_scores[:, :1] + [[0.0, 0.5, -0.5]]),
            {"prompt_std", "flip_rate"},
        ),
        (lambda s: replace(s, prompt_heads=3 * s.prompt_heads), {"head_instability"}),
    ],
)
def test_each_change_moves_its_own_signals_beyond_chance(change: object, moves: set[str]) -> None:
    reference, current = sample(800, 0, blocks=40), sample(400, 5)
    by_chance = chance(reference, 20, 0.5, 30, 30)
    values = signals(reference, change(current), 0.5, 30)  # type: ignore[operator]
    assert values.keys() == by_chance.keys()
    beyond = {k for k, v in values.items() if v > by_chance[k].mean + 6 * by_chance[k].std + 0.05}
    assert moves <= beyond <= moves | {"rank_agreement"}


def test_without_probed_segments_or_features_their_signals_are_not_made_up() -> None:
    bare = replace(
        sample(300, 0),
        heads=np.zeros((300, 2, 0)),
        prompt_scores=np.full((300, 3), np.nan),
        layout=np.zeros((300, 0)),
        brightness=np.full(300, np.nan),
    )
    values = signals(bare, bare, 0.5, 30)
    assert not {"heads", "view", "brightness", "prompt_std", "flip_rate", "rank_agreement"} & values.keys()
    assert all(np.isfinite(v) for v in values.values())


def test_chance_grows_as_windows_shrink() -> None:
    reference = sample(2000, 0, blocks=100)
    small, large = (chance(reference, n, 0.5, 30, 20)["heads"] for n in (5, 50))
    assert small.mean > large.mean
    assert small.std > large.std


def test_concatenated_samples_keep_their_blocks_apart() -> None:
    both = concatenate([sample(100, 0), sample(60, 1)])
    assert len(np.unique(both.block)) == 40
    assert (both.total, len(both)) == (160, 160)
    assert not set(both.block[:100]) & set(both.block[100:])
