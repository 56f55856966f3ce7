"""extract: videos + MLLM -> features of all heads under every prompt, for the splits that choose heads and fit."""

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import cache, partial
from pathlib import Path

from rich.progress import track

from headhunt_svc.data.datasets import load_index
from headhunt_svc.data.feature_store import FeatureStore, Source, VideoFeatures
from headhunt_svc.detector.batches import pixel_batches
from headhunt_svc.detector.bundle import model_key
from headhunt_svc.detector.decoders import Decoders, video_mib
from headhunt_svc.detector.in_order import Check, in_order
from headhunt_svc.errors import DatasetError, VideoError
from headhunt_svc.model.checkpoint import damage_named
from headhunt_svc.model.extractor import Extractor
from headhunt_svc.model.loading import load_extractor
from headhunt_svc.params import Params, SegmentationParams
from headhunt_svc.pipeline.files import Passes
from headhunt_svc.pipeline.shards import Readings, shard_key
from headhunt_svc.settings import Settings
from headhunt_svc.storage.locks import sole_writer
from headhunt_svc.types import LABELLED, HeadRef, IndexedVideo
from headhunt_svc.video.opening import open_video


def video_features(
    extractor: Extractor,
    record: IndexedVideo,
    prompts: Sequence[str],
    params: SegmentationParams,
    batch_segments: int,
    heads: tuple[HeadRef, ...] | None,
    decoders: Decoders,
    check: Check,
) -> VideoFeatures:
    """Heads (all by default) and final hidden states of one video under every prompt.

    check: raises if the work must stop.

    Raises:
        DatasetError: the video has gaps or other frames than the index says: labels would not fit.
    """
    heads = extractor.heads if heads is None else heads
    readings = Readings(heads)
    try:
        with (
            open_video(record.path, record.video_id) as video,
            decoders.memory(video_mib(video.size, params, extractor, batch_segments), check),
            closing(pixel_batches(video, params, extractor, batch_segments)) as batches,
        ):
            for batch in batches:
                check()
                with decoders.turn(batch, extractor.device):
                    reading = extractor.read(batch.pixels, prompts, heads, batch.cache, batch.frames)
                readings.add(batch.segments, reading)
    except VideoError as exc:
        raise DatasetError(str(exc)) from exc
    if video.gaps or video.n_frames != record.n_frames:
        raise DatasetError(
            f"{record.path}: {video.n_frames} of {record.n_frames} frames can be decoded: repair the file or remove it"
        )
    return readings.features(video.state())


def extract_videos(
    model: Callable[[], Extractor],
    key_of_model: str,
    records: Sequence[IndexedVideo],
    prompts: Sequence[str],
    params: SegmentationParams,
    store: FeatureStore,
    heads: tuple[HeadRef, ...] | None = None,
) -> Passes:
    """Features of every video, at `heads` (all by default), into the store; shards that fit are kept, so it resumes.

    Several videos are decoded at once where the model is faster than one decoder (detector/decoders.py).

    model: called where there is something to extract.
    """
    settings, source = Settings(), Source(key_of_model, tuple(prompts), params.model_dump_json())
    decoders = Decoders(settings)

    @cache  # no lock: other threads ask for it once a first batch was read
    def loaded() -> Extractor:
        extractor = model()
        with damage_named(extractor.model.name_or_path or key_of_model):
            extractor.check(prompts, heads or (), params.frames_per_segment)
        return extractor

    def work(record: IndexedVideo, check: Check) -> bool:
        """Store the features of a video, unless they are there; was it decoded?"""
        key = shard_key(record.path, key_of_model, heads, prompts, params)
        if store.key(record.video_id) == key:
            return False
        features = video_features(loaded(), record, prompts, params, settings.batch_segments, heads, decoders, check)
        store.save(record.video_id, features, key, source)
        return True

    with closing(in_order(records, work, decoders)) as finished:
        decoded = 0
        # a loop ends its progress bar when an error leaves it; one that a variable holds may end, and lock, much later
        for _, result in track(finished, description="extract", total=len(records)):
            decoded += result.result()
    return Passes(stored=len(records) - decoded, decoded=decoded)


def extract(params: Params, index: Path, out: Path) -> Passes:
    """Calibration and validation videos under every prompt."""
    records = [video for split in LABELLED for video in load_index(index, split)]
    model = partial(load_extractor, params.mllm, params.segmentation, Settings().device)
    store = FeatureStore(out)
    key_of_model, prompts = model_key(params.mllm), params.prompts.texts
    with sole_writer(out):
        passes = extract_videos(model, key_of_model, records, prompts, params.segmentation, store)
        store.finish(r.video_id for r in records)
    return passes
