"""Scores videos in a child process, so that a crash (decoder, memory) costs one attempt at one video.

Both sides send JSON lines. The parent: {"id": N, "video": JobVideo, "options": JobOptions}, with {"detector": [id,
folder]} where it is to be that one and not the one in use, and {"stop": reason, "id": N}. The child (isolated.py): one
{"detector_id": ...} when it is ready; {"decoders": n} when that many videos may be in it at once, which is one until
then; {"id": N, "outcome": AttemptOutcome} for each video. The child ends when its standard input ends. Only the child
imports torch.
"""

import json
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from headhunt_svc.errors import HeadHuntError
from headhunt_svc.jobs.models import AttemptOutcome, JobOptions, JobVideo
from headhunt_svc.jobs.parent import END_S
from headhunt_svc.jobs.store import ResultStore
from headhunt_svc.settings import Settings
from headhunt_svc.storage.json_text import parse_json

logger = logging.getLogger(__name__)
POLL_S = 0.2


class _Attempt:
    """A video in a child. alone: no other was in it at any time of the attempt."""

    def __init__(self, alone: bool) -> None:
        self.alone = alone
        self.outcome: Future[AttemptOutcome | None] = Future()  # None: the child died


class _Child:
    """One child and the videos in it; a thread listens to it. Safe to use from several threads."""

    def __init__(self, command: list[str], told: Callable[[int], None]) -> None:
        """told: called with the number of videos that may be in the child at once."""
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches only the parent, which lets a batch finish
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._requests, self._answers = self.process.stdin, self.process.stdout
        self.ready: Future[dict[str, Any] | None] = Future()  # None: it died before
        self._told = told
        self._lock = threading.Lock()
        self._attempts: dict[int, _Attempt] = {}
        self._begun = 0
        self._has_ended = False
        self._listener = threading.Thread(target=self._listen, name="scorer", daemon=True)
        self._listener.start()

    @property
    def is_alive(self) -> bool:
        """Whether it may be given videos."""
        return not self._has_ended and self.process.poll() is None

    def _listen(self) -> None:
        with self._answers, suppress(ValueError):  # half a message: it died while it wrote
            for line in self._answers:
                message = parse_json(line)
                if "decoders" in message:
                    self._told(message["decoders"])
                elif "id" in message:
                    with self._lock:
                        attempt = self._attempts.pop(message["id"])
                    attempt.outcome.set_result(message["outcome"])
                elif not self.ready.done():  # else the model with all layers cannot be loaded, which its video says
                    self.ready.set_result(message)
        with self._lock:
            self._has_ended = True
            left = list(self._attempts.values())
        for attempt in left:
            attempt.outcome.set_result(None)
        if not self.ready.done():
            self.ready.set_result(None)

    def begin(self, request: dict[str, object]) -> tuple[int, _Attempt] | None:
        """Give it a video; returns the attempt and its number, None if the child has ended before."""
        with self._lock:
            if self._has_ended:
                return None
            self._begun += 1
            attempt = _Attempt(alone=not self._attempts)
            for other in self._attempts.values():
                other.alone = False
            self._attempts[self._begun] = attempt
            self._send({"id": self._begun, **request})
            return self._begun, attempt

    def stop(self, number: int, reason: str) -> None:
        """Ask it to stop working on a video after the current batch."""
        with self._lock:
            self._send({"stop": reason, "id": number})

    def _send(self, message: object) -> None:
        with suppress(BrokenPipeError, ValueError):  # it died, or `end` closed the pipe: the listener notices
            self._requests.write(json.dumps(message) + "\n")
            self._requests.flush()

    def end(self) -> None:
        """Let it end; videos that are being scored keep a checkpoint, the prediction log is written completely."""
        with self._lock, suppress(BrokenPipeError):
            self._requests.close()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._listener.join()

    def ending(self) -> str:
        """How it ended, in words."""
        code = self.process.wait()
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


