"""HEADHUNT_JOBS_* environment: where jobs are kept and how patient they are."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class JobSettings(BaseSettings):
    """All workers, the service and the command line of one queue share `folder` and the database."""

    model_config = SettingsConfigDict(env_prefix="HEADHUNT_JOBS_", frozen=True)

    folder: Path = Path("data/jobs")  # results, checkpoints, uploads; needs file locks (local disk, NFSv4)
    database: str | None = None  # postgresql://..., default: SQLite in the folder
    checkpoint_s: float = Field(default=60, ge=0)  # seconds of work between two checkpoints of a long video
    attempts: int = Field(default=3, gt=0)  # how often a video may kill the process that scores it
    backoff_s: float = Field(default=1, gt=0)  # first wait after a trouble that may pass; doubles
    backoff_most_s: float = Field(default=60, gt=0)
    keep_days: float = Field(default=30, gt=0)  # finished jobs, then purged
    webhook_hosts: frozenset[str] = frozenset()  # where webhooks may go; none: nowhere
    webhook_private: bool = False  # may such a host have a private address?
    webhook_secret: SecretStr | None = None  # signs every delivery
    webhook_attempts: int = Field(default=8, gt=0)
    roots: tuple[Path, ...] = ()  # folders from which jobs sent over HTTP may read
    uri_prefixes: tuple[str, ...] = ()  # object stores likewise: s3://bucket/folder/

    @property
    def database_url(self) -> str:
        """The URL for DBOS."""
        return self.database or f"sqlite:///{self.folder.resolve() / 'jobs.sqlite'}"
