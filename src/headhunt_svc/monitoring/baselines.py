"""Baselines: frozen rows of the prediction log from a time when a camera was known to be good, with versions.

baselines/yard/20260301T101500-4f1c0a.parquet      a version
baselines/active.json                              the active version of every camera
baselines/audit.jsonl                              who changed what, when and why
"""

import hashlib
import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, TypeAdapter, ValidationError

from headhunt_svc.errors import ArtifactError, ConfigError
from headhunt_svc.names import CameraName
from headhunt_svc.prediction_log.schema import COLUMNS, LogMetadata
from headhunt_svc.prediction_log.windows import Rows, as_logged, vectors_fit
from headhunt_svc.storage.audit import audit, audited
from headhunt_svc.storage.files import sha256, write_bytes, write_file
from headhunt_svc.storage.json_text import parse_json
from headhunt_svc.storage.locks import exclusive
from headhunt_svc.storage.tables import parquet_bytes, read_table

logger = logging.getLogger(__name__)
TOTALS = b"headhunt_totals"
_TOTALS = TypeAdapter(dict[Literal["total", "events"], Annotated[int, Field(ge=0)]])
ACTIVE = TypeAdapter(dict[str, str])
FILES = ("active.json", "audit.jsonl")  # beside the folders of the cameras


@dataclass(frozen=True, slots=True)
class Baseline:
    """Rows and their version."""

    version: str
    rows: Rows


def row_bytes(rows: Rows) -> bytes:
    """Rows as the content of a parquet file; the same rows give the same bytes, however they were spread over files."""
    totals = json.dumps({"total": rows.total, "events": rows.events})
    metadata = {**rows.metadata.as_parquet(), TOTALS.decode(): totals}
    table = rows.table.sort_by([("time", "ascending"), ("segment", "ascending")])
    columns = [  # a dictionary depends on nothing but the values
        pc.cast(c, pa.string()).combine_chunks().dictionary_encode() if pa.types.is_dictionary(c.type) else c
        for c in table.columns
    ]
    return parquet_bytes(pa.Table.from_arrays(columns, schema=COLUMNS.with_metadata(metadata)))


def save_rows(path: Path, rows: Rows) -> None:
    """Write rows to a parquet file. Raises OutputError."""
    write_bytes(path, row_bytes(rows))


def load_rows(path: Path) -> Rows:
    """Read rows that `save_rows` wrote.

    Raises:
        ArtifactError: missing, broken, or of another schema.
    """
    try:
        table = read_table(path)
        totals = parse_json(table.schema.metadata[TOTALS])
        metadata, logged = LogMetadata.from_parquet(table.schema.metadata, str(path)), as_logged(table)
        if not vectors_fit(logged, metadata).all():
            raise ValueError("vectors of another length")
        counts = _TOTALS.validate_python(totals)
        return Rows(metadata, logged, counts["total"], counts["events"])
    except FileNotFoundError as exc:
        raise ArtifactError(f"{path} not found: run `headhunt monitor reference` (or `dvc repro reference`)") from exc
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as exc:
        raise ArtifactError(f"{path} is no baseline ({exc}): run `headhunt monitor rebaseline` again") from exc


class Baselines:
    """A folder of baselines. What changes it holds its lock, so that no change undoes another."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._active, self.log = folder, folder / "active.json", folder / "audit.jsonl"
        self._lock = folder / ".lock"

    def path(self, camera: str, version: str) -> Path:
        """File of a version."""
        return self._folder(camera) / f"{version}.parquet"

    def _folder(self, camera: str) -> Path:
        """The folder of a camera's versions, which is none of our files, whatever the name is."""
        name = CameraName(camera).folder
        return self.folder / (name.replace(".", "%2E") if name.startswith(".") or name.lower() in FILES else name)

    def active(self) -> dict[str, str]:
        """The active version of every camera that has one; from the audit log, if the file of them is damaged."""
        if not self._active.exists():
            return {}
        try:
            active = ACTIVE.validate_json(self._active.read_bytes())
            return {CameraName(camera): version for camera, version in active.items()}
        except (OSError, ValidationError):
            logger.warning("%s is damaged: the audit log says which baselines are active", self._active)
            lines = audited(self.log, "camera", "to")
            return {x["camera"]: x["to"] for x in lines if self.path(x["camera"], x["to"]).exists()}

    def cameras(self) -> list[str]:
        """The cameras that have an active baseline whose file is there, be it one that can be used or not."""
        return [camera for camera, version in self.active().items() if self.path(camera, version).exists()]

    def load(self, camera: str, version: str) -> Rows:
        """The rows of a version, whose name ends with the beginning of their file's SHA-256.

        Raises:
            ArtifactError: missing, or not as it was written.
        """
        path = self.path(camera, version)
        rows = load_rows(path)
        if not sha256(path).startswith(version.rpartition("-")[2]):
            raise ArtifactError(f"{path} is damaged: run `headhunt monitor rebaseline` again")
        return rows

    def versions(self, camera: str) -> list[str]:
        """All versions of a camera, oldest first."""
        return sorted(p.stem for p in self._folder(camera).glob("*.parquet"))

    def add(self, camera: str, rows: Rows, reason: str) -> str:
        """Save rows as the camera's new active baseline; returns its version. The same rows are the same version."""
        content = row_bytes(rows)
        with exclusive(self._lock):
            version = self._version_of(camera, content)
            if version is None:
                version = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{hashlib.sha256(content).hexdigest()[:6]}"
                write_bytes(self.path(camera, version), content, durable=True)
            self._activate(camera, version, reason)
        return version

    def _version_of(self, camera: str, content: bytes) -> str | None:
        """The version with this content, if there is one: also what a killed process has saved and not made active."""
        ending = f"-{hashlib.sha256(content).hexdigest()[:6]}"
        same = (v for v in self.versions(camera) if v.endswith(ending) and self.path(camera, v).read_bytes() == content)
        return next(same, None)

    def activate(self, camera: str, version: str, reason: str) -> None:
        """Make an existing version the active one.

        Raises:
            ConfigError: there is no such version.
            OutputError: it cannot be written; the version from before stays active.
        """
        if version not in (versions := self.versions(camera)):
            existing = ", ".join(versions) or "none"
            raise ConfigError(f"no baseline {version!r} of camera {camera}; there are: {existing}")
        with exclusive(self._lock):
            self._activate(camera, version, reason)

    def _activate(self, camera: str, version: str, reason: str) -> None:
        camera, before = CameraName(camera), self.active()
        content = json.dumps({**before, camera: version}, indent=2) + "\n"

        def write(path: Path) -> None:  # the record first: then nothing but the renaming is left to do
            path.write_text(content, encoding="utf-8")
            audit(self.log, what="baseline", camera=camera, to=version, before=before.get(camera, ""), why=reason)

        write_file(self._active, write, durable=True)
