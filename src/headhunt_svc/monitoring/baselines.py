"""Baselines: frozen rows of the prediction log from a time when a camera was known to be good, with versions.

baselines/yard/20260301T101500-4f1c0a.parquet      a version
baselines/active.json                              the active version of every camera
baselines/audit.jsonl                              who changed what, when and why
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc

from headhunt_svc.errors import ArtifactError, ConfigError
from headhunt_svc.prediction_log.schema import COLUMNS, LogMetadata
from headhunt_svc.prediction_log.windows import Rows
from headhunt_svc.storage.audit import audit
from headhunt_svc.storage.files import read_json, sha256, write_file, write_json
from headhunt_svc.storage.tables import parquet_bytes, read_table

TOTALS = b"headhunt_totals"


@dataclass(frozen=True, slots=True)
class Baseline:
    """Rows and their version."""

    version: str
    rows: Rows


def save_rows(path: Path, rows: Rows) -> None:
    """Write rows to a parquet file; the same rows give the same bytes, however they were spread over files."""
    totals = json.dumps({"total": rows.total, "events": rows.events})
    metadata = {**rows.metadata.as_parquet(), TOTALS.decode(): totals}
    table = rows.table.sort_by([("time", "ascending"), ("segment", "ascending")])
    columns = [  # a dictionary depends on nothing but the values
        pc.cast(c, pa.string()).combine_chunks().dictionary_encode() if pa.types.is_dictionary(c.type) else c
        for c in table.columns
    ]
    content = parquet_bytes(pa.Table.from_arrays(columns, schema=COLUMNS.with_metadata(metadata)))
    write_file(path, lambda p: p.write_bytes(content))


def load_rows(path: Path) -> Rows:
    """Read rows that `save_rows` wrote.

    Raises:
        ArtifactError: missing, broken, or of another schema.
    """
    try:
        table = read_table(path)
        totals = json.loads(table.schema.metadata[TOTALS])
        return Rows(LogMetadata.from_parquet(table.schema.metadata, str(path)), table.cast(COLUMNS), **totals)
    except FileNotFoundError as exc:
        raise ArtifactError(f"{path} not found: run `headhunt monitor reference` (or `dvc repro reference`)") from exc
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as exc:
        raise ArtifactError(f"{path} is no baseline ({exc}): run `headhunt monitor rebaseline` again") from exc


class Baselines:
    """A folder of baselines."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._active, self.log = folder, folder / "active.json", folder / "audit.jsonl"

    def path(self, camera: str, version: str) -> Path:
        """File of a version."""
        return self.folder / quote(camera, safe="") / f"{version}.parquet"

    def active(self) -> dict[str, str]:
        """The active version of every camera that has one."""
        return dict(read_json(self._active, "headhunt monitor rebaseline")) if self._active.exists() else {}

    def versions(self, camera: str) -> list[str]:
        """All versions of a camera, oldest first."""
        return sorted(p.stem for p in (self.folder / quote(camera, safe="")).glob("*.parquet"))

    def add(self, camera: str, rows: Rows, reason: str) -> str:
        """Save rows as the camera's new active baseline; returns its version."""
        draft = self.folder / ".draft.parquet"
        save_rows(draft, rows)
        version = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{sha256(draft)[:6]}"
        path = self.path(camera, version)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.replace(path)
        self.activate(camera, version, reason)
        return version

    def activate(self, camera: str, version: str, reason: str) -> None:
        """Make an existing version the active one.

        Raises:
            ConfigError: there is no such version.
        """
        if version not in (versions := self.versions(camera)):
            existing = ", ".join(versions) or "none"
            raise ConfigError(f"no baseline {version!r} of camera {camera}; there are: {existing}")
        before = self.active()
        write_json(self._active, {**before, camera: version})
        audit(self.log, what="baseline", camera=camera, to=version, before=before.get(camera, ""), why=reason)
