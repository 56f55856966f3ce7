"""monitoring/drift.yaml as a typed value: the limits of drift, and how much data a verdict takes."""

from datetime import datetime
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field, model_validator

from headhunt_svc.prediction_log.windows import WindowQuery
from headhunt_svc.sections import Section, read_parameters

Kind = Literal["lighting", "view", "pipeline", "model", "activity"]
ALL_KINDS: tuple[Kind, ...] = get_args(Kind)
Signal = Literal[
    "score_psi", "score_wasserstein", "event_rate", "heads", "brightness", "sharpness", "view", "dropped_frames",
    "prompt_std", "flip_rate", "rank_agreement", "head_instability",
]  # fmt: skip
ALL_SIGNALS: tuple[Signal, ...] = get_args(Signal)


class DriftParams(Section):
    """The contents of drift.yaml; unknown names are errors and every signal has a limit."""

    window_h: float = Field(gt=0)
    min_segments: int = Field(gt=0)
    min_blocks: int = Field(ge=4)
    min_probed: int = Field(gt=0)
    block_segments: int = Field(gt=0)
    sample_rows: int = Field(ge=200)
    draws: int = Field(ge=10)
    spread: float = Field(ge=0)
    limits: dict[Signal, float]

    @model_validator(mode="after")
    def _check_limits(self) -> "DriftParams":
        if missing := sorted(set(ALL_SIGNALS) - self.limits.keys()):
            raise ValueError(f"limits lacks {', '.join(missing)}")
        return self

    def query(
        self, start: datetime, stop: datetime, detector_id: str | None = None, now: datetime | None = None
    ) -> WindowQuery:
        """A query of the prediction log with this block size and number of rows."""
        return WindowQuery(start, stop, detector_id, self.block_segments, self.sample_rows, now)


def load_drift(path: Path) -> DriftParams:
    """Read drift.yaml (see `read_parameters`)."""
    return read_parameters(path, DriftParams, "--config")
