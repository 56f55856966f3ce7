"""The first bad block of a window whose change point is known."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headhunt_svc.core.drift import head_auc
from headhunt_svc.core.onset import first_bad
from headhunt_svc.core.samples import Sample
from headhunt_svc.monitoring.config import ALL_SIGNALS

ROWS, BLOCKS = 16, 40  # rows of a block, blocks of a window
HEADS, FEATURES, PROMPTS = 3, 4, 3
BEGIN, STEP_S = 1_770_000_000.0, 1.6
Change = Callable[[dict[str, Any], np.random.Generator], None]


@cache
def footage(seed: int) -> Sample:
    """A camera as it is, in blocks that differ a little from each other; every second segment is probed."""
    n, rng = ROWS * BLOCKS, np.random.default_rng(seed)
    block = np.repeat(np.arange(BLOCKS), ROWS)
    own = rng.normal(0, 0.2, BLOCKS)[block]
    raw = rng.beta(1, 6, n)
    probed = rng.random((n, 1)) < 0.5
    return Sample(
        time=BEGIN + STEP_S * np.arange(n),
        block=rng.permutation(BLOCKS)[block],  # numbers of blocks say nothing about their order
        raw=raw,
        smoothed=raw,
        in_event=raw > 0.5,
        brightness=rng.normal(0.5, 0.05, n) + 0.05 * own,
        sharpness=np.where(rng.random(n) < 0.1, np.nan, rng.normal(0.1, 0.01, n)),
        dropped=np.zeros(n),
        layout=1 + 0.3 * np.sin(np.arange(36)) + rng.normal(0, 0.02, (n, 36)),
        heads=rng.normal(0, 1, (n, HEADS, FEATURES)) + own[:, None, None],
        prompt_scores=np.where(probed, np.clip(raw[:, None] + rng.normal(0, 0.01, (n, PROMPTS)), 0, 1), np.nan),
        prompt_heads=np.where(probed[..., None], rng.normal(0, 1, (n, PROMPTS, HEADS)), np.nan),
        total=n,
        events=int((raw > 0.5).sum()),
    )


def _lifted(columns: dict[str, Any], rng: np.random.Generator) -> None:
    columns["raw"] = columns["smoothed"] = np.clip(columns["raw"] + 0.5, 0, 1)


def _head_moved(columns: dict[str, Any], rng: np.random.Generator) -> None:
    columns["heads"] = columns["heads"] + np.array([0, 2.0, 0])[:, None]


def _prompts_apart(columns: dict[str, Any], rng: np.random.Generator) -> None:
    shape = columns["prompt_scores"].shape
    columns["prompt_scores"] = np.clip(columns["prompt_scores"] + rng.uniform(-0.6, 0.9, shape), 0, 1)


def _head_unstable(columns: dict[str, Any], rng: np.random.Generator) -> None:
    columns["prompt_heads"] = columns["prompt_heads"] * np.array([1.0, 1.0, 5.0])


def _scaled(name: str, factor: float) -> Change:
    return lambda columns, rng: columns.update({name: columns[name] * factor})


CHANGES: dict[str, Change] = {
    "score_psi": _lifted,
    "score_wasserstein": _lifted,
    "event_rate": _lifted,
    "heads": _head_moved,
    "brightness": _scaled("brightness", 0.5),
    "sharpness": _scaled("sharpness", 0.4),
    "view": lambda columns, rng: columns.update(layout=columns["layout"][:, ::-1]),
    "dropped_frames": lambda columns, rng: columns.update(dropped=columns["dropped"] + 2),
    "prompt_std": _prompts_apart,
    "flip_rate": _prompts_apart,
    "rank_agreement": _prompts_apart,
    "head_instability": _head_unstable,
}


def changed(sample: Sample, signal: str, first: int, stop: int, seed: int) -> Sample:
    """The sample with a change in the blocks from `first` to before `stop`, counted in the order of time."""
    columns = {name: getattr(sample, name).copy() for name in CHANGED_COLUMNS}
    other = dict(columns)
    CHANGES[signal](other, np.random.default_rng(seed))
    rows = np.zeros(len(sample), bool)
    rows[first * ROWS : stop * ROWS] = True
    for name, values in columns.items():
        values[rows] = other[name][rows]
    return replace(sample, **columns)


CHANGED_COLUMNS = (
    "raw", "smoothed", "heads", "brightness", "sharpness", "layout", "dropped", "prompt_scores", "prompt_heads",
)  # fmt: skip


@pytest.mark.parametrize("signal", ALL_SIGNALS)
@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(1, 5),
    first=st.integers(0, BLOCKS - 8),
    length=st.integers(8, BLOCKS),
    order=st.randoms(use_true_random=False),
)
def test_the_first_bad_block_is_where_the_change_is(
    signal: str, seed: int, first: int, length: int, order: Any
) -> None:
    """Whatever the order of the rows is, and whether or not the change ends within the window."""
    current = changed(footage(seed), signal, first, min(first + length, BLOCKS), seed)
    rows = list(range(len(current)))
    order.shuffle(rows)
    shuffled = replace(current, **{f: getattr(current, f)[rows] for f in (*CHANGED_COLUMNS, "time", "block")})
    since = first_bad(footage(0), shuffled, signal, 0.5)
    off_by = round((since - BEGIN) / (STEP_S * ROWS)) - first
    # eight segments of a block are probed: one that flips by chance in a block before the change belongs to it
    assert abs(off_by) <= (3 if signal == "flip_rate" else 0), off_by


def test_a_head_that_moved_for_a_while_is_found_whatever_the_numbers_of_the_blocks() -> None:
    current = changed(footage(2), "heads", 31, 39, 2)
    assert (current.block[31 * ROWS : 39 * ROWS] % 2 == 1).all()  # all in one half, if the numbers made the halves
    assert head_auc(footage(0), current).argmax() == 1


def test_a_change_of_the_whole_window_begins_with_it() -> None:
    current = changed(footage(1), "brightness", 0, BLOCKS, 0)
    assert first_bad(footage(0), current, "brightness", 0.5) == BEGIN
