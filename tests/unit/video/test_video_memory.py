"""How much memory a video needs, and that estimates, limits and defaults agree."""

import os
import re
import signal
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from conftest import write_video
from headhunt_svc.detector.batches import pixel_batches
from headhunt_svc.errors import VideoDecodeError, VideoLimitError
from headhunt_svc.model.extractor import Extractor
from headhunt_svc.params import SegmentationParams
from headhunt_svc.settings import Settings
from headhunt_svc.video.memory import OPENING_MIB, PictureSize, decoder_mib
from headhunt_svc.video.sandbox import ProcessLimits, SandboxedReader, reader

S = SegmentationParams(length_s=0.4, frames_per_segment=8)
SIZE = (1280, 960)
SEGMENT_BYTES = 8 * 1280 * 960 * 3  # one segment's pictures as RGB


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("memory") / "a.avi", 40, size=SIZE, codec="mpeg4")


def most(run: Callable[[], object]) -> float:
    """The most arrays that were alive at the same time, in segments of pictures."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1] / SEGMENT_BYTES
    finally:
        tracemalloc.stop()


def taken(items: Iterable[object]) -> int:
    """Takes items one by one and keeps none of them."""
    n, items = 0, iter(items)
    while next(items, None) is not None:
        n += 1
    return n


def extractor() -> Extractor:
    """Prepares pictures as a model's does, without a model."""
    prepares = Extractor.__new__(Extractor)
    prepares.family = SimpleNamespace(resize_steps=lambda *_: [(64, 64)])
    prepares.config = prepares.preprocessing = None
    prepares.device = torch.device("cpu")
    return prepares


def decoder() -> int:
    """The id of the only decoding process."""
    mother = reader._starter._process.pid
    children = Path(f"/proc/{mother}/task/{mother}/children").read_text().split()
    (pid,) = [int(child) for child in children if any(f.is_file() for f in Path(f"/proc/{child}/fd").iterdir())]
    return pid  # the others wait for a video, or have ended


def decoder_peak_mib() -> float:
    """The most memory that the only decoding process has used."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{decoder()}/status").read_text())[1]) / 1024


def test_a_decoder_holds_the_pictures_of_one_segment_once(tmp_path: Path) -> None:
    params = SegmentationParams(length_s=1.0, frames_per_segment=32)
    segment_mib = 32 * 1280 * 720 * 3 / 2**20
    path = write_video(tmp_path / "a.avi", 40, size=(1280, 720), codec="mpeg4")
    with SandboxedReader(path) as video:
        before, pieces = decoder_peak_mib(), video.segments(params)
        for _ in range(3):
            next(pieces)
        assert decoder_peak_mib() - before < 1.8 * segment_mib


def test_whoever_reads_a_video_holds_the_pictures_of_one_segment_once(video: Path) -> None:
    with SandboxedReader(video) as source:
        assert most(lambda: taken(pixel_batches(source, S, extractor(), 2))) < 1.4


def test_pictures_are_prepared_one_by_one_with_the_same_result() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (8, 1080, 1920, 3), np.uint8)
    one_by_one = [extractor().preprocess(picture[None])[0] for picture in pictures]
    assert torch.equal(extractor().preprocess(pictures), torch.stack(one_by_one))


def test_a_decoder_may_use_what_it_was_allowed(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", 60, size=(1280, 720), codec="mpeg4")
    params = SegmentationParams(length_s=1.6, frames_per_segment=64)  # 169 MiB of pictures
    with SandboxedReader(path, process=ProcessLimits(memory_mib=4096)) as video:
        video.allow(300)
        with pytest.raises(VideoLimitError, match=r"more than 300 MiB.*raise memory_mib"):
            taken(video.segments(params.model_copy(update={"frames_per_segment": 128})))
    with SandboxedReader(path, process=ProcessLimits(memory_mib=4096)) as video:
        video.allow(decoder_mib(video.size, params))
        assert taken(video.segments(params)) == 4


def test_a_decoder_that_dies_while_it_is_allowed_more_is_an_error_of_its_video(video: Path) -> None:
    with SandboxedReader(video) as source:
        os.kill(decoder(), signal.SIGKILL)
        with pytest.raises(VideoDecodeError, match="SIGKILL"):
            taken(source.segments(S))


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "mp4"), ("mpeg4", "avi")])
def test_a_decoder_stays_within_its_estimate_which_is_no_more_than_twice_what_it_needs(tmp_path, codec, suffix) -> None:
    params = SegmentationParams(length_s=0.8, frames_per_segment=32)
    path = write_video(tmp_path / f"a.{suffix}", 60, 30, (1280, 720), codec)
    with SandboxedReader(path) as source:
        before, pieces = decoder_peak_mib(), source.segments(params)
        for _ in range(2):
            next(pieces)
        peak = decoder_peak_mib() - before
        assert peak < decoder_mib(source.size, params) < 2 * peak + OPENING_MIB
        assert source.size == PictureSize(1280, 720, 1280 * 720 * 3 // 2, source.fps)


def test_the_largest_pictures_that_are_allowed_by_default_can_be_decoded_by_default() -> None:
    limits = Settings()
    largest = PictureSize(7680, 4320, 7680 * 4320 * 3 // 2, 30.0)
    assert largest.width * largest.height <= limits.max_pixels
    assert decoder_mib(largest, SegmentationParams(length_s=1.6, frames_per_segment=8)) <= limits.decode_memory_mib
