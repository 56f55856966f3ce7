"""evaluate-scores: the protocol of docs/evaluation.md on any score file, or on the trivial baselines alone."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headhunt_svc.core.protocol import Figures, ScoredVideo, assess, baselines
from headhunt_svc.data.benchmarks import BenchmarkName, read_benchmark
from headhunt_svc.data.score_files import read_scores, strides
from headhunt_svc.errors import DatasetError, list_problems
from headhunt_svc.params import EvaluateParams
from headhunt_svc.pipeline.plots import picture_all
from headhunt_svc.storage.files import write_json
from headhunt_svc.types import OperatingPoint, Smoothing, SpanEnds


@dataclass(frozen=True, slots=True)
class ScoresProtocol:
    """How a score file is read and evaluated; fps: of every video, None for the benchmark's own."""

    dataset: BenchmarkName
    annotations: Path
    stride: int
    sigma: float
    smoothing: Smoothing
    span_ends: SpanEnds
    threshold: float | None = None
    fps: float | None = None
    allow_missing: bool = False


def evaluate_scores(
    file: Path | None, how: ScoresProtocol, params: EvaluateParams, out: Path | None, plots: Path | None
) -> Figures:
    """Figures of a score file, also into the JSON file `out` and pictures into `plots`; no file: baselines only.

    Raises:
        DatasetError: annotations or scores are malformed, or a video has no scores (unless that is allowed).
        FeatureError: the scored videos hold one class only.
    """
    benchmark = read_benchmark(how.dataset, how.annotations)
    records = benchmark.records(how.span_ends, how.fps)
    protocol: Figures = {
        "dataset": how.dataset,
        "span_ends": how.span_ends,
        "stride": how.stride,
        "fps": how.fps or benchmark.fps,
        "videos": len(records),
        "anomalous_videos": sum(r.is_anomalous for r in records),
        "frames": sum(r.n_frames for r in records),
        "anomalous_frames": sum(int(r.truth().sum()) for r in records),
    }
    if file is None:
        blank = [ScoredVideo(r, s, np.zeros(len(s))) for r in records for s in [strides(r.n_frames, how.stride)]]
        figures: Figures = {"protocol": protocol, "baselines": baselines(blank, params)}
    else:
        scores = read_scores(file, records, how.stride)
        if scores.missing and not how.allow_missing:
            raise DatasetError(
                f"{file} has no scores of {len(scores.missing)} of {len(records)} videos: "
                f"{list_problems(scores.missing)}: "
                "add them, or give --allow-missing"
            )
        protocol |= {
            "smoothing": how.smoothing if how.sigma else "none",
            "sigma": how.sigma,
            "bootstrap": params.bootstrap,
            "missing": list(scores.missing),
            "not_annotated": list(scores.extra),
        }
        videos = [v.smoothed(how.sigma, how.smoothing) for v in scores.videos]
        point = None if how.threshold is None else OperatingPoint(how.sigma, how.threshold, how.smoothing)
        figures = {"protocol": protocol, **assess(videos, point, params)}
        if plots is not None:
            picture_all(plots, videos, figures, params)
    if out is not None:
        write_json(out, figures)
    return figures
