"""How many videos are decoded at once: the rule, what it is measured from, and what the work of several looks like."""

import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headhunt_svc.detector import decoders as module
from headhunt_svc.detector.batches import PixelBatch, TimedSegment
from headhunt_svc.detector.decoders import MEASURED_SEGMENTS, Decoders, Rates, choose
from headhunt_svc.errors import ConfigError
from headhunt_svc.model.extractor import VisionCache
from headhunt_svc.settings import Settings
from headhunt_svc.types import FrameSpan, Segment

SECONDS = st.floats(1e-4, 10)
CORES = st.integers(1, 64)


def speed(n: int, rates: Rates) -> float:
    """Segments a second of n decoders beside one model: the slower of decoding and model."""
    return min(n / rates.decode_s, 1 / rates.model_s)


@given(SECONDS, SECONDS, st.integers(1, 8), CORES)
def test_the_number_is_the_least_that_gives_nearly_all_of_the_speed(
    decode_s: float, model_s: float, model_cores: int, cores: int
) -> None:
    rates = Rates(decode_s, model_s, model_cores)
    n = choose(rates, cores, 10**6, 100).n
    possible = range(1, max(cores - model_cores, 1) + 1)
    assert n in possible
    assert speed(n, rates) >= 0.9 * max(speed(m, rates) for m in possible)
    assert n == 1 or speed(n - 1, rates) < speed(n, rates)


@pytest.mark.parametrize(
    ("decode_s", "model_s", "model_cores", "cores", "n", "limit"),
    [
        (0.08, 0.125, 1, 16, 1, "the model"),  # slower than one decoder
        (0.21, 0.126, 1, 16, 2, "the model"),  # one H200 and the decoders of docs/performance.md
        (0.21, 0.042, 1, 16, 5, "the model"),
        (0.21, 0.042, 1, 4, 3, "the cores"),
        (0.061, 0.015, 2, 2, 1, "the cores"),  # two cores, both of which the model uses
        (0.061, 0.015, 1, 2, 1, "the cores"),
        (1.0, 0.0, 1, 8, 7, "the cores"),  # a clock that stood still
    ],
)
def test_rates_and_cores_give_the_number(
    decode_s: float, model_s: float, model_cores: int, cores: int, n: int, limit: str
) -> None:
    choice = choose(Rates(decode_s, model_s, model_cores), cores, 10**6, 100)
    assert choice.n == n
    assert f"as many as {limit} can use" in choice.reason


@pytest.mark.parametrize(("memory_mib", "video_mib", "n"), [(1000, 300, 3), (200, 300, 1), (1000, 0, 5)])
def test_memory_bounds_the_number(memory_mib: int, video_mib: int, n: int) -> None:
    choice = choose(Rates(0.21, 0.042, 1), 16, memory_mib, video_mib)
    assert choice.n == n
    assert ("the memory" in choice.reason) == (n < 5)


class Clock:
    """Stands still unless it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def batch(n: int, decode_s: float) -> PixelBatch:
    """A batch of n segments that took so long to decode."""
    timed = tuple(TimedSegment(Segment("v", i, FrameSpan(i, i + 1), (i,)), i, i + 1) for i in range(n))
    return PixelBatch(timed, torch.zeros(n, 1, 3, 2, 2, dtype=torch.uint8), VisionCache(0.1), decode_s)


def decoders(clock: Clock | None = None, **settings: object) -> Decoders:
    return Decoders(Settings(memory_mib=4096, **settings), clock or Clock())


def feed(measured: Decoders, clock: Clock, model_s: float, n: int = 8, decode_s: float = 8 * 0.06) -> None:
    with measured.turn(batch(n, decode_s), torch.device("cuda")):
        clock.now += model_s


def test_the_number_is_measured_over_the_first_segments_without_the_warm_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "usable_cores", lambda: 16)
    caplog.set_level("INFO")
    clock = Clock()
    measured = decoders(clock)
    feed(measured, clock, 100.0)  # the model is compiled
    for _ in range(MEASURED_SEGMENTS // 8):
        assert measured.n == 1
        feed(measured, clock, 8 * 0.02)
    assert measured.n == 3
    assert "decoders: 3, as many as the model can use" in caplog.text
    feed(measured, clock, 8 * 1.0)
    assert measured.n == 3  # chosen once


def test_a_setting_fixes_the_number_once_a_first_batch_was_read() -> None:
    clock = Clock()
    fixed = decoders(clock, decoders=4)
    assert fixed.n == 1  # the model may be loaded by the first video
    feed(fixed, clock, 1.0)
    assert fixed.n == 4


@pytest.mark.parametrize("value", ["0", "many", "-1", "2.5"])
def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HEADHUNT_DECODERS", value)
    with pytest.raises(ConfigError, match="HEADHUNT_DECODERS"):
        Settings()


def test_memory_is_waited_for_but_a_video_alone_never_waits() -> None:
    held, order = decoders(), []

    def hold(mib: int) -> None:
        with held.memory(mib, lambda: None):
            order.append(mib)

    with held.memory(10_000, lambda: order.append(0)):  # more than there is
        thread = threading.Thread(target=hold, args=(100,))
        thread.start()
        thread.join(0.3)
        assert order == []
    thread.join(10)
    assert order == [100]
    with held.memory(4000, lambda: None), pytest.raises(KeyError), held.memory(100, _stop):
        pass


def _stop() -> None:
    raise KeyError("stop")
