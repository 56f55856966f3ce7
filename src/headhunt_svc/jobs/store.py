"""Files that all workers of a queue share: results by content, checkpoints, locks, and the list of scorings."""

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from headhunt_svc.detector.report import Report, load_report
from headhunt_svc.storage.files import write_file, write_text
from headhunt_svc.types import FrameSpan, Segment

if TYPE_CHECKING:  # torch takes seconds to import, and who only looks at jobs needs none
    from headhunt_svc.detector.batches import ScoredBatch

LOCK_POLL_S = 0.1


@contextmanager
def locked(path: Path, busy: Callable[[], object] | None = None) -> Iterator[bool]:
    """Hold a lock that ends with this process, however it ends. Yields whether it is held.

    busy: called again and again while another process has it (may raise); without, give up at once.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as f:
        held = False
        while not held:
            try:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = True
            except BlockingIOError:
                if busy is None:
                    break
                busy()
                time.sleep(LOCK_POLL_S)
        yield held


@dataclass(frozen=True, slots=True)
class ResultStore:
    """A folder.

    results/ab/KEY.json      a Report; written once, atomically
    checkpoints/KEY/*        the batches of a video that is being scored
    uploads/SHA256           videos that were sent
    locks/, workers/         held while a result is made, while a worker lives
    scorings.jsonl           one line for each time that a video went through the model
    """

    folder: Path

    @property
    def uploads(self) -> Path:
        """Folder of the videos that were sent."""
        return self.folder / "uploads"

    @property
    def workers(self) -> Path:
        """Folder of the workers' locks; their times are heartbeats."""
        return self.folder / "workers"

    @property
    def scorings(self) -> Path:
        """The list of scorings."""
        return self.folder / "scorings.jsonl"

    def result_path(self, key: str) -> Path:
        """Where the result of a key is or will be."""
        return self.folder / "results" / key[:2] / f"{key}.json"

    def has(self, key: str) -> bool:
        """Is the result there?"""
        return self.result_path(key).exists()

    def result(self, key: str, video_id: str) -> Report:
        """A stored result under the name that a job gives the video. Raises ArtifactError."""
        return load_report(self.result_path(key)).model_copy(update={"video_id": video_id})

    def save(self, key: str, report: Report) -> None:
        """Store a result; what was there stays. Raises OutputError."""
        if not self.has(key):
            write_text(self.result_path(key), report.model_dump_json() + "\n")
        shutil.rmtree(self._checkpoint(key), ignore_errors=True)

    def alone(self, key: str, busy: Callable[[], object]) -> contextlib.AbstractContextManager[bool]:
        """Hold while making the result of a key: no second worker makes it at the same time."""
        return locked(self.folder / "locks" / key[:3], busy)

    def note(self, **about: object) -> None:
        """A line in the list of scorings; whole, whoever writes at the same time."""
        line = json.dumps({"time": round(time.time(), 3), "pid": os.getpid(), **about}) + "\n"
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.scorings.open("ab", buffering=0) as f:
            f.write(line.encode())

    def _checkpoint(self, key: str) -> Path:
        return self.folder / "checkpoints" / key

    def save_checkpoint(self, key: str, first: int, batches: "Sequence[ScoredBatch]") -> None:
        """Keep batches of which the first has number `first`. Raises OutputError."""
        segments = [s for b in batches for s in b.segments]
        arrays = {
            "sizes": np.array([len(b.segments) for b in batches]),
            "features": np.concatenate([b.features for b in batches]),
            "raw": np.concatenate([b.raw for b in batches]),
            "index": np.array([s.segment.index for s in segments]),
            "span": np.array([(s.segment.span.start, s.segment.span.stop) for s in segments]),
            "frames": np.array([s.segment.frame_indices for s in segments]),
            "times": np.array([(s.start_s, s.stop_s) for s in segments]),
        }
        write_file(self._checkpoint(key) / f"{first:08d}.safetensors", lambda path: save_file(arrays, path))

    def checkpoint(self, key: str, video_id: str) -> "list[ScoredBatch]":
        """The batches kept, from the video's start as far as they are whole; none is fine."""
        from headhunt_svc.detector.batches import ScoredBatch, TimedSegment

        found: list[ScoredBatch] = []
        for path in sorted(self._checkpoint(key).glob("*.safetensors")):
            if int(path.stem) != len(found):
                break
            try:
                a = load_file(path)
            except (SafetensorError, OSError):
                break
            at = 0
            for size in a["sizes"].tolist():
                rows = range(at, at + size)
                segments = tuple(
                    TimedSegment(
                        Segment(
                            video_id,
                            int(a["index"][i]),
                            FrameSpan(*a["span"][i].tolist()),
                            tuple(a["frames"][i].tolist()),
                        ),
                        *a["times"][i].tolist(),
                    )
                    for i in rows
                )
                found.append(ScoredBatch(segments, a["features"][at : at + size], a["raw"][at : at + size]))
                at += size
        return found

    def drop_checkpoint(self, key: str) -> None:
        """Forget the batches kept."""
        shutil.rmtree(self._checkpoint(key), ignore_errors=True)
