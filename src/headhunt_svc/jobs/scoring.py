"""One video, scored once: what each thread does of the process in which workers and `headhunt batch` score."""

import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath

from headhunt_svc.detector.batches import FeatureBatch
from headhunt_svc.detector.decoders import Decoders, TurnReader, video_mib
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector, ReadBatches, Reporter
from headhunt_svc.detector.report import Report
from headhunt_svc.errors import ArtifactError, VideoOpenError
from headhunt_svc.events.recording import EventRecorder, Footage
from headhunt_svc.jobs.inputs import UPLOAD, local
from headhunt_svc.jobs.models import JobVideo
from headhunt_svc.jobs.store import ResultStore
from headhunt_svc.names import camera_of, path_of
from headhunt_svc.prediction_log.recording import shared_recorder
from headhunt_svc.settings import Settings
from headhunt_svc.storage.files import sha256
from headhunt_svc.video.opening import open_video
from headhunt_svc.video.source import VideoSource


def result_key(content: str, detector: Detector, options: Options) -> str:
    """Names a result: content of the video (sha256), detector, code, options, and whose normality and weights."""
    made_of = [content, detector.detector_id, detector.code, detector.batch_segments, asdict(options)]
    made_of += [] if detector.normality is None else [detector.normality]
    made_of += [] if detector.correction is None else ["correction", detector.correction]
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:32]


def _camera(video: JobVideo) -> str:
    """The camera of a video; the place of an uploaded one says nothing about it."""
    return camera_of(video.video_id, None if video.uri.startswith(UPLOAD) else video.uri)


@dataclass(frozen=True, slots=True)
class VideoScorer:
    """Scores videos, each once.

    checkpoint_s: seconds of work between two checkpoints.
    check: called during downloads and between batches; what it raises stops the work, which is kept for the next time.
    decoders: whose turn it is at the model, where several threads score videos, and what memory they hold.
    events: stores the events of what is scored; a result that is there already is not scored.
    candidate: is scored in shadow.
    """

    detector: Detector
    store: ResultStore
    checkpoint_s: float
    check: Callable[[], None]
    decoders: Decoders
    events: EventRecorder | None = None
    candidate: Reporter | None = None

    def score(self, video: JobVideo, options: Options) -> str:
        """Score a video from its checkpoint on, unless its result is there; returns the result's key.

        Raises:
            VideoError: see Detector.detect.
            OutputError: a result or checkpoint cannot be written.
            UnreachableError: see inputs.local.
        """
        return replace(self, detector=self.detector.at(_camera(video)))._score(video, options)

    def _score(self, video: JobVideo, options: Options) -> str:
        limit = Settings().max_upload_bytes
        with local(video.uri, self.store.uploads, self.check, below=video.below, limit_bytes=limit) as path:
            if not os.path.isfile(path):  # noqa: PTH113 - no file either: a name that is too long
                with open_video(path):  # names what is wrong
                    pass
            content = sha256(path)
            if video.uri.startswith(UPLOAD) and content != video.uri.removeprefix(UPLOAD):
                raise VideoOpenError(f"{video.uri} is no longer what was sent: send it again, then retry the job")
            key = result_key(content, self.detector, options)
            if self.store.has(key):
                return key
            with self.store.lock(key, self.check):
                if not self.store.has(key):
                    try:
                        report = self._report(key, content, path, video, options)
                    except ArtifactError:  # the checkpoint does not fit the video, whatever made it
                        self.store.drop_checkpoint(key)
                        report = self._report(key, content, path, video, options)
                    self.store.save(key, report.model_copy(update={"video_id": content}))
        return key

    def _report(self, key: str, content: str, path: Path, video: JobVideo, options: Options) -> Report:
        recorder, resume = shared_recorder(Settings()), self.store.checkpoint(key, video.video_id)
        self.store.log_scoring(key, len(resume))
        is_outside = video.uri.startswith(UPLOAD) or video.below is not None  # a client sent or named it
        sandbox = Settings() if is_outside else None
        detector = self.detector
        with (
            open_video(path, video.video_id, sandbox, options.stream) as source,
            self.decoders.memory(self._video_mib(source), self.check),
        ):
            own = TurnReader(detector.model_reader(), self.decoders, detector.extractor.device)
            reader = recorder.probing(detector, own)
            watch = None if self.events is None else self.events.watch(detector, options)
            read_from = source if watch is None else watch.source(source)
            read = self._kept(key, detector.read(read_from, reader, resume), len(resume))
            batches = detector.scored(read, reader, options)
            batches = recorder.record(
                detector,
                video.video_id,
                batches,
                options,
                camera=_camera(video),
                candidate=lambda: self.candidate,
            )
            batches = batches if watch is None else watch.record(batches)
            with closing(batches):
                report = detector.report(source, batches, options)
        if watch is not None:
            name = None if video.uri.startswith(UPLOAD) else PurePath(path_of(video.uri)).name
            watch.store(report, Footage(path, _camera(video), video.uri, name, content, is_own=not is_outside))
        return report

    def _video_mib(self, source: VideoSource) -> int:
        detector = self.detector
        return video_mib(source.size, detector.bundle.segmentation, detector.extractor, detector.batch_segments)

    def _kept(self, key: str, batches: ReadBatches, n_kept: int) -> ReadBatches:
        """The same batches; keeps a checkpoint every checkpoint_s, and one when the work is stopped."""
        fresh: list[FeatureBatch] = []
        saved = time.monotonic()
        with closing(batches):
            for pixels, batch in batches:
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
                        self.store.save_checkpoint(key, n_kept, fresh)
                        n_kept, saved = n_kept + len(fresh), time.monotonic()
                        fresh.clear()
                yield pixels, batch
