"""evaluate-scores: the protocol of docs/evaluation.md on anybody's scores, or on the trivial baselines alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headhunt_svc.core.frame_times import FrameTimes
from headhunt_svc.core.protocol import Figures, ScoredVideo, assess, baselines
from headhunt_svc.data.benchmarks import FPS, read_benchmark
from headhunt_svc.data.datasets import Annotation, make_record, read_annotations
from headhunt_svc.data.footage import annotations_of, scan_footage
from headhunt_svc.data.score_files import Scores, load_scores, match_scores, series_of, strides, without_ending
from headhunt_svc.errors import DatasetError, list_problems
from headhunt_svc.params import DatasetParams, EvaluateParams
from headhunt_svc.pipeline.plots import picture_all
from headhunt_svc.storage.files import write_json
from headhunt_svc.types import OperatingPoint, Smoothing, VideoRecord


@dataclass(frozen=True, slots=True)
class ScoresProtocol:
    """How scores are read and evaluated.

    dataset: its videos are read where `scan` says so; otherwise their lengths are what the annotations state, or what
    the scores stand for, and dataset.fps is the rate of all.
    """

    dataset: DatasetParams
    scan: bool
    stride: int
    sigma: float
    smoothing: Smoothing
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class _Videos:
    """The test videos whose length is known, and the names of the others."""

    records: list[VideoRecord]
    missing: tuple[str, ...] = ()


def _scanned(dataset: DatasetParams) -> _Videos:
    footage = scan_footage(dataset)
    footage.check(dataset.allow_missing)
    records = [r for r in footage.records if r.split == "test"]
    tests = {a.video for a in annotations_of(dataset)[0] if a.split == "test"}
    return _Videos(records, tuple(sorted(tests - {r.video_id for r in records})))


def _length(annotation: Annotation, scores: Scores | None, stride: int) -> int | None:
    """Frames of a video, as its annotation states them or its scores stand for them; None where neither is there."""
    if annotation.n_frames is not None or scores is None:
        return annotation.n_frames
    name = without_ending(annotation.video)
    return series_of(scores[name]).length(stride) if name in scores else None


def _unscanned(dataset: DatasetParams, scores: Scores | None, stride: int) -> _Videos:
    """The test videos of the layout `own`, from annotations and scores alone."""
    if dataset.layout != "own" or dataset.annotations is None:
        raise DatasetError(f"the layout {dataset.layout!r} needs the videos: give their folder with --root")
    if dataset.fps is None:
        raise DatasetError("seconds need a rate: give --fps, or the folder of the videos with --root")
    records, unknown, problems = [], [], []
    for annotation in read_annotations(dataset.annotations, dataset.export, dataset.span_ends):
        if annotation.split != "test":
            continue
        try:
            n_frames = _length(annotation, scores, stride)
            if n_frames is None:
                unknown.append(annotation.video)
                continue
            times = FrameTimes.at_rate(n_frames, dataset.fps)
            records.append(make_record(annotation, Path(annotation.video), times, dataset.span_ends))
        except ValueError as exc:
            text = str(exc)
            problems.append(text if text.startswith(annotation.video) else f"{annotation.video} {text}")
    if problems:
        raise DatasetError(f"{len(problems)} videos cannot be evaluated: {list_problems(problems)}")
    if unknown and scores is None:
        raise DatasetError(
            f"the lengths of {len(unknown)} videos are not known ({list_problems(unknown)}): give scores, n_frames in "
            "the annotations, or the folder of the videos with --root"
        )
    return _Videos(records, tuple(unknown))


def _videos(how: ScoresProtocol, scores: Scores | None) -> _Videos:
    """The annotated test videos.

    Raises:
        DatasetError: annotations or videos cannot be used, or there is no test video.
    """
    dataset = how.dataset
    if how.scan:
        videos = _scanned(dataset)
    elif dataset.layout in ("ucf_crime", "xd_violence") and dataset.annotations is not None:
        benchmark = read_benchmark(dataset.layout, dataset.annotations)
        videos = _Videos(benchmark.records(dataset.span_ends, dataset.fps))
    else:
        videos = _unscanned(dataset, scores, how.stride)
    if not videos.records and not videos.missing:
        raise DatasetError("the annotations name no video of the split `test`, which is the one that is evaluated")
    return videos


def _rate(how: ScoresProtocol) -> float | str:
    if how.dataset.fps is not None:
        return how.dataset.fps
    return "of the files" if how.scan else FPS[how.dataset.layout]


def _protocol(how: ScoresProtocol, records: Sequence[VideoRecord]) -> Figures:
    return {
        "dataset": how.dataset.layout,
        "span_ends": how.dataset.span_ends,
        "stride": how.stride,
        "fps": _rate(how),
        "videos": len(records),
        "anomalous_videos": sum(r.is_anomalous for r in records),
        "frames": sum(r.n_frames for r in records),
        "anomalous_frames": sum(int(r.truth().sum()) for r in records),
    }


def evaluate_scores(
    path: Path | None, how: ScoresProtocol, params: EvaluateParams, out: Path | None, plots: Path | None
) -> Figures:
    """Figures of a score file or folder, also into the JSON file `out` and pictures into `plots`; None: baselines only.

    Raises:
        DatasetError: annotations or scores are malformed, or a video has no scores (unless that is allowed).
        FeatureError: the scored videos hold one class only.
    """
    loaded = None if path is None else load_scores(path)
    videos = _videos(how, loaded)
    protocol = _protocol(how, videos.records)
    if path is None or loaded is None:
        blank = [(r, strides(r.n_frames, how.stride)) for r in videos.records]
        scored = [ScoredVideo(r, spans, np.zeros(len(spans))) for r, spans in blank]
        figures: Figures = {"protocol": protocol, "baselines": baselines(scored, params)}
    else:
        scores = match_scores(path, loaded, videos.records, how.stride)
        missing = sorted({*scores.missing, *videos.missing})
        if missing and not how.dataset.allow_missing:
            raise DatasetError(
                f"{path} has no scores of {len(missing)} of {len({*missing, *(r.video_id for r in videos.records)})} "
                f"videos: {list_problems(missing)}: add them, or give --allow-missing"
            )
        protocol |= {
            "smoothing": how.smoothing if how.sigma else "none",
            "sigma": how.sigma,
            "bootstrap": params.bootstrap,
            "missing": missing,
            "not_annotated": list(scores.extra),
        }
        smoothed = [v.smoothed(how.sigma, how.smoothing) for v in scores.videos]
        point = None if how.threshold is None else OperatingPoint(how.sigma, how.threshold, how.smoothing)
        figures = {"protocol": protocol, **assess(smoothed, point, params)}
        if plots is not None:
            picture_all(plots, smoothed, figures, params)
    if out is not None:
        write_json(out, figures)
    return figures
