"""Splits that cannot leak: disjoint by video, stratified by label, drawn from a seed."""

from collections.abc import Collection, Mapping
from itertools import combinations

import numpy as np

from headhunt_svc.errors import DatasetError

LEAST = 2  # normal and anomalous videos in a drawn split, the least that fitting and tuning need


def check_no_leak(splits: Mapping[str, Collection[str]]) -> None:
    """Raise DatasetError naming the videos that are in two splits."""
    for (one, videos), (other, others) in combinations(splits.items(), 2):
        if both := sorted(set(videos) & set(others)):
            raise DatasetError(
                f"{', '.join(both)}: in {one} and in {other}; what is measured on such videos is not a result: "
                "every video belongs to one split"
            )


def _count(size: float, n: int, what: str) -> int:
    count = int(size) if size >= 1 else round(size * n)
    if count > n:
        raise DatasetError(f"split.{what} asks for {count} of {n} videos that are not test videos")
    return count


def draw_split(labels: Mapping[str, str], sizes: Mapping[str, float], normal: str, seed: int) -> dict[str, str]:
    """Video -> split, for as many videos as `sizes` says: shares below 1 of all videos, or counts.

    labels: the content of each video, `normal` or a kind of anomaly. Normal and anomalous videos keep their shares,
    with at least two of each; among the anomalous ones every kind is drawn in turn, in an order that the seed decides.
    Videos that are not drawn have no split.

    Raises:
        DatasetError: more videos asked for than there are, or fewer than two normal or two anomalous ones left.
    """
    random, names = np.random.default_rng(seed), sorted(labels)
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(labels[name], []).append(name)
    queues = {kind: [videos[i] for i in random.permutation(len(videos))] for kind, videos in sorted(kinds.items())}
    split: dict[str, str] = {}
    share = len(kinds.get(normal, [])) / max(len(names), 1)
    for what, size in sizes.items():
        count = _count(size, len(names), what)
        n_normal = min(max(round(count * share), LEAST), max(count - LEAST, LEAST))
        n_anomalous = max(count - n_normal, LEAST)
        order = [kind for kind in queues if kind != normal]
        anomalous = [order[i] for i in random.permutation(len(order))]
        drawn = _in_turn({normal: queues.get(normal, [])}, [normal], n_normal)
        drawn += _in_turn(queues, anomalous, n_anomalous)
        if len(drawn) < n_normal + n_anomalous:
            raise DatasetError(
                f"split.{what} takes {n_normal} normal and {n_anomalous} anomalous videos, and there are not so many "
                f"left of {len(kinds.get(normal, []))} and {len(names) - len(kinds.get(normal, []))}: ask for fewer"
            )
        split |= dict.fromkeys(drawn, what)
    return split


def _in_turn(queues: Mapping[str, list[str]], order: list[str], count: int) -> list[str]:
    """Up to `count` videos off the queues, one of each in turn."""
    drawn: list[str] = []
    while len(drawn) < count and any(queues[kind] for kind in order):
        drawn += [queues[kind].pop() for kind in order if queues[kind]][: count - len(drawn)]
    return drawn
