"""Several videos are decoded ahead of one model: how many, whose turn it is, and how much memory they hold.

Every video keeps the batches that it has alone, and one batch at a time goes through the model. So neither scores nor
reports depend on the number, to the bit. (detector/runner.py mixes videos in a batch, which a service needs.)
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch

from headhunt_svc.detector.batches import FeatureBatch, PixelBatch
from headhunt_svc.detector.readers import FeatureReader
from headhunt_svc.model.extractor import Extractor
from headhunt_svc.params import SegmentationParams
from headhunt_svc.settings import Settings
from headhunt_svc.video.machine import available_mib, usable_cores
from headhunt_svc.video.memory import PictureSize, decoder_mib, reader_mib

logger = logging.getLogger(__name__)
MEASURED_SEGMENTS = 16  # that the rates are measured over, behind the first batch, which warms the model up
_LEAST_GAIN = 0.1  # a decoder more must gain a tenth of one
_POLL_S = 0.2  # how often a video that waits for memory looks whether it must stop


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds that a segment takes, of one decoder and of the model, and how many cores the model keeps busy."""

    decode_s: float
    model_s: float
    model_cores: int


@dataclass(frozen=True, slots=True)
class Choice:
    """A number of decoders, and why it is that."""

    n: int
    reason: str


def choose(rates: Rates, cores: int, memory_mib: int, video_mib: int) -> Choice:
    """The number of decoders that keep one model busy, each on a core that the model leaves free, in this memory.

    One decoder gives 1 / decode_s segments a second, the model takes 1 / model_s: so many as decode_s /
    model_s are enough.

    video_mib: what decoding one video takes; 0: not known.
    """
    enough = max(math.ceil(rates.decode_s / max(rates.model_s, 1e-9) - _LEAST_GAIN), 1)
    most = {"the model": enough, "the cores": max(cores - rates.model_cores, 1)}
    if video_mib:
        most["the memory"] = max(memory_mib // video_mib, 1)
    limit = min(most, key=lambda name: most[name])  # of equal ones the first
    n = most[limit]
    reason = (
        f"as many as {limit} can use: a segment takes {rates.decode_s:.3g} s to decode and {rates.model_s:.3g} s in "
        f"the model; {cores} cores, {rates.model_cores} of them for the model; "
        f"{memory_mib} MiB for videos of {video_mib}"
    )
    return Choice(n, reason)


def video_mib(size: PictureSize | None, params: SegmentationParams, extractor: Extractor, batch_segments: int) -> int:
    """What one video takes beside the model while it is decoded and scored; 0 where it does not say its size."""
    if size is None:
        return 0
    prepared_bytes = extractor.prepared_bytes(size.height, size.width)
    return decoder_mib(size, params) + reader_mib(size, params, prepared_bytes, batch_segments)


class Decoders:
    """How many videos may be decoded at once for one model; HEADHUNT_DECODERS, or chosen from what is measured.

    n is 1 until the first batches have told; then it stays what it becomes.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.perf_counter) -> None:
        self.n = 1
        self.changed = threading.Condition()
        self._setting, self._clock = settings.decoders, clock
        self._memory_mib = settings.memory_mib or available_mib() // 2
        self._turn = threading.Lock()
        self._held_mib = self._video_mib = 0
        self._is_chosen = self._is_warm = False
        self._decoded = self._read = 0
        self._decode_s = self._model_s = 0.0

    @property
    def may_be_several(self) -> bool:
        """Can there ever be more than one?"""
        return self._setting != 1

    def exclusive(self) -> AbstractContextManager[object]:
        """Between two batches: inside, nobody else runs the model."""
        return self._turn

    @contextmanager
    def turn(self, batch: PixelBatch, device: torch.device) -> Iterator[None]:
        """Inside, this batch goes through the model, which runs on this device, and no other does."""
        with self._turn:
            begun = self._clock()
            yield
            if not self._is_chosen:
                self._measure(batch, self._clock() - begun, device)

    @contextmanager
    def memory(self, mib: int, check: Callable[[], object]) -> Iterator[None]:
        """Wait until there is memory for one more video, and hold it; a video alone always may.

        check: called while waiting; raises if the work must stop.
        """
        with self.changed:
            while self._held_mib and self._held_mib + mib > self._memory_mib:
                check()
                self.changed.wait(_POLL_S)
            self._held_mib += mib
            self._video_mib = max(self._video_mib, mib)
        try:
            yield
        finally:
            with self.changed:
                self._held_mib -= mib
                self.changed.notify_all()

    def _measure(self, batch: PixelBatch, model_s: float, device: torch.device) -> None:
        n = len(batch.segments)
        self._decoded, self._decode_s = self._decoded + n, self._decode_s + batch.decode_s
        if self._is_warm:
            self._read, self._model_s = self._read + n, self._model_s + model_s
        self._is_warm = True
        if self._setting != "auto":
            self._set(Choice(self._setting, "HEADHUNT_DECODERS says so"))
        elif self._read >= MEASURED_SEGMENTS:
            model_cores = torch.get_num_threads() if device.type == "cpu" else 1
            rates = Rates(self._decode_s / self._decoded, self._model_s / self._read, model_cores)
            self._set(choose(rates, usable_cores(), self._memory_mib, self._video_mib))

    def _set(self, choice: Choice) -> None:
        self._is_chosen = True
        logger.info("decoders: %d, %s", choice.n, choice.reason)
        with self.changed:
            self.n = choice.n
            self.changed.notify_all()


class TurnReader:
    """Reads as another reader does, when it is the video's turn."""

    def __init__(self, reader: FeatureReader, decoders: Decoders, device: torch.device) -> None:
        self._reader, self._decoders, self._device = reader, decoders, device

    def read(self, batch: PixelBatch) -> FeatureBatch:
        """See FeatureReader."""
        with self._decoders.turn(batch, self._device):
            return self._reader.read(batch)

    def exclusive(self) -> AbstractContextManager[object]:
        """See FeatureReader."""
        return self._decoders.exclusive()