class ScoringProcess:
    """The parent's side: starts the child, and again after it died. `score` is safe to call from several threads.

    n: how many videos are scored at once (HEADHUNT_DECODERS, see detector/decoders.py); the others wait.
    """

    def __init__(
        self, bundle: Path, store: ResultStore, checkpoint_s: float, origin: Literal["job", "archive"] = "job"
    ) -> None:
        """store: of results and checkpoints. checkpoint_s: seconds of work between two checkpoints.

        origin: whose events these are, where they are stored.
        """
        arguments = [str(bundle), str(store.folder.absolute()), str(checkpoint_s), str(int(store.durable)), origin]
        self._command = [sys.executable, "-m", "headhunt_svc.jobs.isolated", *arguments]
        self.may_be_several = Settings().decoders != 1
        self.n = 1
        self.changed = threading.Condition()
        self._running = self._waiting_alone = 0
        self._is_alone = self._is_closed = False
        self._starting = threading.Lock()
        self._child: _Child | None = None
        self.restarts = 0
        self.detector_id = ""

    def start(self) -> None:
        """Start the child, unless it runs, and wait until its detector is loaded.

        Raises:
            HeadHuntError: the detector cannot be loaded.
        """
        self._started()

    def _started(self) -> _Child:
        with self._starting:
            if self._is_closed:
                raise HeadHuntError("no more videos are scored")
            if self._child is not None:
                if self._child.is_alive:
                    return self._child
                self.restarts += 1
                self._child.end()
            self._set_n(1)
            child = self._child = _Child(self._command, self._set_n)
            ready = child.ready.result()
            if ready is None or "error" in ready:
                child.end()
                raise HeadHuntError(
                    ready["error"] if ready else f"the scorer {child.ending()} while it loaded the detector"
                )
            self.detector_id = ready["detector_id"]
            return child

    def _set_n(self, n: int) -> None:
        with self.changed:
            self.n = n
            self.changed.notify_all()

    @contextmanager
    def _place(self, alone: bool) -> Iterator[bool]:
        """Wait until one more video may be scored, or, `alone`, until no other is; False: none may be any more."""

        def is_free() -> bool:
            if alone or self._is_closed:
                return self._is_closed or not self._running
            return self._running < self.n and not self._is_alone and not self._waiting_alone

        with self.changed:
            self._waiting_alone += alone
            try:
                self.changed.wait_for(is_free)
            finally:
                self._waiting_alone -= alone
            if is_open := not self._is_closed:
                self._running += 1
                self._is_alone = alone
        try:
            yield is_open
        finally:
            with self.changed:
                if is_open:
                    self._running -= 1
                    self._is_alone = False
                self.changed.notify_all()

    def score(
        self,
        video: JobVideo,
        options: JobOptions,
        stop: Callable[[], str | None],
        detector: tuple[str, Path] | None = None,
        *,
        alone: bool = False,
    ) -> AttemptOutcome:
        """Score a video.

        If the child dies while several videos are in it, nobody knows which one it was: each is scored again without
        the others, from its checkpoint, and only what happens then is the outcome.

        detector: id and folder of the one that the video was given to; by default the one in use.
        stop: called several times a second; if it returns a reason, the work ends after the current batch.
        alone: with no other video beside it.
        """
        whose = {} if detector is None else {"detector": [detector[0], str(detector[1].absolute())]}
        request: dict[str, object] = {"video": video.model_dump(), "options": options.model_dump(), **whose}
        outcome, was_alone = self._attempt(request, stop, alone)
        if "died" in outcome and not was_alone:
            logger.warning("%s, and others: each is scored again alone (%s)", video.video_id, outcome["died"])
            outcome, _ = self._attempt(request, stop, alone=True)
        return outcome

    def _attempt(
        self, request: dict[str, object], stop: Callable[[], str | None], alone: bool
    ) -> tuple[AttemptOutcome, bool]:
        """One attempt's outcome, and whether no other video was in the child meanwhile."""
        with self._place(alone) as is_open:
            if reason := stop() if is_open else "no more videos are scored":
                return {"stopped": reason}, True
            begun = None
            while begun is None:
                try:
                    child = self._started()
                except HeadHuntError as exc:
                    return {"trouble": str(exc)}, True
                begun = child.begin(request)
            number, attempt = begun
            is_stopping = False
            while True:
                with suppress(TimeoutError):
                    outcome = attempt.outcome.result(POLL_S)
                    break
                if not is_stopping and (reason := stop()):
                    is_stopping = True
                    child.stop(number, reason)
            return outcome or {"died": f"the process that scored it {child.ending()}"}, attempt.alone

    def close(self, timeout_s: float = 0) -> None:
        """Wait until no video is being scored, at most timeout_s, then end the child; no other video is begun.

        A video that is being scored keeps a checkpoint, the prediction log is written completely.
        """
        with self.changed:
            self._is_closed = True
            self.changed.notify_all()
            self.changed.wait_for(lambda: not self._running, timeout_s)
        if self._child is not None:
            self._child.end()
