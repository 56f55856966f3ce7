"""Scores videos in a child process, so that a crash (decoder, memory) costs one attempt at one video.

Both sides send JSON lines. The parent: {"video": JobVideo, "options": JobOptions} and {"stop": reason}. The child: one
{"detector_id": ...} when it is ready, then one AttemptOutcome for each video. The child ends when
its standard input ends.
"""

import io
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.errors import HeadHuntError, OutputError, UnreachableError
from headhunt_svc.jobs.inputs import UPLOAD, StoppedError, local
from headhunt_svc.jobs.models import AttemptOutcome, JobOptions, JobVideo
from headhunt_svc.jobs.scoring import score
from headhunt_svc.jobs.store import ResultStore
from headhunt_svc.settings import Settings

POLL_S = 0.2
END_S = 30.0  # to finish a batch and write the prediction log; then it is killed


def outcome_of(
    detector: Detector,
    store: ResultStore,
    video: JobVideo,
    options: JobOptions,
    checkpoint_s: float,
    check: Callable[[], None] = lambda: None,
) -> AttemptOutcome:
    """Score one video in this process and turn its errors into an AttemptOutcome."""
    try:
        with local(video.uri, store.uploads, check) as path:
            sent = video.uri.startswith(UPLOAD)  # by a client, who may be hostile
            sandbox = Settings() if sent else None
            key = score(
                detector,
                store,
                path,
                video.video_id,
                options.of_detector,
                checkpoint_s=checkpoint_s,
                check=check,
                sandbox=sandbox,
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


def serve(bundle: Path, store: ResultStore, checkpoint_s: float, requests: IO[str], answers: IO[str]) -> None:
    """The child's side: answers until `requests` ends, which also happens when the parent dies."""
    waiting: queue.Queue[dict[str, Any] | None] = queue.Queue()
    stop: list[str] = []
    ended = threading.Event()

    def listen() -> None:
        for line in requests:
            message = json.loads(line)
            if "stop" in message:
                stop.append(message["stop"])
            else:
                waiting.put(message)
        ended.set()
        waiting.put(None)

    def check() -> None:
        if stop or ended.is_set():
            raise StoppedError(stop[-1] if stop else "the process that asked for it has ended")

    def answer(message: Mapping[str, object]) -> None:
        with suppress(BrokenPipeError):  # the parent is dead; the result is on disk
            answers.write(json.dumps(message) + "\n")

    threading.Thread(target=listen, daemon=True).start()
    try:
        detector = Detector.load(bundle)
    except HeadHuntError as exc:
        answer({"error": str(exc)})
        return
    answer({"detector_id": detector.detector_id})
    while (message := waiting.get()) is not None:
        stop.clear()
        video, options = JobVideo.model_validate(message["video"]), JobOptions.model_validate(message["options"])
        answer(outcome_of(detector, store, video, options, checkpoint_s, check))


class ScoringProcess:
    """The parent's side: starts the child, and again after it died. `score` is safe to call from several threads."""

    def __init__(self, bundle: Path, store: Path, checkpoint_s: float) -> None:
        """store: folder of results and checkpoints. checkpoint_s: seconds of work between two checkpoints."""
        self._command = [sys.executable, "-m", __name__, str(bundle), str(store), str(checkpoint_s)]
        self._turn = threading.Lock()
        self._child: subprocess.Popen[str] | None = None
        self._listener: threading.Thread
        self._answers: queue.Queue[Any] = queue.Queue()  # messages; None at the end
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
        self._child, self._answers = child, queue.Queue()
        self._listener = threading.Thread(target=self._listen, args=(child, self._answers), daemon=True)
        self._listener.start()
        ready = self._answers.get()
        if ready is None or "error" in ready:
            self.close()
            raise HeadHuntError(
                ready["error"] if ready else f"the scorer {_ending(child)} while it loaded the detector"
            )
        self.detector_id = ready["detector_id"]

    @staticmethod
    def _listen(child: "subprocess.Popen[str]", answers: "queue.Queue[Any]") -> None:
        assert child.stdout is not None
        with child.stdout as lines:
            for line in lines:
                answers.put(json.loads(line))
        answers.put(None)

    def _send(self, message: object) -> None:
        assert self._child is not None
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(message) + "\n")
        self._child.stdin.flush()

    def score(self, video: JobVideo, options: JobOptions, stop: Callable[[], str | None]) -> AttemptOutcome:
        """Score a video.

        stop: called several times a second; if it returns a reason, the work ends after the current batch.
        """
        with self._turn:
            if reason := stop():
                return {"stopped": reason}
            try:
                self.start()
                self._send({"video": video.model_dump(), "options": options.model_dump()})
                return self._outcome(stop)
            except BrokenPipeError:
                return self._died()
            except HeadHuntError as exc:
                return {"trouble": str(exc)}

    def _outcome(self, stop: Callable[[], str | None]) -> AttemptOutcome:
        is_stopping = False
        while True:
            try:
                outcome: AttemptOutcome | None = self._answers.get(timeout=POLL_S)
            except queue.Empty:
                if not is_stopping and (reason := stop()):
                    is_stopping = True
                    self._send({"stop": reason})
                continue
            return outcome if outcome is not None else self._died()

    def _died(self) -> AttemptOutcome:
        assert self._child is not None
        return {"died": f"the process that scored it {_ending(self._child)}"}

    @contextmanager
    def idle(self, timeout_s: float) -> Iterator[None]:
        """Wait until no video is being scored, at most timeout_s; none is begun inside the `with`."""
        held = self._turn.acquire(timeout=timeout_s)
        try:
            yield
        finally:
            if held:
                self._turn.release()

    def close(self) -> None:
        """End the child; a video that is being scored keeps a checkpoint, the prediction log is written completely."""
        if self._child is None:
            return
        assert self._child.stdin is not None
        with suppress(BrokenPipeError):
            self._child.stdin.close()
        try:
            self._child.wait(END_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._listener.join()


def _ending(child: "subprocess.Popen[str]") -> str:
    """How a process ended, in words."""
    code = child.wait()
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def main() -> None:
    """`python -m headhunt_svc.jobs.isolated BUNDLE STORE SECONDS`; what libraries print goes to standard error."""
    answers = io.TextIOWrapper(os.fdopen(os.dup(1), "wb", 0), write_through=True)
    os.dup2(2, 1)
    bundle, store, checkpoint_s = sys.argv[1:]
    serve(Path(bundle), ResultStore(Path(store)), float(checkpoint_s), sys.stdin, answers)


if __name__ == "__main__":
    main()
