"""Head features on disk: one safetensors shard per video, and index.parquet with a row per segment.

A shard names what it was made from (`key`); a shard with the same key is not made again, so extraction resumes.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float32
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from headhunt_svc.errors import ArtifactError
from headhunt_svc.io.files import text_id, write_file
from headhunt_svc.types import FrameSpan, HeadFeatures, HeadRef, Segment


@dataclass(frozen=True, slots=True)
class VideoFeatures:
    """Features of one video at one model: values float32[prompt, segment, head, d_head]."""

    segments: tuple[Segment, ...]
    heads: tuple[HeadRef, ...]
    values: Float32[np.ndarray, "prompt segment head d_head"]


class FeatureStore:
    """A folder of features."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _shard(self, video_id: str) -> Path:
        return self.folder / f"{text_id(video_id)}.safetensors"

    def key(self, video_id: str) -> str | None:
        """The key of the stored shard, or None if there is no readable one."""
        try:
            with safe_open(self._shard(video_id), "np") as f:
                return str(json.loads(f.metadata()["about"])["key"])
        except (OSError, SafetensorError, KeyError, TypeError):
            return None

    def save(self, video_id: str, features: VideoFeatures, key: str) -> None:
        """Write the shard of one video."""
        about = {
            "key": key,
            "video_id": video_id,
            "heads": features.heads,
            "segments": [[*s.span, *s.frame_indices] for s in features.segments],
        }  # one metadata entry: safetensors does not keep the order of several
        metadata = {"about": json.dumps(about)}
        write_file(self._shard(video_id), lambda p: save_file({"values": features.values}, p, metadata=metadata))

    def finish(self, video_ids: Iterable[str]) -> None:
        """Drop shards of other videos and write index.parquet."""
        kept = {self._shard(v).name: v for v in video_ids}
        for path in self.folder.glob("*.safetensors"):
            if path.name not in kept:
                path.unlink()
        rows = [
            {"video_id": v, "segment": s.index, "start_frame": s.span.start, "stop_frame": s.span.stop}
            for v in kept.values()
            for s in self.load(v).segments
        ]
        write_file(self.folder / "index.parquet", lambda p: pd.DataFrame(rows).to_parquet(p, index=False))

    def load(self, video_id: str) -> VideoFeatures:
        """Read one video's features.

        Raises:
            ArtifactError: missing or broken.
        """
        try:
            with safe_open(self._shard(video_id), "np") as f:
                about, values = json.loads(f.metadata()["about"]), f.get_tensor("values")
        except (OSError, SafetensorError) as exc:
            raise ArtifactError(
                f"{self.folder} holds no features of {video_id} ({exc}): run `headhunt extract`"
            ) from exc
        segments = tuple(
            Segment(video_id, i, FrameSpan(s[0], s[1]), tuple(s[2:])) for i, s in enumerate(about["segments"])
        )
        return VideoFeatures(segments, tuple(HeadRef(*h) for h in about["heads"]), values)

    def under_prompt(self, video_ids: Iterable[str], prompt: int) -> HeadFeatures:
        """Features of several videos, one after the other, under one prompt."""
        parts = [self.load(v) for v in video_ids]
        if not parts:
            raise ArtifactError(f"no videos of this split in {self.folder}")
        values = np.concatenate([p.values[prompt] for p in parts])
        return HeadFeatures(tuple(s for p in parts for s in p.segments), parts[0].heads, values)
