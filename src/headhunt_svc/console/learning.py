"""Learns from marks in the background: one `headhunt recalibrate --from-events` at a time, as a process of its own."""

import logging
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock, Thread

from headhunt_svc.errors import ConfigError
from headhunt_svc.names import printable

logger = logging.getLogger(__name__)
MOST_LINES = 200  # of what it prints
STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class Progress:
    """A run: who started it, when, for which bundle, and what it has printed. code: its exit code; None: it goes on."""

    by: str
    started: datetime
    name: str
    lines: tuple[str, ...]
    code: int | None


class Learning:
    """Starts runs and follows them. Threads may share it."""

    def __init__(self, folder: Path) -> None:
        """folder: where each run puts its bundle, in a folder of its own."""
        self.folder = folder
        self._process: subprocess.Popen[str] | None = None
        self._lines: deque[str] = deque(maxlen=MOST_LINES)
        self._facts: tuple[str, datetime, str] | None = None
        self._n = 0  # lines so far
        self._lock = Lock()

    @property
    def progress(self) -> Progress | None:
        """The run that goes on, or the last one; None: there was none since the console was started."""
        with self._lock:
            if self._facts is None or self._process is None:
                return None
            by, started, name = self._facts
            return Progress(by, started, name, tuple(self._lines), self._process.poll())

    @property
    def version(self) -> str:
        """A text that changes as it goes on."""
        progress = self.progress
        return "" if progress is None else f"{progress.name} {self._n} {progress.code}"

    def start(self, options: Sequence[str], by: str) -> None:
        """Begin a run. options: of `recalibrate --from-events`.

        Raises:
            ConfigError: one goes on, or none can be started.
        """
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                raise ConfigError("it learns already: wait until it is done")
            now = datetime.now(UTC)
            name = f"{now:%Y%m%dT%H%M%S}"
            command = [sys.executable, "-m", "headhunt_svc", "recalibrate", "--from-events", *options]
            command += ["--out", str(self.folder / name)]
            try:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                    errors="replace",
                )  # fmt: skip
            except OSError as exc:
                raise ConfigError(f"it cannot be started ({exc})") from exc
            self._lines.clear()
            self._facts = by, now, name
            logger.warning("%s learns from marks: %s", by, name)
            Thread(target=self._follow, args=(self._process,), daemon=True).start()

    def _follow(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                with self._lock:
                    self._lines.append(printable(line.rstrip()))
                    self._n += 1
        process.wait()

    def end(self) -> None:
        """End what goes on, as the console ends."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
