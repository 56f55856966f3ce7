"""Bodies of requests and answers, beside the Report."""

import base64
import binascii
from dataclasses import fields
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import UInt8
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from headhunt_svc.detector.bundle import StoredPoint
from headhunt_svc.detector.cameras import StoredCamera
from headhunt_svc.detector.options import DEFAULT_OPERATING_POINT, Options
from headhunt_svc.names import CameraName

MAX_PIXELS = 2048 * 2048  # of a frame
Name = Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[^\x00-\x1f\x7f]+$")]


def _camera(text: str) -> str:
    """The name that `bundle conform` gives a camera; empty: none is named."""
    return str(CameraName(text)) if text else text


Camera = Annotated[str, StringConstraints(max_length=4096), AfterValidator(_camera)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DetectOptions(_Model):
    """How to score a video: query parameters, form fields beside the video, or JSON fields beside its URI."""

    operating_point: str = Field(DEFAULT_OPERATING_POINT, description="A name listed by /v1/detector.")
    threshold: float | None = Field(None, ge=0, le=1, description="Instead of the operating point's.")
    smoothing: Literal["offline", "causal"] = Field("offline", description="Both sides, or the past only.")
    contributions: bool = Field(False, description="What each head adds, for every segment.")
    stream: int | None = Field(None, ge=0, description="Number of the video stream; default: the one players show.")
    describe: bool = Field(
        False, description="The model describes every event's peak in words; only where /v1/detector says `describes`."
    )
    resolution_s: float | None = Field(None, gt=0, le=86400, description="One score for each stretch of this length.")
    camera: Camera = Field("", description="Label of the metrics; its normality is used where /v1/detector lists it.")
    video_id: Name | None = Field(None, description="Name in the report; default: the file's.")

    @property
    def for_detector(self) -> Options:
        """The options of Detector.detect."""
        return Options(**self.model_dump(include={field.name for field in fields(Options)}))


class DetectByUri(DetectOptions):
    """A video that the service can reach itself: below a configured root, or on a configured host."""

    uri: str = Field(min_length=1, max_length=4096, examples=["file:///srv/footage/yard.mp4"])


class ScoredSegment(_Model):
    """A segment's score before smoothing."""

    index: int
    start_s: float
    stop_s: float
    raw: float = Field(ge=0, le=1)


class ScoredSegments(_Model):
    """An event `scores` of the stream: segments that were just scored, and how many seconds are scored so far."""

    scored_s: float
    segments: tuple[ScoredSegment, ...]


class SegmentFrames(_Model):
    """The sampled pictures of one segment: RGB, 8 bits, row by row from the top left, each as base64."""

    width: int = Field(gt=0, le=4096)
    height: int = Field(gt=0, le=4096)
    fps: float = Field(gt=0, le=1000, description="Of the video that the frames were sampled from.")
    camera: Camera = Field("", description="Its normality is used where /v1/detector lists it.")
    frames: tuple[str, ...] = Field(min_length=1, max_length=64)

    def pictures(self, n_frames: int) -> UInt8[np.ndarray, "frame height width 3"]:
        """Decode the frames. Raises ValueError that says what is wrong."""
        if len(self.frames) != n_frames:
            raise ValueError(f"{len(self.frames)} frames: this detector samples {n_frames} of each segment")
        if self.width * self.height > MAX_PIXELS or min(self.width, self.height) < 16:
            raise ValueError(f"{self.width} x {self.height} pixels: scale the frames to between 16 and 2048 a side")
        size = self.width * self.height * 3
        rows = []
        for i, text in enumerate(self.frames):
            try:
                raw = base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError) as exc:
                raise ValueError(f"frame {i} is not base64 ({exc})") from exc
            if len(raw) != size:
                raise ValueError(f"frame {i} has {len(raw)} bytes: {self.width} x {self.height} x 3 are {size}")
            rows.append(np.frombuffer(raw, np.uint8).reshape(self.height, self.width, 3))
        return np.stack(rows)


class Score(_Model):
    """The raw score of a segment, and what each head adds to its logit."""

    detector_id: str
    raw: float = Field(ge=0, le=1)
    contributions: tuple[float, ...]
    normality: str | None = Field(None, description="`fleet` or a camera; only where the detector knows cameras.")
    correction: str | None = Field(None, description="The camera whose own weights, learnt from marks, scored.")


class DetectorCard(_Model):
    """The detector that answers: model, heads, operating points, figures."""

    detector_id: str
    code: str
    mllm: str
    mllm_revision: str
    dtype: str
    prompt: str
    heads: tuple[tuple[int, int], ...]
    frames_per_segment: int
    describes: bool = Field(description="May a request ask for descriptions?")
    segmentation: dict[str, Any]
    operating_points: dict[str, StoredPoint]
    fingerprint: dict[str, str]
    data: dict[str, Any]
    cameras: dict[str, StoredCamera] = Field({}, description="Those with a normality or weights of their own.")
    cautions: tuple[str, ...] = Field(description="What speaks against trusting the scores, with the way out.")
    test_metrics: dict[str, Any] | None
    candidate: str | None = Field(None, description="The detector_id of what is scored beside it, in shadow.")
    refused: dict[str, str] = Field({}, description="Why a bundle that deployed/ names is not used, by link.")
