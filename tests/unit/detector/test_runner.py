"""Fair batches across videos, with a model that only adds up what it is shown."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from headhunt_svc.detector.batches import PixelBatch, TimedSegment
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.runner import Runner
from headhunt_svc.model.extractor import Frames, VisionCache
from headhunt_svc.types import FrameSpan, HeadRef, Scorer, Segment


class Model(Detector):
    """Counts calls; holds the first one until it is released."""

    batch_segments = 4
    scorer = Scorer((HeadRef(0, 0),), np.ones(2), 0.0)
    extractor = SimpleNamespace(device=torch.device("cpu"))

    def __init__(self) -> None:
        self.calls: list[list[float]] = []
        self.frames: list[Frames] = []
        self.held = threading.Event()
        self.entered = threading.Event()
        self.error: Exception | None = None

    def features(self, pixels: torch.Tensor, cache: VisionCache, frames: Frames) -> np.ndarray:
        self.calls.append(pixels[:, 0, 0, 0, 0].tolist())
        self.frames.append(frames)
        self.entered.set()
        assert self.held.wait(10)
        if self.error is not None:
            raise self.error
        return pixels[:, :1, 0, 0].numpy()


def segments(video: int, n: int, size: int = 2) -> PixelBatch:
    pixels = torch.full((n, 1, 3, size, size), float(video)) + torch.arange(n).view(-1, 1, 1, 1, 1) / 100
    timed = tuple(TimedSegment(Segment("v", i, FrameSpan(i, i + 1), (i,)), i, i + 1) for i in range(n))
    return PixelBatch(timed, pixels, VisionCache(0.1))


def ask(runner: Runner, owner: object, batch: PixelBatch) -> tuple[threading.Thread, list[object]]:
    found: list[object] = []

    def work() -> None:
        try:
            found.append(runner.read(owner, batch).features[:, 0, 0].tolist())
        except Exception as error:
            found.append(error)

    n = len(runner._jobs)
    thread = threading.Thread(target=work)
    thread.start()
    while len(runner._jobs) == n and not runner._detector.entered.is_set():  # type: ignore[attr-defined]
        thread.join(0.001)
    return thread, found


def started() -> tuple[Runner, Model, threading.Thread]:
    """A runner whose model is busy with something."""
    model = Model()
    runner = Runner(model)  # type: ignore[arg-type]
    thread, _ = ask(runner, "first", segments(9, 1))
    assert model.entered.wait(10)
    model.calls.clear()
    model.frames.clear()
    return runner, model, thread


def wait_for(runner: Runner, n: int) -> None:
    pause = threading.Event()
    for _ in range(5000):
        if len(runner._jobs) == n:
            return
        pause.wait(0.001)
    raise AssertionError(f"{len(runner._jobs)} jobs, not {n}")


def test_a_long_video_does_not_starve_a_short_one() -> None:
    runner, model, _ = started()
    long, of_long = ask(runner, "long", segments(1, 10))
    wait_for(runner, 1)
    short, of_short = ask(runner, "short", segments(2, 2))
    wait_for(runner, 2)
    model.held.set()
    for thread in (long, short):
        thread.join(10)
    assert [round(x) for x in model.calls[0]] == [1, 1, 2, 2]
    assert of_short == [pytest.approx([2.0, 2.01])]
    assert of_long == [pytest.approx([1 + i / 100 for i in range(10)])]
    assert len({frame for of in model.frames[0] for frame in of}) == 4  # numbers of different videos differ
    assert sum(map(len, model.calls)) == 12


def test_layouts_do_not_mix_and_take_turns() -> None:
    runner, model, _ = started()
    threads = []
    for i, size in enumerate((2, 4)):
        threads.append(ask(runner, size, segments(i + 1, 6, size))[0])
        wait_for(runner, i + 1)
    model.held.set()
    for thread in threads:
        thread.join(10)
    assert [[round(x) for x in call] for call in model.calls] == [[1] * 4, [2] * 4, [1] * 2, [2] * 2]


def test_what_is_forgotten_is_not_computed_and_the_others_go_on() -> None:
    runner, model, _ = started()
    gone, of_gone = ask(runner, "gone", segments(1, 4))
    wait_for(runner, 1)
    other, of_other = ask(runner, "other", segments(2, 4))
    wait_for(runner, 2)
    runner.forget("gone", InterruptedError("hung up"))
    gone.join(10)
    assert isinstance(of_gone[0], InterruptedError)
    model.held.set()
    other.join(10)
    assert of_other == [pytest.approx([2 + i / 100 for i in range(4)])]
    assert [round(x) for call in model.calls for x in call] == [2] * 4


def test_an_error_of_the_model_reaches_the_videos_of_that_call_and_the_next_go_on() -> None:
    runner, model, first = started()
    model.error = RuntimeError("out of memory")
    thread, found = ask(runner, "a", segments(1, 9))
    wait_for(runner, 1)
    model.held.set()
    for t in (first, thread):
        t.join(10)
    assert isinstance(found[0], RuntimeError)
    model.error = None
    thread, found = ask(runner, "b", segments(2, 1))
    thread.join(10)
    assert found == [[2.0]]
