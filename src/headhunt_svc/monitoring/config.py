"""monitoring/drift.yaml as a typed value: the limits of drift, and how much data a verdict takes."""

from datetime import datetime
from pathlib import Path
from typing import Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headhunt_svc.errors import ConfigError
from headhunt_svc.prediction_log.windows import WindowQuery

Kind = Literal["lighting", "view", "pipeline", "model", "activity"]
Signal = Literal[
    "score_psi", "score_wasserstein", "event_rate", "heads", "brightness", "sharpness", "view", "dropped_frames",
    "prompt_std", "flip_rate", "rank_agreement", "head_instability",
]  # fmt: skip
ALL_SIGNALS: tuple[Signal, ...] = get_args(Signal)


class DriftParams(BaseModel):
    """The contents of drift.yaml; unknown names are errors and every signal has a limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_h: float = Field(gt=0)
    min_segments: int = Field(gt=0)
    min_blocks: int = Field(ge=4)
    min_probed: int = Field(gt=0)
    block_segments: int = Field(gt=0)
    sample_rows: int = Field(ge=200)
    draws: int = Field(ge=10)
    spread: float = Field(ge=0)
    limits: dict[Signal, float]

    def query(
        self, start: datetime, stop: datetime, detector_id: str | None = None, now: datetime | None = None
    ) -> WindowQuery:
        """A query of the prediction log with this block size and number of rows."""
        return WindowQuery(start, stop, detector_id, self.block_segments, self.sample_rows, now)


def load_drift(path: Path) -> DriftParams:
    """Read drift.yaml.

    Raises:
        ConfigError: missing, an unknown or missing name, or a wrong value.
    """
    try:
        params = DriftParams.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError as exc:
        raise ConfigError(f"{path} not found: run in the repository's root, or name it with --config") from exc
    except ValidationError as exc:
        first = exc.errors()[0]
        raise ConfigError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from exc
    except (OSError, ValueError, yaml.YAMLError) as exc:
        raise ConfigError(f"{path} cannot be read as YAML ({exc})") from exc
    if missing := sorted(set(ALL_SIGNALS) - params.limits.keys()):
        raise ConfigError(f"{path}: limits lacks {', '.join(missing)}")
    return params
