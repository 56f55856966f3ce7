"""The prediction log's columns, and what a file says about the detector that wrote it."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from jaxtyping import Float32

from headhunt_svc.errors import ArtifactError
from headhunt_svc.types import HeadRef

SCHEMA_VERSION = 1
Kept = Literal["all", "projected", "none"]  # which expert-head features are logged
PROJECTED = 4  # numbers a head that are logged instead of d_head
SEED = 20_251_217  # of the projection, the same in every log: windows can be compared

_vector = pa.list_(pa.float32())
_name = pa.dictionary(pa.int32(), pa.string())

COLUMNS = pa.schema(
    [
        pa.field("time", pa.timestamp("us", "UTC"), False),  # when the segment was seen (or scored, if that is unknown)
        pa.field("camera", _name, False),
        pa.field("video", _name, False),
        pa.field("pass_id", _name, False),  # one pass over one video
        pa.field("detector_id", _name, False),
        pa.field("segment", pa.int32(), False),
        pa.field("start_s", pa.float64(), False),
        pa.field("stop_s", pa.float64(), False),
        pa.field("raw", pa.float64(), False),
        pa.field("smoothed", pa.float64(), False),
        pa.field("in_event", pa.bool_(), False),
        pa.field("brightness", pa.float32()),
        pa.field("sharpness", pa.float32()),
        pa.field("dropped_frames", pa.int32()),  # pictures that could not be decoded since the last segment
        pa.field("layout", _vector),
        pa.field("contributions", _vector, False),  # [K]: what each head adds to the logit
        pa.field("features", _vector),  # [K * n], see About.features
        pa.field("prompt_scores", _vector),  # [M]: the raw score under each calibration prompt, where it was probed
        pa.field("prompt_contributions", _vector),  # [M * K]
    ]
)


@dataclass(frozen=True, slots=True)
class About:
    """What all rows of a file have in common: rows of another detector, or of other heads, are never mixed in."""

    detector_id: str
    code: str
    heads: tuple[HeadRef, ...]
    prompts: tuple[str, ...]
    prompt: str
    threshold: float
    sigma_segments: float
    features: Kept

    def metadata(self) -> dict[str, str]:
        """As parquet keeps it."""
        return {"headhunt": json.dumps({"schema_version": SCHEMA_VERSION, **asdict(self)}, sort_keys=True)}

    @classmethod
    def read(cls, metadata: dict[bytes, bytes] | None, where: str) -> "About":
        """From a file's metadata.

        Raises:
            ArtifactError: no prediction log, or of another schema.
        """
        try:
            raw: dict[str, Any] = json.loads((metadata or {})[b"headhunt"])
            found = raw.pop("schema_version")
            if found != SCHEMA_VERSION:
                raise ArtifactError(f"{where}: schema {found}, this version reads {SCHEMA_VERSION}")
            heads = tuple(HeadRef(*h) for h in raw.pop("heads"))
            return cls(heads=heads, prompts=tuple(raw.pop("prompts")), **raw)
        except (KeyError, TypeError, ValueError) as exc:
            raise ArtifactError(f"{where} is no prediction log ({exc!r})") from exc


def projection(d_head: int) -> Float32[np.ndarray, "d_head projected"]:
    """The seeded projection of one head's features: orthonormal columns, the same for every head and log."""
    drawn = np.random.default_rng(SEED).standard_normal((d_head, min(PROJECTED, d_head)))
    return np.asarray(np.linalg.qr(drawn)[0], np.float32)
