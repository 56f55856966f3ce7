"""Videos are admitted by the memory that they need, and what they freed goes back to the system."""

import asyncio
import ctypes
import threading
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Never

import numpy as np
import psutil
import pytest

from conftest import write_video
from headhunt_svc.detector.in_use import Now
from headhunt_svc.errors import VideoLimitError
from headhunt_svc.params import SegmentationParams
from headhunt_svc.serve import memory
from headhunt_svc.serve.engine import Engine, Video, Work
from headhunt_svc.serve.memory import FreedMemory, MemoryBudget
from headhunt_svc.serve.models import DetectOptions
from headhunt_svc.settings import Settings
from headhunt_svc.video.memory import OPENING_MIB, decoder_mib, reader_mib

S = SegmentationParams(length_s=1.6, frames_per_segment=8)


def go_on() -> None:
    """Nothing stops the work."""


def waits(budget: MemoryBudget, mib: int, order: list[int]) -> threading.Thread:
    """A thread that has asked for so much memory, and notes when it has it."""

    def take() -> None:
        with budget.share(mib, go_on):
            order.append(mib)

    before = len(budget._line)
    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    while len(budget._line) == before:
        pass
    return thread


def test_memory_is_handed_out_in_the_order_of_asking() -> None:
    budget, order = MemoryBudget(100), []
    with budget.share(60, go_on):
        threads = [waits(budget, mib, order) for mib in (90, 20)]  # 20 would fit, 90 does not
        assert order == []
    for thread in threads:
        thread.join(10)
    assert order == [90, 20]
    assert budget.free_mib == 100


def test_who_must_stop_leaves_the_line() -> None:
    budget = MemoryBudget(100)

    def late() -> Never:
        raise TimeoutError

    with budget.share(60, go_on):
        with pytest.raises(TimeoutError), budget.share(50, late):
            pass
        with budget.share(40, go_on):
            assert budget.free_mib == 0
    assert budget.free_mib == 100


def test_a_share_grows_only_where_there_is_room() -> None:
    budget = MemoryBudget(100)
    with budget.share(10, go_on) as one, budget.share(10, go_on) as other:
        assert one.grow(90)
        assert not other.grow(11)
        assert one.grow(5)  # it needs less than it took to open the file
        assert other.grow(95)
    assert budget.free_mib == 100


def test_more_than_there_is_in_all_is_refused_and_the_way_out_named() -> None:
    with pytest.raises(VideoLimitError, match=r"a.mp4: needs about 101 MiB.*raise memory_mib"):
        with MemoryBudget(100).share(101, go_on, "a.mp4"):
            pass


def work(folder: Path) -> Work:
    detector = SimpleNamespace(
        bundle=SimpleNamespace(segmentation=S), reader_mib=lambda size: reader_mib(size, S, 3 * 64 * 64, 16)
    )
    return Work(Now(detector), SimpleNamespace(forget=lambda *_: None), folder)


def test_two_large_videos_are_not_decoded_at_the_same_time(tmp_path: Path) -> None:
    video = Video(write_video(tmp_path / "a.avi", 20, 10, (1920, 1080), "mpeg4"), "a.avi", DetectOptions())
    seconds = 0.5

    async def service() -> None:
        probe = Engine(Settings(), tmp_path)
        with probe._opened(work(tmp_path), video) as source:
            needed = decoder_mib(source.size, S) + work(tmp_path).detector.reader_mib(source.size)
            assert needed == probe._memory.total_mib - probe._memory.free_mib > 400
        engine = Engine(Settings(memory_mib=needed * 3 // 2), tmp_path)
        opened = threading.Event()

        def second() -> None:
            with engine._opened(work(tmp_path), video):
                opened.set()

        with ExitStack() as first:
            first.enter_context(engine._opened(work(tmp_path), video))
            thread = threading.Thread(target=second, daemon=True)
            thread.start()
            assert not opened.wait(seconds)
        assert opened.wait(10)
        thread.join(10)
        assert engine._memory.free_mib == engine._memory.total_mib

    asyncio.run(service())


@pytest.mark.parametrize(("memory_mib", "warned"), [(4000, True), (8000, False)])
def test_limits_that_do_not_agree_are_said_at_the_start(tmp_path, caplog, memory_mib, warned) -> None:
    async def service() -> None:
        Engine(Settings(memory_mib=memory_mib), tmp_path)._warn_of_limits(work(tmp_path).detector)

    asyncio.run(service())
    assert (f"memory_mib is {memory_mib}, decode_memory_mib 6144" in caplog.text) is warned


def test_a_video_that_waits_for_memory_ends_with_its_request(tmp_path: Path) -> None:
    video = Video(write_video(tmp_path / "a.avi", 20, 10, (640, 480), "mpeg4"), "a.avi", DetectOptions())

    async def service() -> None:
        engine, late = Engine(Settings(memory_mib=512), tmp_path), work(tmp_path)
        with engine._memory.share(512 - OPENING_MIB + 1, go_on):
            threading.Timer(0.3, late.stop, (TimeoutError(),)).start()
            with pytest.raises(TimeoutError), engine._opened(late, video):
                pass

    asyncio.run(service())


def resident_mib() -> int:
    return psutil.Process().memory_info().rss // 2**20


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="glibc alone keeps what is freed")
def test_freed_memory_goes_back_once_for_all_videos_of_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "KEEP_FREED_S", 0.3)

    async def service() -> None:
        freed = FreedMemory(asyncio.get_running_loop())
        pictures = [np.ones(8192) for _ in range(2000)]  # 125 MiB
        full, last = resident_mib(), pictures[-1]
        pictures.clear()
        freed.give_back_soon()
        timer = freed._timer
        freed.give_back_soon()
        assert freed._timer is timer
        assert resident_mib() > full - 60
        for _ in range(100):
            await asyncio.sleep(0.05)
            if resident_mib() < full - 100:
                break
        assert resident_mib() < full - 100
        freed.give_back_soon()  # the next video starts the time anew
        assert freed._timer not in (timer, None)
        assert last.sum() == 8192

    asyncio.run(service())
