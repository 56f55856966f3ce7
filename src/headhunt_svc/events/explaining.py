"""Lets the model explain a stored event afterwards: in words, and which places of the picture spoke for it.

It reads the event's clip, as nothing else of the footage is kept: the segment that holds the peak or, where it is not
known when the clip begins, the one with the highest score. Segments of a clip begin where it does, so their scores are
close to those that the event was found with, and seldom the same.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch

from headhunt_svc.detector.batches import PixelBatch
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.readers import FeatureReader
from headhunt_svc.detector.scores import VideoScores
from headhunt_svc.errors import ArtifactError
from headhunt_svc.events.pictures import PeakPictures
from headhunt_svc.events.places import Places
from headhunt_svc.events.records import EventRecord
from headhunt_svc.events.store import EventStore
from headhunt_svc.model.generation import answer
from headhunt_svc.types import Polygon
from headhunt_svc.video.opening import open_video


@dataclass(frozen=True, slots=True, eq=False)
class _Peak:
    """A segment of a clip. rank: whether it holds the event's peak, and its score."""

    rank: tuple[bool, float]
    pixels: torch.Tensor
    batch: PixelBatch
    places: Places


def explain(
    store: EventStore, detector: Detector, event_id: str, by: str, masks: tuple[Polygon, ...] = ()
) -> tuple[EventRecord, bool]:
    """Store what the model says about an event, and which places spoke for it; returns also whether the latter.

    Places of another detector than the event's would explain another score: then only the words are stored.
    detector: with all layers of its model. masks: of the camera.

    Raises:
        NoSuchEventError: there is none of this id. ArtifactError: it has no clip. VideoError: the clip cannot be read.
        ConfigError: scores of this detector are known only when the whole video is; the model lacks its last layers.
        OutputError, UnreachableError: see EventStore.
    """
    event, clip = store.get(event_id), store.clip(event_id)
    if clip is None or not clip.is_file():
        reason = "has no clip" if clip is None else f"has lost its clip {clip}"
        raise ArtifactError(f"the event {event_id} {reason}, so there is no footage to describe")
    detector = detector.at(event.camera)
    detector.check_describes()
    reader = detector.model_reader(explain=True)
    peak = max(_segments(detector, reader, clip, event, masks), key=lambda segment: segment.rank)
    with reader.exclusive():
        text = answer(detector.extractor, peak.pixels, detector.description_prompt, peak.batch.cache)
    is_same = event.detector_id == detector.detector_id
    return store.describe(event_id, text, by, peak.places if is_same else None), is_same


def _segments(
    detector: Detector, reader: FeatureReader, clip: Path, event: EventRecord, masks: tuple[Polygon, ...]
) -> Iterator[_Peak]:
    """The best segment of each batch of a clip."""
    scores = VideoScores(detector.scorer)
    peak_s = None if event.clip_start is None else (event.peak - event.clip_start).total_seconds()
    with open_video(clip, event.video_id, masks=masks) as video:
        pictures = PeakPictures(video)
        with closing(detector.read(pictures, reader)) as batches:
            for pixels, features in batches:
                batch = scores.add(features)
                ranks = [
                    (peak_s is not None and timed.start_s <= peak_s < timed.stop_s, float(raw))
                    for timed, raw in zip(batch.segments, batch.raw, strict=True)
                ]
                best = ranks.index(max(ranks))
                taken = {i: pictures.take(s.segment.index, i == best) for i, s in enumerate(batch.segments)}
                picture = taken[best]
                assert batch.attribution is not None
                assert picture is not None
                shares = batch.attribution.pictures[best].astype("float32")
                places = Places(detector.detector_id, float(batch.raw[best]), shares, picture)
                yield _Peak(ranks[best], pixels.pixels[best].clone(), pixels, places)
