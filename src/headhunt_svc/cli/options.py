"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from headhunt_svc.detector.bundle import load_bundle
from headhunt_svc.types import SpanEnds

PARAMS = Path("params.yaml")

ParamsFile = Annotated[Path, typer.Option("--params", help="The parameters.")]
BundleFolder = Annotated[Path, typer.Option("--bundle", help="The detector bundle.")]
AllowMissing = Annotated[bool, typer.Option("--allow-missing", help="Go on without missing videos, and name them.")]
AnnotationsFolder = Annotated[Path, typer.Option(help="Folder of the benchmark's official annotation files.")]
Bootstrap = Annotated[int, typer.Option(min=0, help="Resamples of videos for the intervals.")]
Dataset = Annotated[Literal["ucf_crime", "xd_violence"], typer.Option(help="The benchmark.")]
Ends = Annotated[SpanEnds, typer.Option(help="Does the last frame of an annotated span belong to it?")]

# how a video is scored and reported: the same on detect, batch and jobs submit
PointName = Annotated[str, typer.Option("--operating-point", help="Name of an operating point of the bundle.")]
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


def check_bundle(
    folder: Path, operating_point: str | None = None, smoothing: Literal["offline", "causal"] = "offline"
) -> None:
    """Refuses a missing or broken bundle, or an unknown operating point, before a model is imported."""
    bundle, _ = load_bundle(folder)
    if operating_point is not None:
        bundle.operating_point(operating_point, smoothing)
