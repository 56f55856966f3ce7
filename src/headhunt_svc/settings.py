"""HEADHUNT_* environment: where the software runs, never what it computes. Lists are separated by commas."""

from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from headhunt_svc.errors import ConfigError


def _split(value: object) -> object:
    """Split a list in the environment: `a,b`, the one syntax for every HEADHUNT_* list."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        raise ValueError("not a JSON list: separate the items by commas")
    return [item.strip() for item in value.split(",") if item.strip()]


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Folders = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_split)]


class _Environment(BaseSettings):
    """Settings that name the variable that is wrong, without its value, which may be a secret."""

    def __init__(self, **values: Any) -> None:
        """Raises ConfigError."""
        try:
            super().__init__(**values)
        except ValidationError as exc:
            prefix = self.model_config.get("env_prefix", "")
            problems = (f"{prefix}{e['loc'][0]}".upper() + f": {e['msg']}" for e in exc.errors() if e["loc"])
            raise ConfigError("; ".join(problems)) from exc


class Settings(_Environment):
    """HEADHUNT_DEVICE (auto, cpu, cuda, cuda:1, ...), HEADHUNT_BATCH_SEGMENTS, HEADHUNT_LOG_LEVEL, and what is logged.

    HEADHUNT_DECODERS: how many videos of many are decoded at once (detector/decoders.py).
    HEADHUNT_PREDICTION_LOG: folder or URI; without it nothing is logged. HEADHUNT_LOG_FEATURES: the expert heads'
    features whole, projected, or not at all. HEADHUNT_PROBE_SHARE: of the segments, those read under all prompts.
    """

    model_config = SettingsConfigDict(env_prefix="HEADHUNT_", frozen=True)

    device: str = "auto"
    batch_segments: int = Field(default=16, gt=0)
    decoders: Literal["auto"] | Annotated[int, Field(gt=0)] = "auto"  # videos decoded at once for one model
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "WARNING"
    prediction_log: str | None = None
    log_features: Literal["all", "projected", "none"] = "projected"
    log_flush_s: float = Field(default=5.0, gt=0)
    log_retention_days: int = Field(default=90, gt=0)
    probe_share: float = Field(default=0.02, ge=0, le=1)
    describe: bool = False  # load all layers of the model, so that requests may ask for descriptions

    # the service
    bundle: Path | None = None  # default: artifacts/detector, or the model that was packaged
    max_videos: int = Field(default=16, gt=0)  # scored at the same time, segments of all in the same batches
    max_waiting: int = Field(default=32, ge=0)  # beyond: 429
    deadline_s: float = Field(default=600, gt=0, le=3000)  # of one request, upload included
    grace_s: float = Field(default=30, ge=0)  # to finish after SIGTERM
    max_connections: int = Field(default=512, gt=0)  # open at once, half of them with a request
    max_upload_bytes: int = Field(default=2 * 1024**3, gt=0)
    upload_folder: Path | None = None  # default: the system's

    # what a video that comes over the network may be and use (docs/security.md)
    memory_mib: int | None = Field(default=None, ge=512)  # of all videos together; default: half of the machine's
    max_duration_s: float = Field(default=3600, gt=0)
    max_pixels: int = Field(default=2**25, gt=0)  # of one picture: 7680 x 4320 fits
    max_frames: int = Field(default=500_000, gt=0)
    decode_memory_mib: int = Field(default=6144, gt=0)  # 7680 x 4320 at 30 frames a second fits
    decode_cpu_s: int = Field(default=3600, gt=0)
    decode_stall_s: float = Field(default=60, gt=0)
    api_keys: SecretStr | None = None  # name:key,name:key
    api_keys_file: Path | None = None  # lines of name:key
    uri_roots: Folders = ()
    uri_hosts: Names = ()  # host or host:port


class JobSettings(_Environment):
    """All workers, the service and the command line of one queue share `folder` and the database."""

    model_config = SettingsConfigDict(env_prefix="HEADHUNT_JOBS_", frozen=True)

    folder: Path = Path("data/jobs")  # results, checkpoints, uploads; needs file locks (local disk, NFSv4)
    database: str | None = None  # postgresql://..., default: SQLite in the folder
    checkpoint_s: float = Field(default=60, ge=0)  # seconds of work between two checkpoints of a long video
    attempts: int = Field(default=3, gt=0)  # how often a video may kill the process that scores it
    backoff_s: float = Field(default=1, gt=0)  # first wait after a trouble that may pass; doubles
    backoff_most_s: float = Field(default=60, gt=0)
    upload_bytes: int = Field(default=256 * 1024**3, gt=0)  # of all videos that were uploaded for jobs
    keep_days: float = Field(default=30, gt=0)  # finished jobs, then purged
    webhook_hosts: Names = ()  # where webhooks may go; none: nowhere
    webhook_private: bool = False  # may such a host have a private address?
    webhook_secret: SecretStr | None = None  # signs every delivery
    webhook_attempts: int = Field(default=8, gt=0)
    roots: Folders = ()  # folders from which jobs sent over HTTP may read
    uri_prefixes: Names = ()  # object stores likewise: s3://bucket/folder/

    @property
    def database_url(self) -> str:
        """The URL for DBOS."""
        return self.database or f"sqlite:///{self.folder.resolve() / 'jobs.sqlite'}"


class EventSettings(_Environment):
    """Where events are stored, and for how long. `folder`: pictures, clips, features and, by default, the database."""

    model_config = SettingsConfigDict(env_prefix="HEADHUNT_EVENTS_", frozen=True)

    folder: Path = Path("data/events")  # needs file locks (local disk, NFSv4)
    database: SecretStr | None = None  # postgresql://user:password@host/name; default: SQLite in the folder
    record: Names = ()  # what stores its events beside `detect --events` and `watch`: jobs, service, archives
    merge_s: float = Field(default=10, ge=0)  # events of one camera that are closer are one
    clip_margin_s: float = Field(default=5, ge=0)  # of footage before and behind the event
    clip_most_s: float = Field(default=300, gt=0)  # the longest clip
    keep_days: float = Field(default=90, gt=0)  # after that an event is deleted, or at least its picture and clip
    keep_marked_days: float = Field(default=730, gt=0)  # the same of one that is confirmed or a false alarm
    keep_bytes: int = Field(default=20 * 1024**3, ge=0)  # of clips and pictures: the oldest are deleted first
    name_pattern: str | None = None  # the time in a file's name: yard_%Y%m%d_%H%M%S
    time_zone: str = "UTC"  # of the cameras: what times in file names mean, and how times are shown
    questions: int = Field(default=10, ge=0, le=200)  # "normal or not?" a day, for all cameras together

    @field_validator("record")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in names if name not in ("jobs", "service", "archives")]
        if unknown:
            raise ValueError(f"{unknown[0]} is none of jobs, service, archives")
        return names

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as exc:  # unknown; no name of a file; a folder
            raise ValueError(f"{name!r} is no time zone, such as Europe/Berlin") from exc
        return name

    @property
    def database_url(self) -> str:
        """The URL for SQLAlchemy."""
        if self.database is not None:
            return self.database.get_secret_value()
        return f"sqlite:///{self.folder.resolve() / 'events.sqlite'}"


class NotifySettings(_Environment):
    """Where notifications go, and how long they are tried; they wait in the database of events."""

    model_config = SettingsConfigDict(env_prefix="HEADHUNT_NOTIFY_", frozen=True)

    file: Path = Path("notify.yaml")  # the channels (docs/notifications.md)
    backoff_s: float = Field(default=5, gt=0)  # first wait after a failed attempt; doubles
    backoff_most_s: float = Field(default=900, gt=0)
    give_up_h: float = Field(default=72, gt=0)
    keep_days: float = Field(default=30, gt=0)  # messages that were sent or given up, then forgotten
