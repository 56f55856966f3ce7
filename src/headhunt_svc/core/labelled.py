"""Segments with labels and marks, as arrays: what scorers are fitted to and corrected by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

Labels = Bool[np.ndarray, " segment"]
Rows = Int[np.ndarray, " _"]  # numbers of some rows: two arrays of them may differ in length
Z = Float[np.ndarray, "segment features"]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Labelled segments: features, labels, the video of each, and the kinds of anomaly of each video."""

    z: Z
    labels: Labels
    videos: Sequence[str]
    kinds: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Marks:
    """Marked segments, one a row.

    groups: what is left out together in cross-validation (video and day of the event). event: number of the event that
    the segment belongs to.
    """

    z: Z
    anomalous: Bool[np.ndarray, " segment"]
    groups: tuple[str, ...]
    event: Int[np.ndarray, " segment"]

    def __post_init__(self) -> None:
        if not len(self.z) == len(self.anomalous) == len(self.groups) == len(self.event):
            raise ValueError(
                f"{len(self.z)} marked segments, {len(self.anomalous)} labels, {len(self.groups)} groups and "
                f"{len(self.event)} numbers of events"
            )

    def __len__(self) -> int:
        return len(self.z)

    @property
    def events(self) -> list[int]:
        """Numbers of the events, each once."""
        return sorted(set(self.event.tolist()))

    def only(self, rows: Rows) -> "Marks":
        """Some of the segments."""
        return Marks(self.z[rows], self.anomalous[rows], tuple(self.groups[i] for i in rows), self.event[rows])

    def without(self, events: Sequence[int]) -> "Marks":
        """All segments but those of some events."""
        return self.only(np.flatnonzero(~np.isin(self.event, events)))
