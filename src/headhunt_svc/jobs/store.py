"""Files that all workers of a queue share: results, checkpoints, uploads, locks, and the list of scorings."""

import os
import shutil
import time
from collections.abc import Callable, Container, Sequence
from contextlib import AbstractContextManager, suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import ValidationError

from headhunt_svc.detector.report import Report
from headhunt_svc.errors import ArtifactError
from headhunt_svc.storage.files import read_checked, write_checked
from headhunt_svc.storage.lines import append_line
from headhunt_svc.storage.locks import locked
from headhunt_svc.storage.tensors import load_tensors, save_tensors
from headhunt_svc.types import FrameSpan, Segment

if TYPE_CHECKING:  # torch takes seconds to import, and looking at jobs does not need it
    from headhunt_svc.detector.batches import FeatureBatch

_ARRAYS = {  # of a checkpoint: dimensions and type
    "sizes": (1, np.int64),
    "features": (3, np.float32),
    "index": (1, np.int64),
    "span": (2, np.int64),
    "frames": (2, np.int64),
    "times": (2, np.float64),
}
ADVICE = "run `headhunt jobs retry JOB`, which scores the video again"


class ResultStore:
    """One local or network folder; it needs file locks, so it is not a storage.store.Store.

    results/ab/KEY.json      a Report, and its checksum in a second line; written once, atomically
    checkpoints/KEY/*        batches of a video that is being scored
    uploads/SHA256           videos that clients uploaded
    incoming/                uploads that are arriving, see storage.scratch
    locks/                   locks, held while a result is made
    workers/NAME             locks, held while a worker lives; the time of a file is the worker's heartbeat
    scorings.jsonl           one line for each time that a video is given to the model
    """

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        """durable: results and checkpoints survive a power failure, which costs some milliseconds each."""
        self.durable = durable
        self.folder, self.scorings = folder, folder / "scorings.jsonl"
        self.uploads, self.incoming, self.workers = folder / "uploads", folder / "incoming", folder / "workers"

    def result_path(self, key: str) -> Path:
        """File of a result, which may not exist yet."""
        return self.folder / "results" / key[:2] / f"{key}.json"

    def has(self, key: str) -> bool:
        """Whether there is a result of this key that is as it was written."""
        try:
            self._report(key)
        except ArtifactError:
            return False
        return True

    def _report(self, key: str) -> Report:
        path = self.result_path(key)
        line = read_checked(path, ADVICE)
        try:
            return Report.model_validate_json(line)
        except ValidationError as exc:
            raise ArtifactError(f"{path} is damaged or of another version: {ADVICE}") from exc

    def result(self, key: str, video_id: str) -> Report:
        """A stored result, under the name that a job gives the video. Raises ArtifactError."""
        return self._report(key).model_copy(update={"video_id": video_id})

    def save(self, key: str, report: Report) -> None:
        """Store a result, in place of a damaged one, and drop its checkpoint. Raises OutputError."""
        write_checked(self.result_path(key), report.model_dump_json(), durable=self.durable)
        self.drop_checkpoint(key)

    def lock(self, key: str, busy: Callable[[], object]) -> AbstractContextManager[bool]:
        """Hold this while making a result, so that no other worker makes the same one; `busy`: see `locked`."""
        return locked(self.folder / "locks" / key[:3], busy)

    def log_scoring(self, key: str, resumed: int) -> None:
        """Append to the list of scorings. Raises OutputError.

        resumed: number of batches from a checkpoint.
        """
        line = {"time": round(time.time(), 3), "pid": os.getpid(), "key": key, "resumed": resumed}
        append_line(self.scorings, line)

    def last_scoring_day(self) -> float | None:
        """When a video was last given to the model, in days; None if none was."""
        return self.scorings.stat().st_mtime / 86_400 if self.scorings.exists() else None

    def _checkpoint(self, key: str) -> Path:
        return self.folder / "checkpoints" / key

    def save_checkpoint(self, key: str, first: int, batches: "Sequence[FeatureBatch]") -> None:
        """Add batches to a checkpoint; the first of them is batch number `first` of the video. Raises OutputError."""
        segments = [s for b in batches for s in b.segments]
        arrays = {
            "sizes": np.array([len(b.segments) for b in batches]),
            "features": np.concatenate([b.features for b in batches]),
            "index": np.array([s.segment.index for s in segments]),
            "span": np.array([(s.segment.span.start, s.segment.span.stop) for s in segments]),
            "frames": np.array([s.segment.frame_indices for s in segments]),
            "times": np.array([(s.start_s, s.stop_s) for s in segments]),
        }
        save_tensors(self._checkpoint(key) / f"{first:08d}.safetensors", arrays, {}, durable=self.durable)

    def checkpoint(self, key: str, video_id: str) -> "list[FeatureBatch]":
        """The batches of a checkpoint up to the first that is missing or damaged; empty without a checkpoint."""
        batches: list[FeatureBatch] = []
        for path in sorted(self._checkpoint(key).glob("*.safetensors")):
            if int(path.stem) != len(batches):
                break
            try:
                batches += _batches(load_tensors(path)[1], video_id)
            except (ArtifactError, KeyError, TypeError, ValueError):
                break
        return batches

    def drop_checkpoint(self, key: str) -> None:
        """Remove a checkpoint."""
        shutil.rmtree(self._checkpoint(key), ignore_errors=True)

    def purge(self, before: float, results: Container[str | None], uploads: Container[str]) -> None:
        """Remove results, uploads and checkpoints that are older than a time, except those named."""
        for path in self.folder.glob("results/*/*.json"):
            if path.stem not in results:
                _remove(path, before)
        for folder in [self.uploads, *self.folder.glob("checkpoints/*")]:
            with suppress(FileNotFoundError, NotADirectoryError):  # no uploads, or a checkpoint that was dropped
                for path in folder.iterdir():
                    if path.name not in uploads:
                        _remove(path, before)


def _remove(path: Path, before: float) -> None:
    """Remove a file that is older than a time; another process may do so at the same moment."""
    with suppress(FileNotFoundError):
        if path.stat().st_mtime < before:
            path.unlink()


def _batches(arrays: dict[str, np.ndarray], video_id: str) -> "list[FeatureBatch]":
    """Batches from the arrays of one checkpoint file. Raises KeyError, TypeError or ValueError."""
    from headhunt_svc.detector.batches import FeatureBatch, TimedSegment

    for name, (dimensions, kind) in _ARRAYS.items():
        if arrays[name].ndim != dimensions or arrays[name].dtype != np.dtype(kind):
            raise ValueError(f"{name} is {arrays[name].dtype}{list(arrays[name].shape)}")
    segments = [
        TimedSegment(Segment(video_id, index, FrameSpan(*span), tuple(frames)), *times)
        for index, span, frames, times in zip(
            *(arrays[name].tolist() for name in ("index", "span", "frames", "times")), strict=True
        )
    ]
    features, stops = arrays["features"], np.cumsum(arrays["sizes"]).tolist()
    return [FeatureBatch(tuple(segments[i:j]), features[i:j]) for i, j in pairwise([0, *stops])]
