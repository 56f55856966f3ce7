"""One video, scored once: what the process does in which workers and `headhunt batch` score."""

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path

from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector, ScoredBatch
from headhunt_svc.errors import ArtifactError
from headhunt_svc.jobs.store import Store
from headhunt_svc.prediction_log.recording import detecting
from headhunt_svc.storage.files import sha256
from headhunt_svc.video.reader import VideoReader, VideoSource

Reader = Callable[[Path], AbstractContextManager[VideoSource]]


def result_key(content: str, detector: Detector, options: Options) -> str:
    """Names a result: content of the video (sha256), detector, code and options."""
    made_of = [content, detector.detector_id, detector.code, detector.batch_segments, asdict(options)]
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:32]


def score(
    detector: Detector,
    store: Store,
    path: Path,
    video_id: str,
    options: Options,
    *,
    checkpoint_s: float = 60,
    check: Callable[[], object] = lambda: None,
    reader: Reader = VideoReader,
) -> str:
    """Score a video unless its result is there; returns the result's key.

    A scoring that was interrupted goes on from its checkpoint.

    video_id: what the prediction log calls the video; the result is named by its content.
    check: called between batches; what it raises stops the work, which is kept for the next time.

    Raises:
        VideoError: see Detector.detect.
        OutputError: a result or checkpoint cannot be written.
    """
    if not path.is_file():
        with VideoReader(path):  # names what is wrong
            pass
    content = sha256(path)
    key = result_key(content, detector, options)
    if store.has(key):
        return key
    with store.alone(key, check):
        if not store.has(key):
            try:
                _score(detector, store, key, content, path, video_id, options, checkpoint_s, check, reader)
            except ArtifactError:  # the checkpoint does not fit the video, whatever made it
                store.drop_checkpoint(key)
                _score(detector, store, key, content, path, video_id, options, checkpoint_s, check, reader)
    return key


def _score(
    detector: Detector,
    store: Store,
    key: str,
    content: str,
    path: Path,
    video_id: str,
    options: Options,
    checkpoint_s: float,
    check: Callable[[], object],
    reader: Reader,
) -> None:
    known = store.checkpoint(key, video_id)
    store.note(key=key, known=len(known))
    fresh: list[ScoredBatch] = []
    n_seen, n_kept, saved = 0, len(known), time.monotonic()

    def keep() -> None:
        nonlocal n_kept, saved
        if fresh:
            store.save_checkpoint(key, n_kept, fresh)
        n_kept, saved = n_kept + len(fresh), time.monotonic()
        fresh.clear()

    def scored(batch: ScoredBatch) -> None:
        nonlocal n_seen
        n_seen += 1
        if n_seen > len(known):
            fresh.append(batch)
        if time.monotonic() - saved >= checkpoint_s:
            keep()
        try:
            check()
        except BaseException:
            keep()
            raise

    report = detecting(detector)(path, video_id, options, reader=reader, scored=scored, known=known)
    store.save(key, report.model_copy(update={"video_id": content}))
