"""Stores an event that the detector has missed, with its real scores and features: feedback learns from those."""

import hashlib
import json
import logging
import tempfile
from contextlib import closing
from pathlib import Path

from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.errors import ConfigError, VideoError
from headhunt_svc.events.candidates import Candidates
from headhunt_svc.events.clips import cut
from headhunt_svc.events.parts import attach_part_clip, change_part
from headhunt_svc.events.pictures import PeakPictures
from headhunt_svc.events.records import EventRecord, EventState, NewEvent
from headhunt_svc.events.store import EventStore, NoSuchEventError
from headhunt_svc.events.times import started
from headhunt_svc.names import CameraName, VideoId, absolute, camera_of, uri_of
from headhunt_svc.storage.files import sha256
from headhunt_svc.video.opening import open_video

logger = logging.getLogger(__name__)


def add_missed(
    store: EventStore,
    detector: Detector,
    path: Path,
    span_s: tuple[float, float],
    camera: str | None,
    by: str,
    note: str,
) -> EventRecord:
    """Score a video and store the span, in seconds from its first picture, as a confirmed event.

    camera: by default the folder of the video.

    Raises:
        VideoError: the video cannot be read. ConfigError: it has no pictures in this span.
        NoSuchEventError: the event was deleted before it was marked.
        OutputError, UnreachableError: see EventStore.
    """
    settings, video_id = store.settings, VideoId.of_file(path.name)
    name = CameraName(camera) if camera else camera_of(video_id, path)
    detector = detector.at(name)
    options = Options(detector.bundle.default_point)
    point = detector.operating_point(options)
    with open_video(path, video_id) as video:
        pictures = PeakPictures(video)
        heads = tuple(detector.scorer.heads)
        candidates = Candidates(
            point, detector.detector_id, heads, pictures.take, span_s, features_id=detector.bundle.features_id
        )
        reader = detector.model_reader(explain=detector.scorer.background != "median")
        with closing(detector.score(pictures, reader, options=options)) as batches:
            for batch in batches:
                candidates.add(batch)
        candidates.finish()
        duration_s = video.duration_s
    run = candidates.run(*span_s)
    if run is None:
        raise ConfigError(f"{path}: no pictures between {span_s[0]:g} and {span_s[1]:g} s; it has {duration_s:.1f} s")
    pattern, zone = settings.name_pattern, settings.time_zone
    begun = started(path, duration_s, name=path.name, pattern=pattern, time_zone=zone, is_own=True)
    text = json.dumps([name, sha256(path), detector.detector_id, "manual", *span_s])
    key = hashlib.sha256(text.encode()).hexdigest()[:40]
    record = store.add(
        NewEvent(
            camera=name,
            video_id=video_id,
            start=begun.at(span_s[0]),
            stop=begun.at(min(span_s[1], duration_s)),
            peak=begun.at(run.peak_s),
            time_basis=begun.basis,
            time_zone=settings.time_zone,
            score=run.peak,
            threshold=point.threshold,
            detector_id=detector.detector_id,
            contributions=run.contributions,
            origin="manual",
            key=key,
            source=uri_of(absolute(path)),
            start_s=span_s[0],
        ),
        merge_s=0,
        picture=run.picture,
        features=candidates.features(run),
        places=candidates.places(run),
    )
    record = change_part(store, record, key, lambda now: store.mark(now.id, EventState.CONFIRMED, by, note))
    if record.clip:
        return record
    margin_s = settings.clip_margin_s
    stop_s = min(span_s[1] + margin_s, span_s[0] - margin_s + settings.clip_most_s)
    try:
        with tempfile.TemporaryDirectory(prefix="headhunt-") as folder:
            clip = cut(path, max(span_s[0] - margin_s, 0.0), stop_s, Path(folder) / "clip")
            return attach_part_clip(store, record, key, clip.path, begun.at(clip.start_s))
    except (VideoError, NoSuchEventError) as exc:  # or the event was deleted meanwhile
        logger.warning("%s: no clip (%s)", video_id, exc)
        return record
