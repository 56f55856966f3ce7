"""One thread owns the model; segments of all videos that are being scored go through it together, in fair shares."""

import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
import torch

from headhunt_svc.detector import metrics
from headhunt_svc.detector.batches import FeatureBatch, PixelBatch
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.model.extractor import VisionCache

_APART = 1 << 40  # frame numbers of different videos in one batch must differ: the model looks at each frame once


@dataclass(eq=False, slots=True)
class _Job:
    """A batch of one video: its segments may go through the model in several calls, beside those of others."""

    owner: object
    batch: PixelBatch
    taken: int = 0
    parts: list[np.ndarray] = field(default_factory=list)
    features: Future[np.ndarray] = field(default_factory=Future)

    @property
    def left(self) -> int:
        return len(self.batch.pixels) - self.taken

    @property
    def layout(self) -> tuple[object, ...]:
        return (*self.batch.pixels.shape[1:], self.batch.cache.frame_s)


class Runner:
    """Shares a detector's model between threads.

    A video alone gets the batches that the detector alone would make. With others every model call takes segments in
    turn, one of each video, until it is full: a long video cannot starve a short one. Only segments of one layout
    (picture size, frame rate where the model looks at it) can share a call; layouts take turns.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._jobs: list[_Job] = []
        self._changed = threading.Condition()
        self._model = threading.Lock()
        threading.Thread(target=self._work, name="model", daemon=True).start()

    def read(self, owner: object, batch: PixelBatch) -> FeatureBatch:
        """Read the features of a batch of one of several owners; waits for its turn. Raises what `forget` was given."""
        job = _Job(owner, batch)
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()
        return FeatureBatch(batch.segments, job.features.result())

    def exclusive(self) -> AbstractContextManager[object]:
        """Between two calls of the model: inside, nobody else runs it."""
        return self._model

    def forget(self, owner: object, why: BaseException) -> None:
        """End an owner's work: nothing more of it goes into the model."""
        with self._changed:
            for job in [j for j in self._jobs if j.owner is owner]:
                self._jobs.remove(job)
                job.features.set_exception(why)

    def _take(self) -> list[tuple[_Job, slice]]:
        """The next model call: parts of jobs. Jobs that are not finished by it go to the end of the line."""
        first = self._jobs[0]
        same = [j for j in self._jobs if j.layout == first.layout]
        in_turn = sorted((n, i) for i, job in enumerate(same) for n in range(job.left))
        counts = Counter(same[i] for _, i in in_turn[: self._detector.batch_segments])
        parts = [(job, slice(job.taken, job.taken + n)) for job, n in counts.items()]
        for job, part in parts:
            job.taken = part.stop
            self._jobs.remove(job)
            if job.left:
                self._jobs.append(job)
        return parts

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs)
                parts = self._take()
            try:
                self._score(parts)
            except BaseException as error:
                for job, _ in parts:
                    self.forget(job.owner, error)
                    if not job.features.done():
                        job.features.set_exception(error)
            else:
                for job, _ in parts:
                    if not job.left:
                        job.features.set_result(np.concatenate(job.parts))

    def _score(self, parts: Sequence[tuple[_Job, slice]]) -> None:
        first = parts[0][0].batch
        cache = first.cache if len(parts) == 1 else VisionCache(first.cache.frame_s)
        taken = [job.batch.pixels[part] for job, part in parts]
        pixels = taken[0] if len(taken) == 1 else torch.cat(taken)
        frames = [
            tuple(number + k * _APART for number in shown)
            for k, (job, part) in enumerate(parts)
            for shown in job.batch.frames[part]
        ]
        with self._model, metrics.MODEL_SECONDS.time():
            features = self._detector.features(pixels, cache, frames)
        metrics.BATCH_SEGMENTS.observe(len(pixels))
        metrics.SEGMENTS.inc(len(pixels))
        if self._detector.extractor.device.type == "cuda":
            metrics.GPU_MEMORY_BYTES.set(torch.cuda.memory_allocated(self._detector.extractor.device))
        ends = np.cumsum([part.stop - part.start for _, part in parts])
        for (job, _), rows in zip(parts, np.split(features, ends[:-1]), strict=True):
            job.parts.append(rows)
