"""Safetensors files with a checksum: a truncated or changed file is noticed when it is read.

All facts are in one metadata entry, because safetensors does not keep the order of several.
"""

import json
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from headhunt_svc.errors import ArtifactError
from headhunt_svc.storage.files import write_bytes
from headhunt_svc.storage.json_text import parse_json

CHECKSUM = "crc32"  # against damage, not against a forger; several times as fast as a SHA-256


def tensor_bytes(tensors: Mapping[str, np.ndarray], metadata: dict[str, str] | None = None) -> bytes:
    """Arrays as the content of a safetensors file.

    safetensors' own `save_file` writes a temporary file that a kill leaves behind, and a file that others cannot read.
    """
    return save({name: np.ascontiguousarray(values) for name, values in tensors.items()}, metadata)


def save_tensors(
    path: Path, tensors: Mapping[str, np.ndarray], facts: Mapping[str, Any], *, durable: bool = False
) -> None:
    """Write arrays and facts atomically, with a checksum of both. durable: see write_file. Raises OutputError."""
    facts_with_checksum = {**facts, CHECKSUM: _checksum(tensors, facts)}
    write_bytes(path, tensor_bytes(tensors, {"about": json.dumps(facts_with_checksum)}), durable=durable)


def load_facts(path: Path) -> dict[str, Any]:
    """The facts of a file; its arrays are not read.

    Raises:
        ArtifactError: missing, or not readable; the message is the reason.
    """
    return _read(path, ())[0]


def load_tensors(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Facts and arrays of a file.

    Raises:
        ArtifactError: missing, or not as it was written; the message is the reason.
    """
    facts, tensors = _read(path, None)
    stored = facts.pop(CHECKSUM, None)
    if stored != _checksum(tensors, facts):
        raise ArtifactError("no checksum, written by an earlier version" if stored is None else "the file is damaged")
    return facts, tensors


def _read(path: Path, names: Collection[str] | None) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """names: of the arrays to read, all by default."""
    try:
        with safe_open(path, "np") as f:
            facts = parse_json(f.metadata()["about"])
            tensors = {name: f.get_tensor(name) for name in (f.keys() if names is None else names)}
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as exc:
        raise ArtifactError(str(exc)) from exc
    if not isinstance(facts, dict):
        raise ArtifactError("its facts are no object")
    return facts, tensors


def _checksum(tensors: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> int:
    checksum = zlib.crc32(json.dumps(dict(facts)).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        checksum = zlib.crc32(array.data, zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), checksum))
    return checksum
