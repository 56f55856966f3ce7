"""A made-up site for feedback: a project with stored features, a bundle of it, marked events, and a prediction log.

Features are drawn, no video is made and no model is run. Normal segments are noise in a few dimensions, as the outputs
of heads are; anomalies move along one direction, and a harmless activity of the camera `yard` along another one that
the scorer takes for an anomaly.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float32

from headhunt_svc.core.fitting import fit_scorer
from headhunt_svc.core.localization import contiguous, smooth
from headhunt_svc.core.scoring import apply_scorer
from headhunt_svc.data.datasets import data_digest, save_index, save_labels
from headhunt_svc.data.feature_store import FeatureStore, Source, VideoFeatures
from headhunt_svc.detector.bundle import Bundle, StoredPoint, load_bundle, load_golden, model_key, save_bundle
from headhunt_svc.detector.scorer_file import save_scorer
from headhunt_svc.events.features import EventFeatures
from headhunt_svc.events.records import EventRecord, EventState, NewEvent, TimeBasis
from headhunt_svc.events.store import EventStore
from headhunt_svc.params import Params
from headhunt_svc.prediction_log.schema import COLUMNS, LogMetadata
from headhunt_svc.prediction_log.writer import PredictionLog
from headhunt_svc.storage.files import sha256
from headhunt_svc.types import LABELLED, FrameSpan, HeadRef, Scorer, Segment, Split, VideoRecord, edges_of
from headhunt_svc.video.source import VideoState

D_HEAD = 16
N_HEADS = 10  # of those of the shipped detector, which may have more
FPS, LENGTH = 10.0, 16  # frames a second, frames a segment
N_SEGMENTS = 12  # of a labelled video
EVENT_SEGMENTS = 4
DIMENSIONS = 20
LIVE = StoredPoint(sigma_segments=0.75, threshold=0.45, rule="made up")
POINT = StoredPoint(sigma_segments=0.75, threshold=0.44, rule="made up", causal=LIVE)  # whatever the shipped ones are
Z = Float32[np.ndarray, "segment features"]


@dataclass(frozen=True)
class Site:
    """The project's folder, its bundle, and the directions along which features move."""

    folder: Path
    bundle: Bundle
    scorer: Scorer
    anomaly: Float32[np.ndarray, " features"]
    harmless: Float32[np.ndarray, " features"]

    @property
    def heads(self) -> tuple[HeadRef, ...]:
        """The expert heads."""
        return tuple(HeadRef(*head) for head in self.bundle.heads)


