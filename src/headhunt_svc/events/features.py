"""The head features of an event and of normal segments beside it: what feedback can learn from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from headhunt_svc.errors import ArtifactError
from headhunt_svc.storage.tensors import load_tensors, save_tensors
from headhunt_svc.types import HeadRef

MOST_SEGMENTS = 512  # of an event, whose features are kept; of a longer one, every second, fourth, ...
NORMAL_SEGMENTS = 32  # of a video


@dataclass(frozen=True, slots=True)
class EventFeatures:
    """Outputs of the expert heads, whole, for segments of the event and for a sample of normal segments of its video.

    start_s: when each segment of the event begins, in seconds from the video's first picture (of a live
    camera: from the first one since it is watched); normal_start_s likewise.
    raw, normal_raw: raw scores. features_id: what the features are of (Bundle.features_id); None in older files.
    """

    detector_id: str
    heads: tuple[HeadRef, ...]
    values: Float32[np.ndarray, "segment head d_head"]
    start_s: Float64[np.ndarray, " segment"]
    raw: Float64[np.ndarray, " segment"]
    normal: Float32[np.ndarray, "normal head d_head"]
    normal_start_s: Float64[np.ndarray, " normal"]
    normal_raw: Float64[np.ndarray, " normal"]
    features_id: str | None = None


_ARRAYS = ("values", "start_s", "raw", "normal", "normal_start_s", "normal_raw")


def save_features(path: Path, features: EventFeatures) -> None:
    """Write features, durably. Raises OutputError."""
    facts: dict[str, Any] = {"detector_id": features.detector_id, "heads": [list(head) for head in features.heads]}
    facts |= {} if features.features_id is None else {"features_id": features.features_id}
    save_tensors(path, {name: getattr(features, name) for name in _ARRAYS}, facts, durable=True)


def load_features(path: Path) -> EventFeatures:
    """Read features. Raises ArtifactError: missing or damaged; the message is the reason."""
    facts, arrays = load_tensors(path)
    try:
        heads = tuple(HeadRef(int(layer), int(head)) for layer, head in facts["heads"])
        features_id = facts.get("features_id")
        values = {name: arrays[name] for name in _ARRAYS}
        return EventFeatures(
            str(facts["detector_id"]), heads, **values, features_id=None if features_id is None else str(features_id)
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise ArtifactError(f"not the features of an event ({exc})") from exc


def joined(first: EventFeatures, more: EventFeatures) -> EventFeatures:
    """The features of an event that has become longer: all of its segments, and the normal ones of both, each once.

    Raises:
        ArtifactError: they are of different heads.
    """
    if (first.detector_id, first.heads) != (more.detector_id, more.heads):
        raise ArtifactError("the features of one event are of different detectors")
    arrays: dict[str, Any] = {}
    for names in (_ARRAYS[:3], _ARRAYS[3:]):
        later = {_row(more, names, i) for i in range(len(getattr(more, names[0])))}
        new = [i for i in range(len(getattr(first, names[0]))) if _row(first, names, i) not in later]
        arrays |= {name: np.concatenate([getattr(first, name)[new], getattr(more, name)]) for name in names}
    return EventFeatures(first.detector_id, first.heads, **arrays, features_id=first.features_id or more.features_id)


def _row(features: EventFeatures, names: Sequence[str], i: int) -> tuple[bytes, ...]:
    """All that is known about one segment: equal only for the same one."""
    return tuple(getattr(features, name)[i].tobytes() for name in names)
