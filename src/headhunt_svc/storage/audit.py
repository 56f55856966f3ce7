"""The audit log: who changed what, when and why, as JSON lines that are only appended."""

import getpass
import json
from datetime import UTC, datetime
from pathlib import Path

from headhunt_svc.errors import OutputError


def audit(path: Path, **what: str) -> None:
    """Append a line with the time, the user and `what`. Raises OutputError."""
    line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "by": getpass.getuser(), **what}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as f:
            f.write(json.dumps(line) + "\n")
    except OSError as exc:
        raise OutputError(f"cannot write {path} ({exc.strerror}): nothing is changed without a record") from exc


def audited(path: Path) -> list[dict[str, str]]:
    """All lines, the oldest first; empty without a log."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
