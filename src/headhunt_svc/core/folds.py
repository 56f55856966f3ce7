"""Folds and subsamples that keep the segments of a video together."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool
from sklearn.model_selection import StratifiedGroupKFold

from headhunt_svc.core.labelled import Labels, Rows
from headhunt_svc.errors import FeatureError

TRIES = 100  # draws per sample until one leaves both classes on both sides


def videos_per_class(labels: Labels, videos: Sequence[str]) -> tuple[int, int]:
    """How many videos hold a normal, and how many an anomalous segment."""
    names = np.asarray(videos)
    return len(set(names[~labels].tolist())), len(set(names[labels].tolist()))


def check_videos(labels: Labels, videos: Sequence[str]) -> None:
    """Raise FeatureError unless anomalous and normal segments come from at least two videos each."""
    normal, anomalous = videos_per_class(labels, videos)
    if min(normal, anomalous) < 2:
        raise FeatureError(
            f"anomalous segments come from {anomalous} videos and normal ones from {normal}: they must come from at "
            "least two videos each; add labelled videos to this split"
        )


def video_folds(labels: Labels, videos: Sequence[str], folds: int, seed: int | None = None) -> list[tuple[Rows, Rows]]:
    """(train, test) rows of at most `folds` folds: stratified, no video in two of them, shuffled if a seed is given.

    Raises:
        FeatureError: fewer than two videos of a class.
    """
    check_videos(labels, videos)
    groups = np.unique(np.asarray(videos), return_inverse=True)[1]
    splitter = StratifiedGroupKFold(
        min(folds, *videos_per_class(labels, videos)), shuffle=seed is not None, random_state=seed
    )
    return [(train, test) for train, test in splitter.split(labels, labels, groups)]


def video_samples(
    labels: Labels, videos: Sequence[str], share: float, count: int, seed: int
) -> list[Bool[np.ndarray, " segment"]]:
    """Random shares of the videos, as rows, stratified by whether a video holds an anomalous segment.

    Without replacement: a video drawn twice would be on both sides of a fold. Every sample holds two videos of each
    class and leaves out one of each; the list is empty if there are too few videos for that.
    """
    names, groups = np.unique(np.asarray(videos), return_inverse=True)
    anomalous = np.array([labels[groups == g].any() for g in range(len(names))])
    random = np.random.default_rng(seed)
    samples: list[Bool[np.ndarray, " segment"]] = []
    for _ in range(TRIES * count):
        drawn = [
            random.choice(v, int(np.ceil(share * len(v))), replace=False)
            for v in map(np.flatnonzero, (anomalous, ~anomalous))
        ]
        inside = np.isin(groups, np.concatenate(drawn))
        enough = min(videos_per_class(labels[inside], np.asarray(videos)[inside].tolist())) >= 2
        if enough and len(set(labels[~inside].tolist())) == 2:
            samples.append(inside)
        if len(samples) == count:
            return samples
    return []
