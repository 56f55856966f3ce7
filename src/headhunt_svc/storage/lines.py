"""Files of lines that are only appended: every line whole, whoever writes and however a writer ends."""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headhunt_svc.errors import unwritable
from headhunt_svc.storage.json_text import parse_json
from headhunt_svc.storage.locks import exclusive

logger = logging.getLogger(__name__)


def append_line(path: Path, value: Any, *, durable: bool = False) -> None:
    """Append a value as a line of JSON: all of it or, on an error, nothing.

    durable: the line survives a power failure from here on.

    Raises:
        OutputError: no permission, disk full, or another process keeps the file locked.
    """
    line = (json.dumps(value, allow_nan=False) + "\n").encode()
    with exclusive(path.with_name(f".{path.name}.lock")):
        try:
            with path.open("ab+", buffering=0) as f:
                _append(f.fileno(), line, durable)
        except OSError as exc:
            raise unwritable(path, exc) from exc


def _append(fd: int, line: bytes, durable: bool) -> None:
    size = os.fstat(fd).st_size
    if size and os.pread(fd, 1, size - 1) != b"\n":  # half a line, which then is a line of its own
        line = b"\n" + line
    try:
        while line:
            line = line[os.write(fd, line) :]
        if durable:
            os.fsync(fd)
    except OSError:
        os.ftruncate(fd, size)
        raise


def read_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """The values of a file of JSON lines, with the numbers of the lines, the oldest first; empty without a file.

    What a killed writer or a full disk left of a line is reported in the log, and left out.
    """
    if not path.exists():
        return
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            yield number, parse_json(line)
        except ValueError:
            report_damage(path, number)


def report_damage(path: Path, number: int) -> None:
    """Say that a line cannot be used."""
    logger.warning("%s:%d: this line is damaged and left out", path, number)
