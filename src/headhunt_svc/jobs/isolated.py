"""The process that scores, apart from the one that keeps the queue: what kills it costs one attempt of one video.

They talk in JSON lines. The queue's side: {"video": Input, "options": JobOptions} and {"stop": why}; the scorer's: one
{"detector_id": ...} when it is ready, then one outcome for each video.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from headhunt_svc.detector import Detector
from headhunt_svc.errors import HeadHuntError, OutputError, UnreachableError
from headhunt_svc.io.sandbox import sandboxed
from headhunt_svc.io.video import VideoReader
from headhunt_svc.jobs.config import JobSettings
from headhunt_svc.jobs.inputs import UPLOAD, local
from headhunt_svc.jobs.models import Input, JobOptions
from headhunt_svc.jobs.scoring import score
from headhunt_svc.jobs.store import Store
from headhunt_svc.settings import Settings

POLL_S = 0.2
Outcome = dict[str, Any]  # one of result (key, with events), error, trouble (may pass), died, stopped


class StoppedError(Exception):
    """The scorer was told to stop."""


def outcome_of(
    detector: Detector,
    store: Store,
    video: Input,
    options: JobOptions,
    checkpoint_s: float,
    check: Callable[[], object] = lambda: None,
) -> Outcome:
    """Score one video and say what came of it."""
    try:
        with local(video.uri, store.uploads) as path:
            sent = video.uri.startswith(UPLOAD)  # by anybody: decoded within limits
            reader = sandboxed(Settings()) if sent else VideoReader
            key = score(
                detector, store, path, options.of_detector, checkpoint_s=checkpoint_s, check=check, reader=reader
            )
    except StoppedError as exc:
        return {"stopped": str(exc)}
    except (OutputError, UnreachableError) as exc:
        return {"trouble": str(exc)}
    except HeadHuntError as exc:
        return {"error": f"{type(exc).__name__}: {exc}"}
    except (FileNotFoundError, PermissionError) as exc:
        return {"error": f"{video.uri}: {exc.strerror}"}
    except OSError as exc:  # a disk that is full while reading, a folder that is away
        return {"trouble": f"{video.uri}: {exc.strerror or exc}"}
    return {"result": key, "events": len(store.result(key, video.video_id).events)}


def serve(bundle: Path, settings: JobSettings, asked: IO[str], answers: IO[str]) -> None:
    """The scorer's side: until `asked` ends, which also happens when the queue's side dies."""
    waiting: queue.Queue[dict[str, Any]] = queue.Queue()
    stop: list[str] = []

    def listen() -> None:
        for line in asked:
            message = json.loads(line)
            if "stop" in message:
                stop.append(message["stop"])
            else:
                waiting.put(message)
        os._exit(0)

    def check() -> None:
        if stop:
            raise StoppedError(stop[-1])

    def answer(message: Outcome) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    threading.Thread(target=listen, daemon=True).start()
    try:
        detector = Detector.load(bundle)
    except HeadHuntError as exc:
        answer({"error": str(exc)})
        return
    store = Store(settings.folder)
    answer({"detector_id": detector.detector_id})
    while True:
        message = waiting.get()
        stop.clear()
        video, options = Input.model_validate(message["video"]), JobOptions.model_validate(message["options"])
        answer(outcome_of(detector, store, video, options, settings.checkpoint_s, check))


class Scorer:
    """The queue's side. `score` may be called from several threads; they take turns.

    Raises:
        HeadHuntError: from `start`, the detector cannot be loaded.
    """

    def __init__(self, bundle: Path, command: Sequence[str] | None = None) -> None:
        self._command = command or [sys.executable, "-m", __name__, str(bundle)]
        self._turn = threading.Lock()
        self._child: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[Outcome | None] = queue.Queue()
        self.restarts = 0
        self.detector_id = ""

    def start(self) -> None:
        """Load the detector, unless that was done."""
        if self._child is not None and self._child.poll() is None:
            return
        self.restarts += self._child is not None
        child = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._child, self._answers = child, queue.Queue()
        threading.Thread(target=self._listen, args=(child, self._answers), daemon=True).start()
        ready = self._answers.get()
        if ready is None or "error" in ready:
            self.close()
            raise HeadHuntError(ready["error"] if ready else f"the scorer {_how(child)} while it loaded the detector")
        self.detector_id = ready["detector_id"]

    @staticmethod
    def _listen(child: "subprocess.Popen[str]", answers: "queue.Queue[Outcome | None]") -> None:
        assert child.stdout is not None
        for line in child.stdout:
            answers.put(json.loads(line))
        answers.put(None)

    def _tell(self, message: object) -> None:
        assert self._child is not None
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(message) + "\n")
        self._child.stdin.flush()

    def score(self, video: Input, options: JobOptions, stop: Callable[[], str | None]) -> Outcome:
        """Score a video. stop: asked several times a second; a reason ends the work at its next batch."""
        with self._turn:
            if reason := stop():
                return {"stopped": reason}
            try:
                self.start()
                self._tell({"video": video.model_dump(), "options": options.model_dump()})
                return self._outcome(stop)
            except BrokenPipeError:
                return self._died()
            except HeadHuntError as exc:
                return {"trouble": str(exc)}

    def _outcome(self, stop: Callable[[], str | None]) -> Outcome:
        told = False
        while True:
            try:
                found = self._answers.get(timeout=POLL_S)
            except queue.Empty:
                if not told and (reason := stop()):
                    told = True
                    self._tell({"stop": reason})
                continue
            return found if found is not None else self._died()

    def _died(self) -> Outcome:
        assert self._child is not None
        return {"died": f"the process that scored it {_how(self._child)}"}

    @contextmanager
    def idle(self, timeout_s: float) -> Iterator[None]:
        """Wait until no video is being scored, at most timeout_s; none begins meanwhile."""
        held = self._turn.acquire(timeout=timeout_s)
        try:
            yield
        finally:
            if held:
                self._turn.release()

    def close(self) -> None:
        """End the process."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()


def _how(child: "subprocess.Popen[str]") -> str:
    code = child.wait()
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def main() -> None:
    """`python -m headhunt_svc.jobs.isolated BUNDLE`: what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(Path(sys.argv[1]), JobSettings(), sys.stdin, answers)


if __name__ == "__main__":
    main()
