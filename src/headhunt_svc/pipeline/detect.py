"""detect: videos + bundle -> reports. The CLI verb and the DVC stage are the same loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from headhunt_svc.data.datasets import load_index
from headhunt_svc.detector.options import DEFAULT_OPERATING_POINT, Options
from headhunt_svc.detector.pipeline import Detector, ScoredBatch
from headhunt_svc.detector.report import Report, load_report, save_report, save_shares
from headhunt_svc.errors import ArtifactError, ConfigError, VideoError
from headhunt_svc.model.attribution import Attribution
from headhunt_svc.pipeline.plots import shares, timeline
from headhunt_svc.prediction_log.recording import Observer
from headhunt_svc.storage.files import check_writable
from headhunt_svc.types import FrameSpan, OperatingPoint, Split
from headhunt_svc.video.reader import find_videos

SHARES = ".shares.safetensors"


@dataclass(frozen=True, slots=True)
class Input:
    """A video, its name in the report, and its true spans where they are known (for the plot only)."""

    path: Path
    video_id: str
    truth: tuple[FrameSpan, ...] = ()


def inputs_of(paths: Sequence[Path]) -> list[Input]:
    """Files and folders -> inputs; a video in a folder is named by its path below it.

    Raises:
        VideoError: an empty folder. ConfigError: two inputs of the same name.
    """
    found: dict[str, Input] = {}
    for path in paths:
        for video in find_videos([path]):
            name = video.relative_to(path).as_posix() if path.is_dir() else video.name
            if name in found and found[name].path != video:
                raise ConfigError(f"{found[name].path} and {video} would both be reported as {name}: run them apart")
            found[name] = Input(video, name)
    return list(found.values())


def report_path(out: Path, video_id: str) -> Path:
    """Where a video's report goes."""
    return out / f"{video_id}.json"


def _finished(path: Path, detector: Detector, options: Options) -> Report | None:
    """The report of an earlier run of this detector, if it is there and readable."""
    try:
        report = load_report(path)
    except ArtifactError:
        return None
    at = OperatingPoint(report.sigma_segments, report.threshold, report.smoothing)
    made_by = (report.detector_id, report.code, report.operating_point, at)
    wanted = (detector.detector_id, detector.code, options.operating_point, detector.operating_point(options))
    return report if made_by == wanted else None


def _save_shares(target: Path, report: Report, video: Path, detector: Detector, parts: Sequence[Attribution]) -> None:
    """Numbers and picture of what spoke for and against the events, beside a report."""
    of_heads, of_pictures = (np.concatenate([getattr(p, name) for p in parts]) for name in ("heads", "pictures"))
    heads = detector.scorer.heads
    save_shares(target.with_suffix(SHARES), report, heads, of_heads, of_pictures)
    picture = target.with_suffix(".shares.png")
    shares(picture, report, video, detector.bundle.segmentation, heads, of_heads, of_pictures)


def detect_videos(
    detector: Detector,
    inputs: Sequence[Input],
    *,
    out: Path | None,
    plot: bool = False,
    explain: bool = False,
    resume: bool = False,
    options: Options = Options(),
    observer: Observer | None = None,
    camera: str | None = None,
    done: Callable[[Input, Report], object] | None = None,
    failed: Callable[[Input, VideoError], object] | None = None,
) -> int:
    """Score every input; a bad video never stops the others. Returns how many failed or have gaps.

    observer: logs every segment, as of `camera` if that is given, else of the folder that a video lies in.
    """
    detect = detector.detect if observer is None else partial(observer.detect, detector, camera=camera)
    detector.operating_point(options)  # an unknown name is an error before any video is decoded
    if out is not None:
        check_writable(out)
    n_bad = 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("detect", total=len(inputs))
        for item in inputs:

            def scored(batch: ScoredBatch, name: str = item.video_id) -> None:
                progress.update(task, description=f"{name} {batch.stop_s:.0f} s")

            target = report_path(out, item.video_id) if out is not None else None
            report = _finished(target, detector, options) if resume and target is not None else None
            if explain and target is not None and not target.with_suffix(SHARES).exists():
                report = None
            parts: list[Attribution] = []
            try:
                if report is None:
                    explained = parts.append if explain else None
                    report = detect(item.path, item.video_id, options, scored=scored, explained=explained)
                    if target is not None:
                        save_report(target, report)
                        if plot:
                            picture = target.with_suffix(".png")
                            timeline(picture, report, item.path, detector.bundle.segmentation, item.truth)
                        if explain:
                            _save_shares(target, report, item.path, detector, parts)
            except VideoError as exc:
                n_bad += 1
                if failed is not None:
                    failed(item, exc)
            else:
                n_bad += bool(report.gaps)
                if done is not None:
                    done(item, report)
            progress.advance(task)
    return n_bad


class Scores(Protocol):
    """Whatever scores a video somewhere else."""

    def detect(self, path: Path, video_id: str | None, options: Options) -> Report:
        """The report. Raises VideoError if the video cannot be scored."""


def detect_remotely(
    scores: Scores,
    inputs: Sequence[Input],
    options: Options,
    out: Path | None,
    done: Callable[[Input, Report], object],
    failed: Callable[[Input, VideoError], object],
) -> int:
    """As detect_videos, by a service. Returns how many failed or have gaps."""
    if out is not None:
        check_writable(out)
    n_bad = 0
    for item in inputs:
        try:
            report = scores.detect(item.path, item.video_id, options)
        except VideoError as exc:
            n_bad += 1
            failed(item, exc)
            continue
        if out is not None:
            save_report(report_path(out, item.video_id), report)
        n_bad += bool(report.gaps)
        done(item, report)
    return n_bad


def detect_split(
    bundle: Path, index: Path, split: Split, out: Path, operating_point: str = DEFAULT_OPERATING_POINT
) -> int:
    """The stage detect: a report for every video of a split, resumable.

    Raises:
        VideoError: some video could not be scored (each is named), or has gaps.
    """
    problems: list[str] = []
    records = load_index(index, split)
    inputs = [Input(r.path, r.video_id, r.true_spans) for r in records]

    def done(item: Input, report: Report) -> None:
        if report.gaps:
            problems.append(f"{item.path}: {report.gaps[0].reason}")

    wanted = {report_path(out, r.video_id) for r in records}
    for stale in set(out.rglob("*.json")) - wanted:
        stale.unlink()
    detector = Detector.load(bundle)
    detect_videos(
        detector,
        inputs,
        out=out,
        resume=True,
        options=Options(operating_point),
        done=done,
        failed=lambda item, exc: problems.append(str(exc)),
    )
    if problems:
        raise VideoError(f"{len(problems)} of {len(inputs)} videos could not be scored whole: " + "; ".join(problems))
    return len(inputs)
