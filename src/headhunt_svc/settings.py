"""HEADHUNT_* environment: where the software runs, never what it computes."""

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """HEADHUNT_DEVICE (auto, cpu, cuda, cuda:1, ...), HEADHUNT_BATCH_SEGMENTS, HEADHUNT_LOG_LEVEL."""

    model_config = SettingsConfigDict(env_prefix="HEADHUNT_", frozen=True)

    device: str = "auto"
    batch_segments: int = Field(default=16, gt=0)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "WARNING"
