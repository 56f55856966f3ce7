"""Hundreds of random losses: what is scored of a damaged file is in the intact one, at the same time.

The intact file is the oracle. docs/video.md says what no reader can know; helpers/losses.py leaves that out.
"""

import random
from pathlib import Path

import pytest

from headhunt_svc.errors import VideoError
from headhunt_svc.video.reader import VideoReader
from headhunt_svc.video.sandbox import SandboxedReader
from helpers.ffmpeg import Folder
from helpers.losses import (
    Comparison,
    Shown,
    compare,
    copy,
    dropped,
    encode,
    overwritten,
    removed,
    shown,
    transport_packets_removed,
)

N = 60  # pictures of each file; at least four groups
# without mbtree, whose choices differ from run to run on a busy machine: a seed must damage the same bytes each time
X264 = {"preset": "veryfast", "x264-params": "keyint=15:bframes=2:mbtree=0:log-level=none"}
SLICES = {"preset": "veryfast", "x264-params": "keyint=15:bframes=2:mbtree=0:slices=4:log-level=none"}
X265 = {"preset": "ultrafast", "x265-params": "keyint=15:bframes=2:log-level=none:pools=1"}


def made(codec: str, options: dict[str, str], gop: int = 15):
    return lambda folder, path: encode(path, codec, options, N, gop)


def copied(name: str):
    return lambda folder, path: copy(folder.file(name), path)


RECIPES = {
    "h264.mp4": made("libx264", X264),
    "slices.mp4": made("libx264", SLICES),
    "hevc.mp4": made("libx265", X265),
    "mpeg2.ts": made("mpeg2video", {"q": "5"}, 12),
    "mpeg4.mp4": made("mpeg4", {}),
    **{f"{codec}.{kind}": copied(f"{codec}.mp4") for codec in ("h264", "slices") for kind in ("ts", "mkv", "flv")},
    **{f"hevc.{kind}": copied("hevc.mp4") for kind in ("ts", "mkv")},
    "mpeg4.mkv": copied("mpeg4.mp4"),
}
DAMAGES = {"packets": transport_packets_removed, "overwritten": overwritten, "removed": removed}
CASES = [
    *((name, "packets", 10) for name in ("h264.ts", "slices.ts", "hevc.ts", "mpeg2.ts")),
    *((name, "overwritten", 8) for name in RECIPES),
    *((name, "removed", 6) for name in RECIPES if not name.endswith(".mp4")),
]
DROPS = [(name, 6) for name in RECIPES if not name.startswith("mpeg")]
assert sum(n for *_, n in (*CASES, *DROPS)) >= 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(tmp_path_factory.mktemp("losses"), RECIPES)


@pytest.fixture(scope="module")
def intact(folder: Folder) -> dict[str, Shown]:
    return {}


def whole(folder: Folder, intact: dict[str, Shown], name: str) -> Shown:
    """The intact file, read once."""
    if name not in intact:
        intact[name] = shown(VideoReader(folder.file(name)))
        state = intact[name].state
        assert len(intact[name].times) == N
        assert not any((state.gaps, state.holes, state.discontinuities, state.repaired_times, state.unfinished))
    return intact[name]


def read(path: Path, sandboxed: bool) -> Shown | None:
    """None where nothing can be read, which the error says."""
    try:
        video = shown(VideoReader(path))
    except VideoError:
        return None
    if sandboxed:
        assert shown(SandboxedReader(path)) == video
    return video


@pytest.mark.parametrize(("name", "kind", "n"), CASES, ids=[f"{name}-{kind}" for name, kind, _ in CASES])
def test_no_picture_is_made_up_and_missing_ones_are_a_gap(
    folder: Folder, intact: dict[str, Shown], tmp_path: Path, name: str, kind: str, n: int
) -> None:
    oracle, damaged = whole(folder, intact, name), tmp_path / name
    data, n_kept, n_read = folder.file(name).read_bytes(), 0, 0
    for seed in range(n):
        damaged.write_bytes(DAMAGES[kind](data, random.Random(f"{name} {kind} {seed}")))
        video = read(damaged, sandboxed=seed == 0)
        if video is not None:
            assert compare(oracle, video) == Comparison([], [], []), seed
            n_kept, n_read = n_kept + len(video.times), n_read + 1
    assert n_read >= n - 1
    assert n_kept > n_read * N * 0.4  # a reader that gives up is no reader


@pytest.mark.parametrize(("name", "n"), DROPS)
def test_pictures_that_a_recorder_left_out(
    folder: Folder, intact: dict[str, Shown], tmp_path: Path, name: str, n: int
) -> None:
    """Nothing is made up. A file without pictures that no later one refers to is a whole file, so has no gap there."""
    oracle = whole(folder, intact, name)
    for seed in range(n):
        video = read(dropped(folder.file(name), tmp_path / name, random.Random(f"{name} {seed}")), sandboxed=seed == 0)
        assert video is not None
        comparison = compare(oracle, video)
        assert (comparison.made_up, comparison.misplaced) == ([], []), seed
        if not video.state.gaps:
            assert len(comparison.unnamed) == N - len(video.times) <= 5
