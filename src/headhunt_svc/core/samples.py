"""A sample of scored segments as arrays: what drift compares."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Bool, Float, Int

Column = Float[np.ndarray, " row"]


@dataclass(frozen=True, slots=True)
class Sample:
    """Segments of one camera as arrays; rows of one block are neighbours in one video.

    time: Unix time of the segment's start. prompt_scores: raw scores under each calibration prompt, NaN where a segment
    was not probed. total, events: counts of all segments in the window, of which the arrays may hold only some.
    """

    time: Column
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
    smoothed: Column

    def __len__(self) -> int:
        return len(self.raw)

    @property
    def n_blocks(self) -> int:
        """The number of blocks."""
        return len(np.unique(self.block))

    @property
    def event_rate(self) -> float:
        """The share of all segments that are in events, at the thresholds of then."""
        return self.events / max(self.total, 1)

    def share_above(self, threshold: float) -> float:
        """The share of the rows whose smoothed score is above a threshold."""
        return float((self.smoothed > threshold).mean())

    @property
    def probed(self) -> "Sample":
        """The rows that were scored under all prompts."""
        return self.where(self.is_probed)

    @property
    def is_probed(self) -> Bool[np.ndarray, " row"]:
        """Which rows were scored under all prompts."""
        n_prompts = self.prompt_scores.shape[1]
        return ~np.isnan(self.prompt_scores).any(1) if n_prompts else np.zeros(len(self), bool)

    def where(self, rows: Bool[np.ndarray, " row"]) -> "Sample":
        """The rows at which the mask is true; they are counted anew."""
        arrays = {name: getattr(self, name)[rows] for name in _ARRAYS}
        return replace(self, **arrays, total=int(rows.sum()), events=int(self.in_event[rows].sum()))

    def subsample(self, rows: float) -> "Sample":
        """About this many rows in whole blocks, always the same ones; all rows if there are no more."""
        blocks, sizes = np.unique(self.block, return_counts=True)
        order = np.random.default_rng(0).permutation(len(blocks))
        drawn = order[: int(np.searchsorted(np.cumsum(sizes[order]), rows)) + 1]
        return self if len(drawn) == len(blocks) else self.where(np.isin(self.block, blocks[drawn]))


_ARRAYS = tuple(f.name for f in fields(Sample) if f.name not in ("total", "events"))


def concatenate(samples: Sequence[Sample]) -> Sample:
    """Several samples as one; blocks of different samples stay different blocks."""
    arrays = {name: np.concatenate([getattr(s, name) for s in samples]) for name in _ARRAYS}
    shifts = np.cumsum([0] + [int(s.block.max(initial=-1)) + 1 for s in samples[:-1]])
    arrays["block"] = np.concatenate([s.block + shift for s, shift in zip(samples, shifts, strict=True)])
    return Sample(**arrays, total=sum(s.total for s in samples), events=sum(s.events for s in samples))
