"""Stores head features on disk: one safetensors shard per video, and index.parquet with a row per segment.

A shard's key identifies its inputs: a shard with the same key is not computed again, so extraction resumes.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from jaxtyping import Float32, Float64
from pydantic import Field, TypeAdapter, ValidationError

from headhunt_svc.errors import ArtifactError
from headhunt_svc.sections import first_problem
from headhunt_svc.storage.files import remove_leftovers, text_id, write_file
from headhunt_svc.storage.tensors import load_facts, load_tensors, save_tensors
from headhunt_svc.types import FrameSpan, HeadFeatures, HeadRef, Segment
from headhunt_svc.video.source import VideoState

HIDDEN = HeadRef(-1, 0)  # the final hidden state, where a head is expected
TENSORS = "values", "hidden"
_STATE = TypeAdapter(VideoState)
_COUNT = TypeAdapter(int)
_PAIRS = TypeAdapter(tuple[tuple[int, int], ...])
_TIMES = TypeAdapter(tuple[tuple[float, float], ...])
_ROWS = TypeAdapter(tuple[Annotated[tuple[int, ...], Field(min_length=2)], ...])


@dataclass(frozen=True, slots=True)
class Source:
    """Where features come from: the model as `extract` names it, the prompts in order, and how segments are cut."""

    model: str
    prompts: tuple[str, ...]
    segmentation: str  # SegmentationParams as JSON


@dataclass(frozen=True, slots=True)
class VideoFeatures:
    """Features of one video at one model: head outputs and final hidden states under every prompt.

    times: when each segment begins and ends, seconds from the first frame.
    state: what is known about the file after it was read to its end. batch_segments: so many went through the model
    together; a score's last bits depend on it.
    """

    segments: tuple[Segment, ...]
    times: Float64[np.ndarray, "segment 2"]
    heads: tuple[HeadRef, ...]
    values: Float32[np.ndarray, "prompt segment head d_head"]
    hidden: Float32[np.ndarray, "prompt segment state"]
    state: VideoState
    batch_segments: int


class FeatureStore:
    """A folder of features, a file a video. made_by: the command that writes it, for messages."""

    def __init__(self, folder: Path, made_by: str = "headhunt extract") -> None:
        self.folder, self.made_by = folder, made_by

    def _shard(self, video_id: str) -> Path:
        return self.folder / f"{text_id(video_id)}.safetensors"

    def _read(self, video_id: str, *tensors: str) -> tuple[dict[str, Any], list[np.ndarray]]:
        """The metadata of a shard; if tensors are named, these too, after all of the shard has been checked."""
        try:
            if not tensors:
                return load_facts(self._shard(video_id)), []
            facts, arrays = load_tensors(self._shard(video_id))
            return facts, [arrays[name] for name in tensors]
        except (ArtifactError, KeyError) as exc:
            raise ArtifactError(f"{self.folder} holds no features of {video_id} ({exc}): run `{self.made_by}`") from exc

    def _field(self, video_id: str, metadata: dict[str, Any], name: str, kind: Any) -> Any:
        """A field of a shard's metadata; kind: its TypeAdapter.

        Raises:
            ArtifactError: an older shard lacks it, or it is something else.
        """
        if name not in metadata:
            raise ArtifactError(f"{self.folder}: features of {video_id} have no {name}: run `{self.made_by}`")
        try:
            return kind.validate_python(metadata[name])
        except ValidationError as exc:
            raise self._damaged(video_id, f"{name}: {first_problem(exc)}") from exc

    def key(self, video_id: str) -> str | None:
        """The key of the stored shard, or None if there is none that is as it was written."""
        try:
            return str(self._read(video_id, *TENSORS)[0]["key"])
        except (ArtifactError, KeyError):
            return None

    def save(self, video_id: str, features: VideoFeatures, key: str, source: Source) -> None:
        """Write the shard of one video."""
        metadata = {
            "key": key,
            "source": asdict(source),
            "video_id": video_id,
            "heads": features.heads,
            "segments": [[*s.span, *s.frame_indices] for s in features.segments],
            "times": features.times.tolist(),
            "state": _STATE.dump_python(features.state, mode="json"),
            "batch_segments": features.batch_segments,
        }
        save_tensors(self._shard(video_id), {"values": features.values, "hidden": features.hidden}, metadata)

    def check(self, video_ids: Iterable[str], expected: Source) -> None:
        """Raise ArtifactError if features are of another model, prompts or segments; names the first such video."""
        for video_id in video_ids:
            source = self._read(video_id)[0].get("source")
            stored = dict(source) if isinstance(source, dict) else {}
            prompts = stored.get("prompts")
            stored["prompts"] = tuple(prompts) if isinstance(prompts, list) else ()
            for name, needed in asdict(expected).items():
                if stored.get(name) != needed:
                    raise ArtifactError(
                        f"{self.folder}: features of {video_id} are of {name} {stored.get(name)!r}, params.yaml asks "
                        f"for {needed!r}: run `{self.made_by}`"
                    )

    def finish(self, video_ids: Iterable[str]) -> None:
        """Delete shards of other videos and what killed runs left, and write index.parquet."""
        remove_leftovers(self.folder)
        kept = {self._shard(v).name: v for v in video_ids}
        for path in self.folder.glob("*.safetensors"):
            if path.name not in kept:
                path.unlink()
        rows = [
            {"video_id": v, "segment": s.index, "start_frame": s.span.start, "stop_frame": s.span.stop}
            for v in kept.values()
            for s in self._segments(v, self._read(v)[0])
        ]
        write_file(self.folder / "index.parquet", lambda p: pd.DataFrame(rows).to_parquet(p, index=False))

    def load(self, video_id: str) -> VideoFeatures:
        """Read one video's features.

        Raises:
            ArtifactError: missing or broken.
        """
        metadata, (values, hidden) = self._read(video_id, *TENSORS)
        heads = tuple(HeadRef(*pair) for pair in self._field(video_id, metadata, "heads", _PAIRS))
        segments, times = self._segments(video_id, metadata), self._times(video_id, metadata)
        state = self._field(video_id, metadata, "state", _STATE)
        batch_segments = self._field(video_id, metadata, "batch_segments", _COUNT)
        if values.ndim != 4 or hidden.ndim != 3 or {values.dtype, hidden.dtype} != {np.dtype(np.float32)}:
            raise self._damaged(video_id, f"values {values.dtype}{list(values.shape)}")
        shape = (values.shape[0], len(segments), len(heads))
        if values.shape[:3] != shape or hidden.shape[:2] != shape[:2] or len(times) != len(segments):
            raise self._damaged(video_id, f"values {list(values.shape)} of {len(segments)} segments")
        return VideoFeatures(segments, times, heads, values, hidden, state, batch_segments)

    def _damaged(self, video_id: str, reason: str) -> ArtifactError:
        return ArtifactError(f"{self.folder}: features of {video_id} are damaged ({reason}): run `{self.made_by}`")

    def _segments(self, video_id: str, metadata: dict[str, Any]) -> tuple[Segment, ...]:
        rows = self._field(video_id, metadata, "segments", _ROWS)
        return tuple(Segment(video_id, i, FrameSpan(s[0], s[1]), s[2:]) for i, s in enumerate(rows))

    def times(self, video_ids: Iterable[str]) -> Float64[np.ndarray, "segment 2"]:
        """When each segment of several videos begins and ends, seconds from the first frame of its video.

        Raises:
            ArtifactError: missing, broken, or from before times were stored.
        """
        return np.concatenate([self._times(v, self._read(v)[0]) for v in video_ids])

    def _times(self, video_id: str, metadata: dict[str, Any]) -> Float64[np.ndarray, "segment 2"]:
        return np.array(self._field(video_id, metadata, "times", _TIMES), np.float64).reshape(-1, 2)

    def under_prompt(self, video_ids: Iterable[str], prompt: int, hidden: bool = False) -> HeadFeatures:
        """Features of several videos under one prompt; with `hidden`, final hidden states as the one head HIDDEN."""
        parts = [self.load(v) for v in video_ids]
        if not parts:
            raise ArtifactError(f"no videos of this split in {self.folder}")
        segments = tuple(s for p in parts for s in p.segments)
        if hidden:
            return HeadFeatures(segments, (HIDDEN,), np.concatenate([p.hidden[prompt] for p in parts])[:, None])
        return HeadFeatures(segments, parts[0].heads, np.concatenate([p.values[prompt] for p in parts]))
