"""extract: videos + MLLM -> features of all heads under every prompt, for the splits that choose heads and fit."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from rich.progress import track

from headhunt_svc.data.datasets import load_index
from headhunt_svc.data.feature_store import FeatureStore, Source, VideoFeatures
from headhunt_svc.detector.batches import TimedSegment, pixel_batches
from headhunt_svc.detector.bundle import model_key
from headhunt_svc.errors import DatasetError, VideoError
from headhunt_svc.model.extractor import Extractor, Reading
from headhunt_svc.model.loading import load_extractor
from headhunt_svc.params import Params, SegmentationParams
from headhunt_svc.settings import Settings
from headhunt_svc.storage.files import code_version, sha256, text_id
from headhunt_svc.types import HeadRef, VideoRecord
from headhunt_svc.video.opening import open_video

STORED = "shards with times"  # part of every key: shards of an older layout are made again


def video_features(
    extractor: Extractor,
    record: VideoRecord,
    prompts: Sequence[str],
    params: SegmentationParams,
    batch_segments: int,
    heads: tuple[HeadRef, ...] | None = None,
) -> VideoFeatures:
    """Heads (all by default) and final hidden states of one video under every prompt.

    Raises:
        DatasetError: the video has gaps or other frames than the index says: labels would not fit.
    """
    heads = extractor.heads if heads is None else heads
    segments: list[TimedSegment] = []
    parts: list[Reading] = []
    try:
        with (
            open_video(record.path, record.video_id) as video,
            closing(pixel_batches(video, params, extractor, batch_segments)) as batches,
        ):
            for batch in batches:
                segments += batch.segments
                parts.append(extractor.read(batch.pixels, prompts, heads, batch.cache, batch.frames))
    except VideoError as exc:
        raise DatasetError(str(exc)) from exc
    if video.gaps or video.n_frames != record.n_frames:
        raise DatasetError(
            f"{record.path}: {video.n_frames} of {record.n_frames} frames can be decoded: repair the file or remove it"
        )
    values, hidden = (np.concatenate(a, axis=1) for a in ([p.heads for p in parts], [p.hidden for p in parts]))
    times = np.array([(s.start_s, s.stop_s) for s in segments])
    return VideoFeatures(tuple(s.segment for s in segments), times, heads, values, hidden)


def extract_videos(
    extractor: Extractor,
    key_of_model: str,
    records: Sequence[VideoRecord],
    prompts: Sequence[str],
    params: SegmentationParams,
    store: FeatureStore,
    heads: tuple[HeadRef, ...] | None = None,
) -> None:
    """Features of every video, at `heads` (all by default), into the store; shards that fit are kept, so it resumes."""
    extractor.check(prompts, heads or (), params.frames_per_segment)
    batch_segments = Settings().batch_segments
    code = code_version("core/segmentation.py", "detector", "model", "video")
    for record in track(records, description="extract"):
        made_from = (
            f"{STORED} {code} {key_of_model} {heads} {list(prompts)} {params.model_dump_json()} {sha256(record.path)}"
        )
        key = text_id(made_from)
        if store.key(record.video_id) != key:
            features = video_features(extractor, record, prompts, params, batch_segments, heads)
            store.save(record.video_id, features, key, Source(key_of_model, tuple(prompts)))


def extract(params: Params, index: Path, out: Path) -> None:
    """Calibration and validation videos under every prompt."""
    records = load_index(index, "calibration") + load_index(index, "validation")
    extractor = load_extractor(params.mllm, params.segmentation, Settings().device)
    store = FeatureStore(out)
    extract_videos(extractor, model_key(params.mllm), records, params.prompts.texts, params.segmentation, store)
    store.finish(r.video_id for r in records)
