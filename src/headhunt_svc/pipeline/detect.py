"""detect: videos + bundle -> reports. The CLI verb and the DVC stage are the same loop."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from headhunt_svc.data.datasets import load_index
from headhunt_svc.detector.batches import ScoredBatch
from headhunt_svc.detector.options import DEFAULT_OPERATING_POINT, Options
from headhunt_svc.detector.pipeline import Detector, stream_of
from headhunt_svc.detector.report import Report, load_report, save_report, save_shares
from headhunt_svc.errors import ArtifactError, VideoError, list_problems
from headhunt_svc.model.attribution import Attribution
from headhunt_svc.names import camera_of
from headhunt_svc.pipeline.files import Input, Outputs, report_path
from headhunt_svc.pipeline.plots import shares, timeline
from headhunt_svc.prediction_log.recording import Recorder
from headhunt_svc.storage.files import check_writable
from headhunt_svc.types import OperatingPoint, Split
from headhunt_svc.video.opening import open_video

SHARES = ".shares.safetensors"


def _finished(path: Path, video: Path, detector: Detector, options: Options) -> Report | None:
    """The report of an earlier run of this detector, if it is there, readable and of the same stream."""
    try:
        report = load_report(path)
    except ArtifactError:
        return None
    if report.stream is not None or options.stream is not None:
        with open_video(video, stream=options.stream) as opened:
            if stream_of(opened) != report.stream:
                return None
    point = OperatingPoint(report.sigma_segments, report.threshold, report.smoothing)
    contributions = any(s.contributions is not None for s in report.scores)
    source = (report.detector_id, report.code, report.operating_point, point, contributions)
    current_point = detector.operating_point(options)
    current = (detector.detector_id, detector.code, options.operating_point, current_point, options.contributions)
    return report if source == current else None


def _save_shares(target: Path, report: Report, video: Path, detector: Detector, parts: Sequence[Attribution]) -> None:
    """Numbers and picture of what spoke for and against the events, beside a report."""
    of_heads, of_pictures = (np.concatenate([getattr(p, name) for p in parts]) for name in ("heads", "pictures"))
    heads = detector.scorer.heads
    save_shares(target.with_suffix(SHARES), report, heads, of_heads, of_pictures)
    picture = target.with_suffix(".shares.png")
    shares(picture, report, video, detector.bundle.segmentation, heads, of_heads, of_pictures)


def detect_video(
    detector: Detector,
    item: Input,
    outputs: Outputs,
    options: Options,
    recorder: Recorder,
    camera: str | None,
    progress: Progress,
    task: TaskID,
) -> Report:
    """Score one video and write its report, unless that is there already."""
    target = report_path(outputs.folder, item.video_id) if outputs.folder is not None else None
    if outputs.resume and target is not None:
        report = _finished(target, item.path, detector, options)
        if report is not None and (not outputs.explain or target.with_suffix(SHARES).exists()):
            return report
    attributions: list[Attribution] = []

    def watched(batches: Iterable[ScoredBatch]) -> Iterator[ScoredBatch]:
        """The same batches; draws how far the video is, and keeps their attributions."""
        for batch in batches:
            progress.update(task, description=f"{item.video_id} {batch.stop_s:.0f} s")
            if batch.attribution is not None:
                attributions.append(batch.attribution)
            yield batch

    with open_video(item.path, item.video_id, stream=options.stream) as video:
        scorer = recorder.probing(detector, detector.model_scorer(outputs.explain))
        name = camera or camera_of(item.video_id, item.path)
        batches = recorder.record(detector, item.video_id, detector.score(video, scorer), options, camera=name)
        with closing(batches):
            report = detector.report(video, watched(batches), options)
    if target is not None:
        save_report(target, report)
        if outputs.plot:
            timeline(target.with_suffix(".png"), report, item.path, detector.bundle.segmentation, item.truth)
        if outputs.explain:
            _save_shares(target, report, item.path, detector, attributions)
    return report


def detect_videos(
    detector: Detector,
    inputs: Sequence[Input],
    outputs: Outputs = Outputs(),
    options: Options = Options(),
    *,
    recorder: Recorder | None = None,
    camera: str | None = None,
) -> Iterator[tuple[Input, Report | VideoError]]:
    """Score every input, in order; a bad video never stops the others.

    recorder: logs every segment, as of `camera` if that is given, else as names.camera_of says.

    Raises:
        ConfigError: unknown operating point; told before any video is decoded.
    """
    detector.operating_point(options)
    if outputs.folder is not None:
        check_writable(outputs.folder)
    recorder = recorder or Recorder(None)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("detect", total=len(inputs))
        for item in inputs:
            result: Report | VideoError
            try:
                result = detect_video(detector, item, outputs, options, recorder, camera, progress, task)
            except VideoError as exc:
                result = exc
            yield item, result
            progress.advance(task)


def problem_of(item: Input, result: Report | VideoError) -> str | None:
    """Why a video was not scored whole, if it was not."""
    if isinstance(result, VideoError):
        return str(result)
    return f"{item.path}: {result.gaps[0].reason}" if result.gaps else None


def whole_reports(results: Iterable[tuple[Input, Report | VideoError]]) -> Iterator[tuple[Input, Report]]:
    """The reports of videos that were scored whole.

    Raises:
        VideoError: after the last one, naming every video that was not.
    """
    problems: list[str] = []
    n = 0
    for item, result in results:
        n += 1
        if problem := problem_of(item, result):
            problems.append(problem)
        elif isinstance(result, Report):
            yield item, result
    if problems:
        raise VideoError(f"{len(problems)} of {n} videos could not be scored whole: {list_problems(problems)}")


def detect_split(
    bundle: Path, index: Path, split: Split, out: Path, operating_point: str = DEFAULT_OPERATING_POINT
) -> int:
    """The stage detect: a report for every video of a split, resumable.

    Raises:
        VideoError: some video could not be scored (each is named), or has gaps.
    """
    records = load_index(index, split)
    inputs = [Input(r.path, r.video_id, r.true_spans) for r in records]
    current = {report_path(out, r.video_id) for r in records}
    for stale in set(out.rglob("*.json")) - current:
        stale.unlink()
    results = detect_videos(Detector.load(bundle), inputs, Outputs(out, resume=True), Options(operating_point))
    return sum(1 for _ in whole_reports(results))
