"""What a store keeps of a video: the model's readings, batch by batch, and a key of all that they depend on."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from headhunt_svc.data.feature_store import VideoFeatures
from headhunt_svc.detector.batches import TimedSegment
from headhunt_svc.model.extractor import Reading
from headhunt_svc.model.families.plugins import plugins
from headhunt_svc.params import SegmentationParams
from headhunt_svc.storage.files import code_version, sha256, text_id
from headhunt_svc.types import HeadRef
from headhunt_svc.video.source import VideoState

STORED = "shards with segmentation"  # part of every key: shards of an older layout are made again


@cache
def features_code() -> str:
    """Version of the code and libraries that features depend on, with the families of other distributions."""
    version = code_version("core/frame_times.py", "core/segmentation.py", "detector/batches.py", "model", "video")
    return " ".join([version, *(f"{plugin.model_type} {plugin.distribution}" for plugin in plugins() if plugin.added)])


def shard_key(
    video: Path, model: str, heads: tuple[HeadRef, ...] | None, prompts: Sequence[str], params: SegmentationParams
) -> str:
    """Names everything that a video's features depend on: its content, the model, prompts, heads, segments and code."""
    made_from = f"{STORED} {features_code()} {model} {heads} {list(prompts)} {params.model_dump_json()} {sha256(video)}"
    return text_id(made_from)


class Readings:
    """What the model reads of one video, collected batch by batch until it is stored."""

    def __init__(self, heads: tuple[HeadRef, ...]) -> None:
        self._heads = heads
        self._segments: list[TimedSegment] = []
        self._parts: list[Reading] = []

    def add(self, segments: Sequence[TimedSegment], reading: Reading) -> None:
        """The next batch."""
        self._segments += segments
        self._parts.append(reading)

    def features(self, state: VideoState) -> VideoFeatures:
        """All of them, once the video was read to its end."""
        heads, hidden = ([getattr(p, name) for p in self._parts] for name in ("heads", "hidden"))
        return VideoFeatures(
            segments=tuple(s.segment for s in self._segments),
            times=np.array([(s.start_s, s.stop_s) for s in self._segments]),
            heads=self._heads,
            values=np.concatenate(heads, axis=1),
            hidden=np.concatenate(hidden, axis=1),
            state=state,
            batch_segments=self._parts[0].heads.shape[1],
        )
