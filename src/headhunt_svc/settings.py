"""HEADHUNT_* environment: where the software runs, never what it computes."""

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """HEADHUNT_DEVICE (auto, cpu, cuda, cuda:1, ...), HEADHUNT_BATCH_SEGMENTS, HEADHUNT_LOG_LEVEL, and what is logged.

    HEADHUNT_PREDICTION_LOG: folder or URI; without it nothing is logged. HEADHUNT_LOG_FEATURES: the expert heads'
    features whole, projected, or not at all. HEADHUNT_PROBE_SHARE: of the segments, those read under all prompts.
    """

    model_config = SettingsConfigDict(env_prefix="HEADHUNT_", frozen=True)

    device: str = "auto"
    batch_segments: int = Field(default=16, gt=0)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "WARNING"
    prediction_log: str | None = None
    log_features: Literal["all", "projected", "none"] = "projected"
    log_flush_s: float = Field(default=5.0, gt=0)
    log_retention_days: int = Field(default=90, gt=0)
    probe_share: float = Field(default=0.02, ge=0, le=1)
