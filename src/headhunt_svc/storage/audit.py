"""The audit log: who changed what, when and why, as JSON lines that are only appended."""

import getpass
import os
from datetime import UTC, datetime
from pathlib import Path

from headhunt_svc.errors import OutputError
from headhunt_svc.storage.lines import append_line, read_lines, report_damage


def audit(path: Path, **what: str) -> None:
    """Append a line with the time, the user and `what`; it survives a power failure. Raises OutputError."""
    line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "by": _user(), **what}
    try:
        append_line(path, line, durable=True)
    except OutputError as exc:
        raise OutputError(f"{exc}; nothing is changed without a record") from exc


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user without a name; the exception depends on the version
        return f"user {os.getuid()}"


def audited(path: Path, *fields: str) -> list[dict[str, str]]:
    """All lines that have these fields, the oldest first; empty without a log. Other lines are reported in the log."""
    lines = []
    for number, line in read_lines(path):
        if isinstance(line, dict) and all(isinstance(line.get(name), str) for name in ("time", "by", *fields)):
            lines.append(line)
        else:
            report_damage(path, number)
    return lines
