"""The process in which a ScoringProcess (process.py) scores; its standard input and output are JSON lines."""

import io
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path
from typing import IO, Any, Literal

from headhunt_svc.detector.in_use import InUse, Now
from headhunt_svc.detector.options import Options
from headhunt_svc.errors import HeadHuntError, OutputError, UnreachableError
from headhunt_svc.events.recording import EventRecorder
from headhunt_svc.jobs.inputs import StoppedError
from headhunt_svc.jobs.models import AttemptOutcome, JobOptions, JobVideo
from headhunt_svc.jobs.parent import END_S, end_with_parent
from headhunt_svc.jobs.scoring import VideoScorer
from headhunt_svc.jobs.store import ResultStore
from headhunt_svc.settings import EventSettings
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


def serve(
    bundle: Path,
    store: ResultStore,
    checkpoint_s: float,
    origin: Literal["job", "archive"],
    requests: io.RawIOBase,
    answers: IO[str],
) -> None:
    """The child's side: answers until `requests` ends, which also happens when the parent dies."""
    stop: list[str] = []

    def check() -> None:
        if not stop and wait([requests.fileno()], 0):
            line = requests.readline()
            stop.append(parse_json(line)["stop"] if line else "the process that asked for it has ended")
        if stop:
            raise StoppedError(stop[0])

    def answer(message: Mapping[str, object]) -> None:
        with suppress(BrokenPipeError):  # the parent is dead; the result is on disk
            answers.write(json.dumps(message) + "\n")

    try:
        events = EventRecorder.requested(EventSettings(), origin)
        in_use = InUse.load(bundle)
        answer({"detector_id": in_use.detector.detector_id})
        for line in requests:
            message = parse_json(line)
            if "stop" in message:  # came when the video was done
                continue
            stop.clear()
            video, options = JobVideo.model_validate(message["video"]), JobOptions.model_validate(message["options"])
            if options.describe and not in_use.detector.describes:
                del in_use  # frees its memory for the same model with all layers, which then stays
                in_use = InUse.load(bundle, whole=True)
            in_use.look()
            try:
                now = _asked_for(in_use, message)
            except HeadHuntError as exc:
                answer({"error": f"{type(exc).__name__}: {exc}"})
                continue
            scorer = VideoScorer(now.detector, store, checkpoint_s, check, events, now.candidate)
            answer(outcome_of(scorer, video, options))
            del now, scorer
    except HeadHuntError as exc:  # the model cannot be loaded
        answer({"error": str(exc)})


def main() -> None:
    """`python -m headhunt_svc.jobs.isolated BUNDLE STORE SECONDS DURABLE ORIGIN`; libraries print to standard error."""
    answers = io.TextIOWrapper(os.fdopen(os.dup(1), "wb", 0), write_through=True)
    os.dup2(2, 1)
    requests = io.FileIO(0)  # without a buffer, in which `wait` would miss a message
    bundle, folder, checkpoint_s, durable, origin = sys.argv[1:]
    end_with_parent(lambda: None, END_S)  # it ends by itself when its input ends, unless a decoder or a disk hangs
    store = ResultStore(Path(folder), durable=bool(int(durable)))
    whose: Literal["job", "archive"] = "archive" if origin == "archive" else "job"
    serve(Path(bundle), store, float(checkpoint_s), whose, requests, answers)


if __name__ == "__main__":
    main()
