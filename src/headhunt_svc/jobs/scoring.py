"""One video, scored once: what the process does in which workers and `headhunt batch` score."""

import hashlib
import json
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from headhunt_svc.detector.batches import ScoredBatch
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.report import Report
from headhunt_svc.errors import ArtifactError
from headhunt_svc.jobs.store import ResultStore
from headhunt_svc.prediction_log.recording import shared_recorder
from headhunt_svc.settings import Settings
from headhunt_svc.storage.files import sha256
from headhunt_svc.video.opening import open_video


def result_key(content: str, detector: Detector, options: Options) -> str:
    """Names a result: content of the video (sha256), detector, code and options."""
    made_of = [content, detector.detector_id, detector.code, detector.batch_segments, asdict(options)]
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:32]


def score(
    detector: Detector,
    store: ResultStore,
    path: Path,
    video_id: str,
    options: Options,
    *,
    checkpoint_s: float = 60,
    check: Callable[[], None] = lambda: None,
    sandbox: Settings | None = None,
) -> str:
    """Score a video unless its result is there; returns the result's key.

    A scoring that was interrupted goes on from its checkpoint.

    video_id: what the prediction log calls the video; the result is named by its content.
    check: called between batches; what it raises stops the work, which is kept for the next time.
    sandbox: see open_video.

    Raises:
        VideoError: see Detector.detect.
        OutputError: a result or checkpoint cannot be written.
    """
    if not path.is_file():
        with open_video(path):  # names what is wrong
            pass
    content = sha256(path)
    key = result_key(content, detector, options)
    if store.has(key):
        return key
    with store.lock(key, check):
        if not store.has(key):
            scoring = _Scoring(detector, store, key, checkpoint_s, check)
            try:
                report = scoring.run(path, video_id, options, sandbox)
            except ArtifactError:  # the checkpoint does not fit the video, whatever made it
                store.drop_checkpoint(key)
                report = scoring.run(path, video_id, options, sandbox)
            store.save(key, report.model_copy(update={"video_id": content}))
    return key


@dataclass(frozen=True, slots=True)
class _Scoring:
    """One result in the making, with its checkpoint."""

    detector: Detector
    store: ResultStore
    key: str
    checkpoint_s: float
    check: Callable[[], None]

    def run(self, path: Path, video_id: str, options: Options, sandbox: Settings | None) -> Report:
        """Score from the checkpoint on."""
        recorder, resume = shared_recorder(Settings()), self.store.checkpoint(self.key, video_id)
        self.store.log_scoring(self.key, len(resume))
        with open_video(path, video_id, sandbox) as video:
            batches = self.detector.score(video, recorder.probing(self.detector), resume)
            batches = recorder.record(self.detector, video_id, batches, options)
            with closing(self._kept(batches, len(resume))) as kept:
                return self.detector.report(video, kept, options)

    def _kept(self, batches: Generator[ScoredBatch], n_kept: int) -> Generator[ScoredBatch]:
        """The same batches; keeps a checkpoint every checkpoint_s, and one when the work is stopped."""
        fresh: list[ScoredBatch] = []
        saved = time.monotonic()
        with closing(batches):
            for batch in batches:
                if not batch.resumed:
                    fresh.append(batch)
                due = time.monotonic() - saved >= self.checkpoint_s
                try:
                    self.check()
                except BaseException:
                    due = True
                    raise
                finally:
                    if due and fresh:
                        self.store.save_checkpoint(self.key, n_kept, fresh)
                        n_kept, saved = n_kept + len(fresh), time.monotonic()
                        fresh.clear()
                yield batch
