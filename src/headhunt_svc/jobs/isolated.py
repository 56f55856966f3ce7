"""The process in which a ScoringProcess (process.py) scores; its standard input and output are JSON lines."""

import io
import json
import os
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, Literal

from headhunt_svc.detector.decoders import Decoders
from headhunt_svc.detector.in_use import InUse, Now
from headhunt_svc.detector.options import Options
from headhunt_svc.errors import HeadHuntError, OutputError, UnreachableError
from headhunt_svc.events.recording import EventRecorder
from headhunt_svc.jobs.inputs import StoppedError
from headhunt_svc.jobs.models import AttemptOutcome, JobOptions, JobVideo
from headhunt_svc.jobs.parent import END_S, end_with_parent
from headhunt_svc.jobs.scoring import VideoScorer
from headhunt_svc.jobs.store import ResultStore
from headhunt_svc.settings import EventSettings, Settings
from headhunt_svc.storage.json_text import parse_json


def outcome_of(scorer: VideoScorer, video: JobVideo, options: JobOptions) -> AttemptOutcome:
    """Score one video in this process and turn its errors into an AttemptOutcome."""
    try:
        key = scorer.score(video, Options(**options.model_dump()))
        return {"result": key, "events": len(scorer.store.result(key, video.video_id).events)}
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


def _asked_for(in_use: InUse, message: Mapping[str, Any]) -> Now:
    """What is to score a video. Raises ConfigError, ArtifactError: see InUse.now_of."""
    if "detector" not in message:
        return in_use.now
    detector_id, folder = message["detector"]
    return in_use.now_of(detector_id, Path(folder))


class _Answers:
    """Lines for the parent, from several threads."""

    def __init__(self, file: IO[str]) -> None:
        self._file, self._lock = file, threading.Lock()
        self.is_silent = False  # the process fails, and no outcome of its videos counts any more

    def __call__(self, **message: object) -> None:
        with self._lock, suppress(BrokenPipeError):  # the parent is dead; the result is on disk
            if not self.is_silent:
                self._file.write(json.dumps(message) + "\n")


class _Requests:
    """What the parent asks for, and which videos must stop; a thread reads its lines.

    inbox: videos, an error that ends this process, None at the end.
    """

    def __init__(self, file: io.RawIOBase) -> None:
        self._file = file
        self._stops: dict[int, str | None] = {}  # of videos that are not done: why each must stop
        self._stop_all: str | None = None
        self.inbox: SimpleQueue[dict[str, Any] | BaseException | None] = SimpleQueue()
        threading.Thread(target=self._read, name="requests", daemon=True).start()

    def _read(self) -> None:
        for line in self._file:
            message = parse_json(line)
            number = message["id"]
            if "stop" not in message:
                self._stops[number] = None
                self.inbox.put(message)
            elif number in self._stops:  # otherwise it came when the video was done
                self._stops[number] = message["stop"]
        self._stop_all = "the process that asked for it has ended"
        self.inbox.put(None)

    def fail(self, error: BaseException) -> None:
        """Stop every video after its current batch, and end with this error."""
        self._stop_all = "the process that scores it fails"
        self.inbox.put(error)

    def check(self, number: int) -> None:
        """Raise StoppedError if this video must stop."""
        if reason := self._stop_all or self._stops[number]:
            raise StoppedError(reason)

    def done(self, number: int) -> None:
        """A video has an outcome."""
        del self._stops[number]


class _Scoring:
    """Scores what the parent asks for, every video in a thread of its own."""

    def __init__(
        self,
        bundle: Path,
        store: ResultStore,
        checkpoint_s: float,
        events: EventRecorder | None,
        requests: io.RawIOBase,
        answer: _Answers,
    ) -> None:
        """Raises HeadHuntError: the detector cannot be loaded."""
        self._bundle, self._store, self._checkpoint_s, self._events = bundle, store, checkpoint_s, events
        self._in_use = InUse.load(bundle)
        self._decoders, self._told = Decoders(Settings()), 1
        self._requests, self._answer = _Requests(requests), answer
        self._threads: list[threading.Thread] = []
        answer(detector_id=self._in_use.detector.detector_id)

    def run(self) -> None:
        """Until the requests end. Raises what is no outcome of a video, once the others have a checkpoint."""
        while (message := self._requests.inbox.get()) is not None:
            if isinstance(message, BaseException):
                self._join()
                raise message
            self._begin(message)
        self._join()

    def _join(self) -> None:
        while self._threads:
            self._threads.pop().join()

    def _begin(self, message: Mapping[str, Any]) -> None:
        number: int = message["id"]
        video, options = JobVideo.model_validate(message["video"]), JobOptions.model_validate(message["options"])
        if options.describe and not self._in_use.detector.describes:
            self._join()  # they use the model
            del self._in_use  # frees its memory for the same model with all layers, which then stays
            try:
                self._in_use = InUse.load(self._bundle, whole=True)
            except HeadHuntError as exc:
                self._answer(id=number, outcome={"error": str(exc)})
                raise
        self._in_use.look()
        try:
            now = _asked_for(self._in_use, message)
        except HeadHuntError as exc:
            self._end(number, {"error": f"{type(exc).__name__}: {exc}"})
            return
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        self._threads.append(threading.Thread(target=self._score, args=(number, now, video, options), name="video"))
        self._threads[-1].start()

    def _end(self, number: int, outcome: AttemptOutcome) -> None:
        self._requests.done(number)
        self._answer(id=number, outcome=outcome)

    def _score(self, number: int, now: Now, video: JobVideo, options: JobOptions) -> None:
        def check() -> None:
            if self._decoders.n != self._told:
                self._told = self._decoders.n
                self._answer(decoders=self._told)
            self._requests.check(number)

        try:
            scorer = VideoScorer(
                now.detector, self._store, self._checkpoint_s, check, self._decoders, self._events, now.candidate
            )
            self._end(number, outcome_of(scorer, video, options))
        except BaseException as exc:
            self._answer.is_silent = True
            self._requests.fail(exc)


def serve(
    bundle: Path,
    store: ResultStore,
    checkpoint_s: float,
    origin: Literal["job", "archive"],
    requests: io.RawIOBase,
    answers: IO[str],
) -> None:
    """The child's side: answers until `requests` ends, which also happens when the parent dies."""
    answer = _Answers(answers)
    try:
        events = EventRecorder.requested(EventSettings(), origin)
        _Scoring(bundle, store, checkpoint_s, events, requests, answer).run()
    except HeadHuntError as exc:  # the model cannot be loaded
        answer(error=str(exc))


def main() -> None:
    """`python -m headhunt_svc.jobs.isolated BUNDLE STORE SECONDS DURABLE ORIGIN`; libraries print to standard error."""
    answers = io.TextIOWrapper(os.fdopen(os.dup(1), "wb", 0), write_through=True)
    os.dup2(2, 1)
    requests = io.FileIO(0)
    bundle, folder, checkpoint_s, durable, origin = sys.argv[1:]
    end_with_parent(lambda: None, END_S)  # it ends by itself when its input ends, unless a decoder or a disk hangs
    store = ResultStore(Path(folder), durable=bool(int(durable)))
    whose: Literal["job", "archive"] = "archive" if origin == "archive" else "job"
    serve(Path(bundle), store, float(checkpoint_s), whose, requests, answers)


if __name__ == "__main__":
    main()
