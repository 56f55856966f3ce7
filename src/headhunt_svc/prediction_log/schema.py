"""The columns of the prediction log, and the metadata of its files."""

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
from jaxtyping import Float32
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from headhunt_svc.errors import ArtifactError
from headhunt_svc.sections import first_problem
from headhunt_svc.storage.json_text import parse_json
from headhunt_svc.types import HeadRef

SCHEMA_VERSION = 1
Kept = Literal["all", "projected", "none"]  # which expert-head features are logged
PROJECTED = 4  # numbers per head that are logged instead of d_head
SEED = 20_251_217  # the projection is the same in every log, so that windows can be compared

_vector = pa.list_(pa.float32())
_name = pa.dictionary(pa.int32(), pa.string())

COLUMNS = pa.schema(
    [
        pa.field("time", pa.timestamp("us", "UTC"), False),  # of recording; of scoring if that is unknown
        pa.field("camera", _name, False),
        pa.field("video", _name, False),
        pa.field("pass_id", _name, False),  # one pass over one video
        pa.field("detector_id", _name, False),
        pa.field("segment", pa.int32(), False),
        pa.field("start_s", pa.float64(), False),
        pa.field("stop_s", pa.float64(), False),
        pa.field("raw", pa.float64(), False),
        pa.field("novelty", pa.float64()),  # see core/steady.py; none where nothing is taken off, and in older logs
        pa.field("smoothed", pa.float64(), False),
        pa.field("in_event", pa.bool_(), False),
        pa.field("brightness", pa.float32()),
        pa.field("sharpness", pa.float32()),
        pa.field("dropped_frames", pa.int32()),  # pictures that could not be decoded since the last segment
        pa.field("layout", _vector),
        pa.field("contributions", _vector, False),  # [K]: contribution of each head to the logit
        pa.field("features", _vector),  # [K * n], see LogMetadata.features
        pa.field("prompt_scores", _vector),  # [M]: raw score under each calibration prompt, if probed
        pa.field("prompt_contributions", _vector),  # [M * K]
    ]
)


def as_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of a schema, whatever else is in the table; a column that older logs have not is empty.

    Raises:
        ValueError, KeyError, pyarrow.ArrowException: other columns are missing, or of another type.
    """
    if "novelty" in schema.names and "novelty" not in table.schema.names:
        table = table.append_column(COLUMNS.field("novelty"), pa.nulls(len(table), pa.float64()))
    return table.select(schema.names).cast(schema)


@dataclass(frozen=True, slots=True)
class LogMetadata:
    """The detector and settings that all rows of a file share; rows that differ in them are never mixed."""

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    detector_id: str
    code: str
    heads: Annotated[tuple[HeadRef, ...], Field(min_length=1)]
    prompts: tuple[str, ...]
    prompt: str
    threshold: float
    sigma_segments: float
    features: Kept

    def as_parquet(self) -> dict[str, str]:
        """As metadata of a parquet schema."""
        return {"headhunt": _document(self)}

    @classmethod
    def from_parquet(cls, metadata: dict[bytes, bytes] | None, name: str) -> "LogMetadata":
        """Read the metadata of a parquet schema; `name` of the file is for messages.

        Raises:
            ArtifactError: no prediction log, or of another schema.
        """
        try:
            raw = parse_json((metadata or {})[b"headhunt"])
            if not isinstance(raw, dict):
                raise ValueError("no object")
            version = raw.pop("schema_version")
            if version != SCHEMA_VERSION:
                raise ArtifactError(f"{name}: schema {version}, this version reads {SCHEMA_VERSION}")
            return _METADATA.validate_python(raw)
        except ValidationError as exc:
            raise ArtifactError(f"{name} is no prediction log ({first_problem(exc)})") from exc
        except (KeyError, ValueError) as exc:
            raise ArtifactError(f"{name} is no prediction log ({exc!r})") from exc


_METADATA = TypeAdapter(LogMetadata)


@lru_cache(maxsize=16)  # every file of a flush needs it
def _document(metadata: LogMetadata) -> str:
    """The metadata as JSON."""
    return json.dumps({"schema_version": SCHEMA_VERSION, **asdict(metadata)}, sort_keys=True)


def projection(d_head: int) -> Float32[np.ndarray, "d_head projected"]:
    """A random projection with orthonormal columns, the same for every head and log."""
    normal = np.random.default_rng(SEED).standard_normal((d_head, min(PROJECTED, d_head)))
    return np.asarray(np.linalg.qr(normal)[0], np.float32)