def _directions(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    axes = np.linalg.qr(rng.normal(size=(n, 2)))[0].T
    anomaly, other = (4.0 * axis for axis in axes)
    return anomaly.astype(np.float32), (0.6 * anomaly + 1.2 * other).astype(np.float32)


def draw(n: int, features: int, rng: np.random.Generator) -> Z:
    """Normal segments: most of their variance is in a few dimensions, the same ones for all."""
    mixing = np.random.default_rng(7).normal(size=(DIMENSIONS, features)) / np.sqrt(features)
    z = 3 * rng.normal(size=(n, DIMENSIONS)) @ mixing + 0.1 * rng.normal(size=(n, features))
    return np.asarray(z, np.float32)


def _record(split: Split, i: int) -> VideoRecord:
    name, anomalous = f"{split}/{i}.mp4", i % 2 == 1
    spans = (FrameSpan(4 * LENGTH, 8 * LENGTH),) if anomalous else ()
    return VideoRecord(name, Path(name), N_SEGMENTS * LENGTH, FPS, split, "fall" if anomalous else "normal", spans)


def _video(record: VideoRecord, heads: tuple[HeadRef, ...], z: Z, prompts: int) -> VideoFeatures:
    spans = [FrameSpan(k * LENGTH, (k + 1) * LENGTH) for k in range(N_SEGMENTS)]
    segments = tuple(Segment(record.video_id, k, span, (span.start,)) for k, span in enumerate(spans))
    values = np.repeat(z.reshape(1, N_SEGMENTS, len(heads), -1), prompts, 0)
    hidden = np.zeros((prompts, N_SEGMENTS, 3), np.float32)
    state = VideoState(fps=FPS, n_frames=record.n_frames)
    return VideoFeatures(segments, edges_of(spans) / FPS, heads, values, hidden, state, N_SEGMENTS)


def make_site(folder: Path, params: Params, shipped: Path, videos: int = 24, seed: int = 0) -> Site:
    """Write a project with its bundle with heads and names of operating points of the `shipped` one."""
    rng = np.random.default_rng(seed)
    old, _ = load_bundle(shipped)
    heads = tuple(HeadRef(*head) for head in old.heads[:N_HEADS])
    anomaly, harmless = _directions(len(heads) * D_HEAD, rng)
    records = [_record(split, i) for split in (*LABELLED, "test") for i in range(videos)]
    artifacts = folder / "artifacts"
    save_index(artifacts / "index.parquet", records)
    save_labels(artifacts / "labels.parquet", records)
    model, cut = model_key(old.mllm, old.mllm_revision), old.segmentation.model_dump_json()
    stores = {False: FeatureStore(folder / "data/features"), True: FeatureStore(folder / "data/test_features")}
    rows: dict[str, Z] = {}
    for record in records:
        truth = record.truth()[::LENGTH]
        z = draw(N_SEGMENTS, len(anomaly), rng) + truth[:, None] * anomaly
        is_test = record.split == "test"
        prompts = (old.prompt,) if is_test else old.calibration_prompts
        stores[is_test].save(record.video_id, _video(record, heads, z, len(prompts)), "k", Source(model, prompts, cut))
        rows[record.video_id] = z
    fitted_on = [r for r in records if r.split == "calibration"]
    z = np.concatenate([rows[r.video_id] for r in fitted_on])
    labels = np.concatenate([r.truth()[::LENGTH] for r in fitted_on])
    names = [r.video_id for r in fitted_on for _ in range(N_SEGMENTS)]
    scorer = fit_scorer(z, labels, names, heads, params.fit, {r.video_id: r.kinds for r in fitted_on}).scorer
    save_scorer(artifacts / "detector" / "scorer.safetensors", scorer)
    digest = data_digest(r for r in records if r.split in LABELLED)
    update = {
        "scorer_sha256": sha256(artifacts / "detector" / "scorer.safetensors"),
        "data": {"index_sha256": digest, "videos": dict.fromkeys(LABELLED, videos)},
        "operating_points": dict.fromkeys(old.operating_points, POINT),
        "heads": old.heads[:N_HEADS],
        "rss": old.rss[:N_HEADS],
    }
    bundle = old.relocated(shipped, artifacts / "detector").model_copy(update=update)
    save_bundle(artifacts / "detector", bundle, scorer, load_golden(shipped)[:, : len(anomaly)])
    return Site(folder, bundle, scorer, anomaly, harmless)


def add_event(
    site: Site,
    store: EventStore,
    start: datetime,
    move: np.ndarray,
    state: EventState | None,
    rng: np.random.Generator,
    camera: str = "yard",
    by: str = "anna",
) -> EventRecord:
    """Store an event whose segments are moved along a direction; state: what somebody says about it."""
    z, normal = (draw(n, len(move), rng) for n in (EVENT_SEGMENTS, 8))
    z = (z + move).astype(np.float32)
    times = 1.6 * np.arange(EVENT_SEGMENTS)
    raw = apply_scorer(site.scorer, z)
    features = EventFeatures(
        site.bundle.detector_id,
        site.heads,
        z.reshape(len(z), len(site.heads), -1),
        100 + times,
        raw,
        normal.reshape(len(normal), len(site.heads), -1),
        1.6 * np.arange(8.0),
        apply_scorer(site.scorer, normal),
        site.bundle.features_id,
    )
    length = timedelta(seconds=1.6 * EVENT_SEGMENTS)
    event = NewEvent(
        camera=camera,
        video_id=f"{camera}/{start:%Y%m%d-%H%M%S}.mp4",
        start=start,
        stop=start + length,
        peak=start,
        time_basis=TimeBasis.STREAM,
        score=float(raw.max()),
        threshold=site.bundle.operating_point("f1").threshold,
        detector_id=site.bundle.detector_id,
        contributions=(0.0,) * len(site.heads),
        origin="live",
        key=f"{camera} {start.isoformat()}",
        start_s=100.0,
    )
    stored = store.add(event, merge_s=None, features=features)
    return stored if state is None else store.mark(stored.id, state, by)


def log_days(
    site: Site,
    log: str,
    days: list[date],
    segments: int,
    every: int,
    rng: np.random.Generator,
    camera: str = "yard",
) -> LogMetadata:
    """Write a log of so many segments a day; every so many segments, the harmless activity goes on for some."""
    point = site.bundle.operating_point("f1", "causal")
    metadata = LogMetadata(
        detector_id=site.bundle.detector_id,
        code="made up",
        heads=site.heads,
        prompts=site.bundle.calibration_prompts,
        prompt=site.bundle.prompt,
        threshold=point.threshold,
        sigma_segments=point.sigma_segments,
        features="all",
    )
    with PredictionLog(log, retention_days=36_500) as writer:
        for day in days:
            assert writer.put(metadata, _day(site, day, segments, every, rng, camera))
    return metadata


def _day(site: Site, day: date, n: int, every: int, rng: np.random.Generator, camera: str) -> pa.Table:
    point, start = site.bundle.operating_point("f1", "causal"), datetime(day.year, day.month, day.day, 1, tzinfo=UTC)
    z = draw(n, len(site.harmless), rng)
    moved = np.arange(n) % every >= every - EVENT_SEGMENTS
    z = (z + moved[:, None] * site.harmless).astype(np.float32)
    raw, starts = apply_scorer(site.scorer, z), 1.6 * np.arange(n)
    edges = np.stack([starts, starts + 1.6], 1)
    smoothed = smooth(raw, point.sigma_segments, "causal", contiguous(edges))
    columns = {
        "time": [start + timedelta(seconds=s) for s in starts.tolist()],
        "camera": [camera] * n,
        "video": [f"{camera}/live"] * n,
        "pass_id": [f"{camera}-{day}"] * n,
        "detector_id": [site.bundle.detector_id] * n,
        "segment": list(range(n)),
        "start_s": starts.tolist(),
        "stop_s": edges[:, 1].tolist(),
        "raw": raw.tolist(),
        "smoothed": smoothed.tolist(),
        "in_event": (smoothed > point.threshold).tolist(),
        "contributions": [[0.0] * len(site.heads)] * n,
        "features": list(z),
    }
    arrays = []
    for field in COLUMNS:
        values = columns.get(field.name, [None] * n)
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        array = pa.array(values, kind)
        arrays.append(array.dictionary_encode() if pa.types.is_dictionary(field.type) else array)
    return pa.Table.from_arrays(arrays, schema=COLUMNS)


def days_before(now: datetime, n: int) -> list[date]:
    """The last n whole days, the oldest first."""
    return [(now - timedelta(days=i)).date() for i in range(n, 0, -1)]


def noon(days: list[date], per_day: int) -> Iterator[datetime]:
    """So many times on each of the days."""
    for day in days:
        for i in range(per_day):
            yield datetime(day.year, day.month, day.day, 12, tzinfo=UTC) + timedelta(minutes=10 * i)
