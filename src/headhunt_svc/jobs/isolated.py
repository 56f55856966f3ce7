"""The process that scores, apart from the one that hands it videos: what kills it costs one attempt of one video.

They talk in JSON lines. The one side: {"video": Input, "options": JobOptions} and {"stop": why}; the scorer's: one
{"detector_id": ...} when it is ready, then one outcome for each video. It ends when it is asked nothing any more.
"""

import io
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.errors import HeadHuntError, OutputError, UnreachableError
from headhunt_svc.jobs.inputs import UPLOAD, StoppedError, local
from headhunt_svc.jobs.models import Input, JobOptions
from headhunt_svc.jobs.scoring import score
from headhunt_svc.jobs.store import Store
from headhunt_svc.settings import JobSettings, Settings

POLL_S = 0.2
END_S = 30.0  # to finish a batch and write a log to its end; then it is killed
Outcome = dict[str, Any]  # one of result (key, with events), error, trouble (may pass), died, stopped


def outcome_of(
    detector: Detector,
    store: Store,
    video: Input,
    options: JobOptions,
    checkpoint_s: float,
    check: Callable[[], None] = lambda: None,
) -> Outcome:
    """Score one video and say what came of it."""
    try:
        with local(video.uri, store.uploads, check) as path:
            sent = video.uri.startswith(UPLOAD)  # by anybody
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


def serve(bundle: Path, store: Store, checkpoint_s: float, asked: IO[str], answers: IO[str]) -> None:
    """The scorer's side: until `asked` ends, which also happens when the other side dies."""
    waiting: queue.Queue[dict[str, Any] | None] = queue.Queue()
    stop: list[str] = []
    ended = threading.Event()

    def listen() -> None:
        for line in asked:
            message = json.loads(line)
            if "stop" in message:
                stop.append(message["stop"])
            else:
                waiting.put(message)
        ended.set()
        waiting.put(None)

    def check() -> None:
        if stop or ended.is_set():
            raise StoppedError(stop[-1] if stop else "nobody waits for it any more")

    def answer(message: Outcome) -> None:
        with suppress(BrokenPipeError):  # the other side is dead; what is done is on disk
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
        video, options = Input.model_validate(message["video"]), JobOptions.model_validate(message["options"])
        answer(outcome_of(detector, store, video, options, checkpoint_s, check))


def backoff_s(attempt: int, settings: JobSettings) -> float:
    """Seconds to wait after attempt 1, 2, ..."""
    return min(settings.backoff_s * 2.0 ** min(attempt - 1, 30), settings.backoff_most_s)


Waiting = Callable[[str, str, int], object]


def tried(
    attempt: Callable[[], Outcome], settings: JobSettings, waiting: Waiting, patience: int | None = None
) -> Outcome:
    """Attempts until one ends well or for good: with `result`, `error` or `stopped`.

    What kills the scorer is tried settings.attempts times, a trouble that may pass `patience` times, or for ever.

    waiting: called with the cause (died or trouble), why, and how many attempts there were, before each further one;
        it is to wait.
    """
    deaths = n = 0
    while True:
        n += 1
        out = attempt()
        if "died" in out:
            deaths += 1
            if deaths >= settings.attempts:
                return {"error": f"{out['died']}, {deaths} times: the video is left out"}
            waiting("died", out["died"], n)
        elif "trouble" in out:
            if n == patience:
                return {"error": f"{out['trouble']}, {n} times"}
            waiting("trouble", out["trouble"], n)
        else:
            return out


class Scorer:
    """The other side. `score` may be called from several threads; they take turns.

    Raises:
        HeadHuntError: from `start`, the detector cannot be loaded.
    """

    def __init__(self, bundle: Path, store: Path, checkpoint_s: float) -> None:
        """store: folder of results and checkpoints. checkpoint_s: seconds of work between two of them."""
        self._command = [sys.executable, "-m", __name__, str(bundle), str(store), str(checkpoint_s)]
        self._turn = threading.Lock()
        self._child: subprocess.Popen[str] | None = None
        self._listener: threading.Thread
        self._answers: queue.Queue[Outcome | None] = queue.Queue()
        self.restarts = 0
        self.detector_id = ""

    def start(self) -> None:
        """Load the detector, unless that was done."""
        if self._child is not None and self._child.poll() is None:
            return
        self.restarts += self._child is not None
        self.close()
        child = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the other side, which lets a batch end
        )
        self._child, self._answers = child, queue.Queue()
        self._listener = threading.Thread(target=self._listen, args=(child, self._answers), daemon=True)
        self._listener.start()
        ready = self._answers.get()
        if ready is None or "error" in ready:
            self.close()
            raise HeadHuntError(ready["error"] if ready else f"the scorer {_how(child)} while it loaded the detector")
        self.detector_id = ready["detector_id"]

    @staticmethod
    def _listen(child: "subprocess.Popen[str]", answers: "queue.Queue[Outcome | None]") -> None:
        assert child.stdout is not None
        with child.stdout as lines:
            for line in lines:
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
        """End the process: a video at work keeps a checkpoint, the prediction log is written to its end."""
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


def _how(child: "subprocess.Popen[str]") -> str:
    code = child.wait()
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def main() -> None:
    """`python -m headhunt_svc.jobs.isolated BUNDLE STORE SECONDS`: what libraries print goes to standard error."""
    answers = io.TextIOWrapper(os.fdopen(os.dup(1), "wb", 0), write_through=True)
    os.dup2(2, 1)
    bundle, store, checkpoint_s = sys.argv[1:]
    serve(Path(bundle), Store(Path(store)), float(checkpoint_s), sys.stdin, answers)


if __name__ == "__main__":
    main()
