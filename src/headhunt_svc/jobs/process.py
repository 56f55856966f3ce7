"""Scores videos in a child process, so that a crash (decoder, memory) costs one attempt at one video.

Both sides send JSON lines. The parent: {"video": JobVideo, "options": JobOptions}, with {"detector": [id, folder]}
where it is to be that one and not the one in use, and {"stop": reason}. The child (isolated.py): one
{"detector_id": ...} when it is ready, then one AttemptOutcome for each video. The child ends when its standard input
ends. Only the child imports torch.
"""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Literal

from headhunt_svc.errors import HeadHuntError
from headhunt_svc.jobs.models import AttemptOutcome, JobOptions, JobVideo
from headhunt_svc.jobs.parent import END_S
from headhunt_svc.jobs.store import ResultStore
from headhunt_svc.storage.json_text import parse_json

POLL_S = 0.2


class ScoringProcess:
    """The parent's side: starts the child, and again after it died. `score` is safe to call from several threads."""

    def __init__(
        self, bundle: Path, store: ResultStore, checkpoint_s: float, origin: Literal["job", "archive"] = "job"
    ) -> None:
        """store: of results and checkpoints. checkpoint_s: seconds of work between two checkpoints.

        origin: whose events these are, where they are stored.
        """
        arguments = [str(bundle), str(store.folder.absolute()), str(checkpoint_s), str(int(store.durable)), origin]
        self._command = [sys.executable, "-m", "headhunt_svc.jobs.isolated", *arguments]
        self._turn = threading.Lock()
        self._child: subprocess.Popen[str] | None = None
        self.restarts = 0
        self.detector_id = ""

    def start(self) -> None:
        """Start the child, unless it runs, and wait until its detector is loaded.

        Raises:
            HeadHuntError: the detector cannot be loaded.
        """
        if self._child is not None and self._child.poll() is None:
            return
        self.restarts += self._child is not None
        self.close()
        child = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches only the parent, which lets a batch finish
        )
        assert child.stdin is not None
        assert child.stdout is not None
        self._child, self._requests, self._answers = child, child.stdin, child.stdout
        ready = self._answer()
        if ready is None or "error" in ready:
            self.close()
            raise HeadHuntError(
                ready["error"] if ready else f"the scorer {_ending(child)} while it loaded the detector"
            )
        self.detector_id = ready["detector_id"]

    def _send(self, message: object) -> None:
        self._requests.write(json.dumps(message) + "\n")
        self._requests.flush()

    def _answer(self) -> Any:
        """The next message of the child; None when it has ended."""
        line = self._answers.readline()
        return parse_json(line) if line else None

    def score(
        self,
        video: JobVideo,
        options: JobOptions,
        stop: Callable[[], str | None],
        detector: tuple[str, Path] | None = None,
    ) -> AttemptOutcome:
        """Score a video.

        detector: id and folder of the one that the video was given to; by default the one in use.
        stop: called several times a second; if it returns a reason, the work ends after the current batch.
        """
        with self._turn:
            if reason := stop():
                return {"stopped": reason}
            try:
                self.start()
                whose = {} if detector is None else {"detector": [detector[0], str(detector[1].absolute())]}
                self._send({"video": video.model_dump(), "options": options.model_dump(), **whose})
                is_stopping = False
                while not wait([self._answers.fileno()], POLL_S):
                    if not is_stopping and (reason := stop()):
                        is_stopping = True
                        self._send({"stop": reason})
                outcome: AttemptOutcome | None = self._answer()
            except (BrokenPipeError, ValueError):  # ValueError: half a message, or `close` closed the pipes
                outcome = None
            except HeadHuntError as exc:
                return {"trouble": str(exc)}
            assert self._child is not None
            return outcome or {"died": f"the process that scored it {_ending(self._child)}"}

    def close_for_good(self, timeout_s: float) -> None:
        """Wait until no video is being scored, at most timeout_s, then close; no other video is begun."""
        self._turn.acquire(timeout=timeout_s)
        self.close()

    def close(self) -> None:
        """End the child; a video that is being scored keeps a checkpoint, the prediction log is written completely."""
        if self._child is None:
            return
        with suppress(BrokenPipeError):
            self._requests.close()
        try:
            self._child.wait(END_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._answers.close()


def _ending(child: "subprocess.Popen[str]") -> str:
    """How a process ended, in words."""
    code = child.wait()
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
