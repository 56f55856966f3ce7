"""Atomic writes (a reader sees the old file or the new one, never a part), JSON files, and content hashes."""

import contextlib
import hashlib
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from headhunt_svc.errors import ArtifactError, OutputError


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file atomically: `write` writes a temporary file beside it, which then takes its name.

    Raises:
        OutputError: no permission, disk full, ...
    """
    partial = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        partial.replace(path)
    except OSError as exc:
        with contextlib.suppress(OSError):  # the first error is the one to report
            partial.unlink(missing_ok=True)
        raise OutputError(
            f"cannot write {path} ({exc.strerror or exc}): choose another place or free some space"
        ) from exc


def check_writable(folder: Path) -> None:
    """Check that files can be written to a folder, before hours of work. Raises OutputError."""
    write_file(folder / ".writable", lambda p: p.touch())
    (folder / ".writable").unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, as UTF-8. Raises OutputError."""
    write_file(path, lambda p: p.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically; the same value gives the same bytes. Raises OutputError."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path, made_by: str) -> Any:
    """Read a JSON file.

    made_by: the command that writes the file, for the error message.

    Raises:
        ArtifactError: it is missing or broken.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise ArtifactError(f"{path} not found: run `{made_by}` first") from exc
    except (OSError, ValueError, RecursionError) as exc:
        raise ArtifactError(f"{path} cannot be read as JSON ({exc}): run `{made_by}` again") from exc


def sha256(*paths: Path) -> str:
    """SHA-256 of the contents of files, one after the other, as hex digits."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as f:
            while block := f.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def code_version(*parts: str) -> str:
    """Hash of modules and rooms of this package and of the libraries' versions.

    Results that were computed by another version of the code are computed again.
    """
    root = Path(__file__).parents[1]
    files = sorted(
        f for part in parts for f in ([root / part] if part.endswith(".py") else (root / part).rglob("*.py"))
    )
    # without the local part: 2.13.0+cpu and 2.13.0 are the same release from different places
    versions = {name: version(name).split("+")[0] for name in ("av", "numpy", "torch", "transformers")}
    return text_id(f"{sha256(*files)} {versions}")


def text_id(text: str) -> str:
    """A short id of a text: the first twelve hex digits of its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
