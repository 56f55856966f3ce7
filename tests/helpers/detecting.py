"""One video through a detector, as the package's own callers do it, with what a test wants to see on the way."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

from headhunt_svc.detector.batches import ScoredBatch
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.report import Report
from headhunt_svc.prediction_log.recording import Recorder
from headhunt_svc.video.opening import open_video


def detect_logged(
    recorder: Recorder,
    detector: Detector,
    path: Path,
    video_id: str | None = None,
    options: Options = Options(),
    *,
    resume: Sequence[ScoredBatch] = (),
    recorded: datetime | None = None,
    after_each: Callable[[ScoredBatch], None] = lambda batch: None,
) -> Report:
    """The report of a video whose segments are logged; after_each sees every batch once it is on its way."""

    def seen(batches: Iterator[ScoredBatch]) -> Iterator[ScoredBatch]:
        for batch in batches:
            after_each(batch)
            yield batch

    with open_video(path, video_id) as video:
        batches = detector.score(video, recorder.probing(detector), resume)
        batches = recorder.record(detector, video.video_id, batches, options, recorded=recorded)
        with closing(batches):
            return detector.report(video, seen(batches), options)


def batches_of(detector: Detector, path: Path) -> list[ScoredBatch]:
    """All batches of a video."""
    with open_video(path) as video:
        return list(detector.score(video))
