"""The Report: what is said about a video, as pydantic and JSON (the wire format)."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headhunt_svc.core.localization import contiguous
from headhunt_svc.errors import ArtifactError
from headhunt_svc.storage.files import code_version, read_json, write_bytes, write_text
from headhunt_svc.storage.tensors import tensor_bytes
from headhunt_svc.types import HeadRef, Polygon

SCHEMA_VERSION: Literal[2] = 2


def scoring_code() -> str:
    """Version of the code and libraries that score."""
    return code_version("core", "detector", "model", "video")


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True)


class SegmentScore(_Model):
    """One segment: frames [start_frame, stop_frame), seconds, anomaly probability before and after smoothing.

    novelty: what the distance to normal adds to the logit of `raw` above the typical. The part of it that is there all
    the time is not in `smoothed` (core/steady.py). None: nothing is taken off.
    """

    index: int
    start_frame: int
    stop_frame: int
    start_s: float
    stop_s: float
    raw: float = Field(ge=0, le=1)
    smoothed: float = Field(ge=0, le=1)
    contributions: tuple[float, ...] | None = None  # on request: as an event's
    novelty: float | None = None


class ReportEvent(_Model):
    """An anomalous stretch; peak is its highest smoothed score, in the segment around peak_s.

    contributions: what each head adds to the logit of that segment's raw score, in the order of the lineage's heads;
    with the lineage's bias they sum to the logit. description: what the model says about that segment, on request.
    """

    start_frame: int
    stop_frame: int
    start_s: float
    stop_s: float
    peak: float
    peak_s: float
    contributions: tuple[float, ...]
    description: str | None = None


class ReportGap(_Model):
    """Pictures that could not be decoded and therefore were not scored, from time_s to the next picture at stop_s.

    time_s is None if unknown, or before the first picture; stop_s if no picture follows.
    """

    time_s: float | None
    packets: int
    reason: str
    stop_s: float | None = None


class ReportHole(_Model):
    """A stretch for which the file has no pictures although none is known to be lost; nothing of it was scored."""

    start_s: float
    stop_s: float


class ReportDiscontinuity(_Model):
    """The file's timestamps jump by jump_s at time_s; the report's times go on without the jump."""

    time_s: float
    jump_s: float


class ReportStream(_Model):
    """Which of a file's video streams was scored: number, as FFmpeg counts, out of these."""

    number: int
    of: tuple[int, ...]


class Lineage(_Model):
    """Where the scores come from: model, prompt, heads as (layer, head) with the scorer's bias, data of calibration.

    masks: what was black in all pictures, as polygons of (x, y) in shares of the picture; only where there are any.
    """

    mllm: str
    mllm_revision: str
    prompt: str
    heads: tuple[tuple[int, int], ...]
    bias: float
    data_sha256: str
    masks: tuple[Polygon, ...] = Field(default=(), exclude_if=lambda masks: not masks)


class Report(_Model):
    """Scores and events of one video under one detector, and what is to be known about its file.

    All times are seconds from the first picture. fps: typical pictures per second; stated_fps: what the file states,
    where that is something else. repaired_times: pictures without a usable timestamp, placed one step after the one
    before. unfinished: what is missing at the file's end, if anything. stream: only of a file with several.
    description_prompt: what the model was asked about the events' peaks, if descriptions were requested.
    normality: what the distance to normal was measured from, "fleet" or the name of a camera; only where the bundle
    knows cameras.
    correction: the camera whose own weights, learnt from marks of its events, scored; only where there are some.
    cautions: what speaks against trusting the scores (footage that the model does not know, heads at chance), with the
    way out.
    """

    schema_version: Literal[2] = SCHEMA_VERSION
    detector_id: str
    code: str  # version of the code and libraries that scored (storage/files.code_version)
    lineage: Lineage
    video_id: str
    fps: float
    n_frames: int
    duration_s: float
    operating_point: str
    sigma_segments: float
    threshold: float
    smoothing: Literal["offline", "causal"]
    scores: tuple[SegmentScore, ...]
    events: tuple[ReportEvent, ...]
    gaps: tuple[ReportGap, ...]
    repaired_times: int
    stated_fps: float | None = None
    holes: tuple[ReportHole, ...] = ()
    discontinuities: tuple[ReportDiscontinuity, ...] = ()
    unfinished: str | None = None
    stream: ReportStream | None = None
    description_prompt: str | None = None
    normality: str | None = Field(None, exclude_if=lambda name: name is None)
    correction: str | None = Field(None, exclude_if=lambda name: name is None)
    cautions: tuple[str, ...] = ()


def coarser(report: Report, resolution_s: float) -> Report:
    """The report with one score for each stretch of at least resolution_s: the highest of its segments.

    No stretch reaches across a hole. Events stay as they are. index and contributions are those of the segment with
    the highest smoothed score. A stretch of several segments has no novelty: raw, and smoothed, may be of two of them.
    """
    joined: list[SegmentScore] = []
    stretch: list[SegmentScore] = []
    edges_s = np.array([(s.start_s, s.stop_s) for s in report.scores]).reshape(-1, 2)
    for s, goes_on in zip(report.scores, np.append(contiguous(edges_s), False), strict=False):
        stretch.append(s)
        if s.stop_s - stretch[0].start_s >= resolution_s or not goes_on:
            top = max(stretch, key=lambda of: of.smoothed)
            bounds = {"start_frame": stretch[0].start_frame, "start_s": stretch[0].start_s}
            bounds |= {"stop_frame": s.stop_frame, "stop_s": s.stop_s, "raw": max(of.raw for of in stretch)}
            novelty = top.novelty if len(stretch) == 1 else None
            joined.append(top.model_copy(update={**bounds, "novelty": novelty}))
            stretch = []
    return report.model_copy(update={"scores": tuple(joined)})


def save_report(path: Path, report: Report) -> None:
    """Write a report as JSON."""
    write_text(path, report.model_dump_json(indent=1) + "\n")


def load_report(path: Path) -> Report:
    """Read a report.

    Raises:
        ArtifactError: missing, broken, or of another schema.
    """
    raw = read_json(path, "headhunt detect --split test")
    try:
        return Report.model_validate(raw)
    except ValidationError as exc:
        raise ArtifactError(
            f"{path} is not a report of schema {SCHEMA_VERSION}: run `headhunt detect --split test` again"
        ) from exc


def save_shares(
    path: Path,
    report: Report,
    heads: Sequence[HeadRef],
    of_heads: Float[np.ndarray, "segment head"],
    of_pictures: Float[np.ndarray, "segment frame row column"],
) -> None:
    """Write what each head, and each place in each picture, adds to the segments' logits, as float32.

    The heads' shares add up to the logit of the raw score minus the scorer's bias; so do the pictures' and the words'.
    """
    metadata = {"detector_id": report.detector_id, "video_id": report.video_id, "heads": json.dumps(heads)}
    tensors = {"heads": of_heads.astype(np.float32), "pictures": of_pictures.astype(np.float32)}
    write_bytes(path, tensor_bytes(tensors, metadata))
