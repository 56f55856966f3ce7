"""Scores videos in a child process, so that a crash (decoder, memory) costs one attempt at one video.

Both sides send JSON lines. The parent: {"video": JobVideo, "options": JobOptions} and {"stop": reason}. The child: one
{"detector_id": ...} when it is ready, then one AttemptOutcome for each video. The child ends when
its standard input ends.
"""

import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path
from typing import IO, Any

from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.errors import HeadHuntError, OutputError, UnreachableError
from headhunt_svc.jobs.inputs import StoppedError
from headhunt_svc.jobs.models import AttemptOutcome, JobOptions, JobVideo
from headhunt_svc.jobs.scoring import VideoScorer
from headhunt_svc.jobs.store import ResultStore

POLL_S = 0.2
END_S = 30.0  # to finish a batch and write the prediction log; then it is killed


def outcome_of(scorer: VideoScorer, video: JobVideo, options: JobOptions) -> AttemptOutcome:
    """Score one video in this process and turn its errors into an AttemptOutcome."""
    try:
        key = scorer.score(video, Options(**options.model_dump()))
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
    return {"result": key, "events": len(scorer.store.result(key, video.video_id).events)}


def serve(bundle: Path, store: ResultStore, checkpoint_s: float, requests: io.RawIOBase, answers: IO[str]) -> None:
    """The child's side: answers until `requests` ends, which also happens when the parent dies."""
    stop: list[str] = []

    def check() -> None:
        if not stop and wait([requests.fileno()], 0):
            line = requests.readline()
            stop.append(json.loads(line)["stop"] if line else "the process that asked for it has ended")
        if stop:
            raise StoppedError(stop[0])

    def answer(message: Mapping[str, object]) -> None:
        with suppress(BrokenPipeError):  # the parent is dead; the result is on disk
            answers.write(json.dumps(message) + "\n")

    try:
        detector = Detector.load(bundle)
        answer({"detector_id": detector.detector_id})
        for line in requests:
            message = json.loads(line)
            if "stop" in message:  # came when the video was done
                continue
            stop.clear()
            video, options = JobVideo.model_validate(message["video"]), JobOptions.model_validate(message["options"])
            if options.describe and not detector.describes:
                del detector  # frees its memory for the same model with all layers, which then stays
                detector = Detector.load(bundle, whole=True)
            answer(outcome_of(VideoScorer(detector, store, checkpoint_s, check), video, options))
    except HeadHuntError as exc:  # the model cannot be loaded
        answer({"error": str(exc)})


class ScoringProcess:
    """The parent's side: starts the child, and again after it died. `score` is safe to call from several threads."""

    def __init__(self, bundle: Path, store: Path, checkpoint_s: float) -> None:
        """store: folder of results and checkpoints. checkpoint_s: seconds of work between two checkpoints."""
        self._command = [sys.executable, "-m", __name__, str(bundle), str(store), str(checkpoint_s)]
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
        return json.loads(line) if line else None

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


def main() -> None:
    """`python -m headhunt_svc.jobs.isolated BUNDLE STORE SECONDS`; what libraries print goes to standard error."""
    answers = io.TextIOWrapper(os.fdopen(os.dup(1), "wb", 0), write_through=True)
    os.dup2(2, 1)
    requests = io.FileIO(0)  # without a buffer, in which `wait` would miss a message
    bundle, store, checkpoint_s = sys.argv[1:]
    serve(Path(bundle), ResultStore(Path(store)), float(checkpoint_s), requests, answers)


if __name__ == "__main__":
    main()
