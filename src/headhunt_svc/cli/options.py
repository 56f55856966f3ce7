"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import ValidationError

from headhunt_svc import paths
from headhunt_svc.detector.bundle import Bundle, check_point, load_bundle
from headhunt_svc.names import label
from headhunt_svc.params import DatasetParams, ExportParams
from headhunt_svc.types import SpanEnds

PARAMS = Path("params.yaml")

ParamsFile = Annotated[Path, typer.Option("--params", help="The parameters.")]
DriftFile = Annotated[Path, typer.Option("--config", help="Limits beyond which a signal is drift.")]
BundleFolder = Annotated[Path, typer.Option("--bundle", help="The detector bundle.")]
MetricsPort = Annotated[
    int | None, typer.Option("--metrics-port", min=1, max=65535, help="Serve Prometheus metrics on this port.")
]
MetricsAddress = Annotated[
    str, typer.Option("--metrics-address", help="Of the metrics; whoever reaches it needs no key. Default: loopback.")
]
AllowMissing = Annotated[bool, typer.Option("--allow-missing", help="Go on without missing videos, and name them.")]
AnnotationsPath = Annotated[
    Path | None,
    typer.Option(
        help="Folder of a benchmark's official files, or for `own` a JSON-lines or CSV file, or an export of CVAT or "
        "Label Studio; none for `folders`."
    ),
]
Bootstrap = Annotated[int, typer.Option(min=0, help="Resamples of videos for the intervals.")]
Layout = Literal["ucf_crime", "xd_violence", "own", "folders"]
Dataset = Annotated[Layout, typer.Option(help="The benchmark, or the layout of your own annotations.")]
Ends = Annotated[
    SpanEnds | None,
    typer.Option(
        help="Does the last frame of an annotated span belong to it? Default: inclusive for the benchmarks, half_open "
        "for your own."
    ),
]
Labels = Annotated[
    list[str] | None, typer.Option("--label", help="A label of an export that marks an anomaly; default: all.")
]
ToolFps = Annotated[
    float | None, typer.Option(min=0.001, help="The frameRate of Label Studio's Video tag, if not the videos' own.")
]

# how a video is scored and reported: the same on detect, batch and jobs submit
PointName = Annotated[
    str,
    typer.Option(
        "--operating-point", help="Name of an operating point of the bundle.", callback=lambda name: str(label(name))
    ),
]
Threshold = Annotated[
    float | None, typer.Option("--threshold", help="Instead of the operating point's threshold: 0 to 1.")
]
SmoothingMode = Annotated[
    Literal["offline", "causal"],
    typer.Option("--smoothing", help="Smooth with past and future scores (offline), or past scores only (causal)."),
]
Contributions = Annotated[
    bool, typer.Option("--contributions", help="Report what each head adds to the score, for every segment.")
]
StreamNumber = Annotated[
    int | None, typer.Option("--stream", min=0, help="Number of the video stream, where a file has several.")
]
Describe = Annotated[
    bool, typer.Option("--describe", help="Let the model describe every event's peak in words; loads all its layers.")
]


def cameras_file(named: Path | None) -> Path | None:
    """The file that --cameras names, which must be there; without the option cameras.yaml, which may be absent."""
    return named or (paths.CAMERAS if paths.CAMERAS.exists() else None)


def dataset_of(
    layout: Layout,
    root: Path,
    annotations: Path | None,
    span_ends: SpanEnds | None,
    allow_missing: bool,
    fps: float | None = None,
    labels: list[str] | None = None,
    tool_fps: float | None = None,
) -> DatasetParams:
    """The data set that options name; the videos of an export that are in no split are test videos."""
    ends: SpanEnds = "inclusive" if layout in ("ucf_crime", "xd_violence") else "half_open"
    try:
        return DatasetParams(
            root=root,
            annotations=annotations,
            layout=layout,
            span_ends=span_ends or ends,
            fps=fps,
            allow_missing=allow_missing,
            export=ExportParams(labels=tuple(labels or ()), split="test", fps=tool_fps),
        )
    except ValidationError as exc:
        raise typer.BadParameter(exc.errors()[0]["msg"].removeprefix("Value error, ")) from exc


def check_bundle(
    folder: Path, operating_point: str | None = None, smoothing: Literal["offline", "causal"] = "offline"
) -> Bundle:
    """Reads a bundle; refuses a missing or broken bundle, or an unknown operating point, before a model is imported."""
    bundle, scorer = load_bundle(folder)
    if operating_point is not None:
        check_point(bundle, scorer, operating_point, smoothing)
    return bundle
