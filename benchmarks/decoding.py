"""What the checks of the reader cost: intact videos, read with them and without.

    python benchmarks/decoding.py                       # three small videos
    python benchmarks/decoding.py a.mp4 b.ts --rounds 9
    git worktree add out/before d225283 && python benchmarks/decoding.py --before out/before/src

The plain way is a PyAV loop that decodes all pictures with the same settings and converts the same ones to RGB; with
--before it is the reader of another checkout. Both alternate; the ratio is of CPU time of this process, so other load
on the machine counts little.
"""

import argparse
import importlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from throughput import make_video

from headhunt_svc.params import SegmentationParams
from headhunt_svc.types import Segment
from headhunt_svc.video.container import VideoLimits, open_container, open_file
from headhunt_svc.video.reader import VideoReader

SEGMENTS = SegmentationParams(length_s=1.6, frames_per_segment=8)


def checked(path: Path) -> int:
    """Pictures that are converted by the package's reader."""
    with VideoReader(path) as video:
        return sum(len(piece.pictures) for piece in video.segments(SEGMENTS))


def cut(path: Path) -> list[Segment]:
    """The segments that the reader gives."""
    with VideoReader(path) as video:
        return [piece.segment for piece in video.segments(SEGMENTS)]


def plain(path: Path, segments: list[Segment]) -> int:
    """The same pictures by PyAV alone: a segment's frames are held until its last, then converted."""
    fd = open_file(path)
    container, stream = open_container(path, VideoLimits(), fd)
    n, position, held = 0, 0, list[av.VideoFrame]()
    with container:
        for packet in container.demux(stream):
            for frame in packet.decode():
                held.append(frame)
                span = segments[position].span
                if len(held) == len(span):
                    indices = segments[position].frame_indices
                    pictures = {i: held[i - span.start].to_ndarray(format="rgb24") for i in indices}
                    n += len(np.stack([pictures[i] for i in indices]))
                    position, held = position + 1, []
    os.close(fd)
    return n


def reader_of(source: Path, folder: Path) -> Callable[[Path, list[Segment]], int]:
    """Reads a video by the package in another `src`, which is copied under another name."""
    package = shutil.copytree(source / "headhunt_svc", folder / "headhunt_before")
    for module in package.rglob("*.py"):
        module.write_text(
            module.read_text(encoding="utf-8").replace("headhunt_svc", "headhunt_before"), encoding="utf-8"
        )
    sys.path.insert(0, str(folder))
    reader = importlib.import_module("headhunt_before.video.reader").VideoReader

    def before(path: Path, segments: list[Segment]) -> int:
        with reader(path) as video:
            return sum(len(piece.pictures) for piece in video.segments(SEGMENTS))

    return before


def seconds(action: Callable[..., int], *arguments: object) -> float:
    """CPU time of an action."""
    start = time.process_time()
    action(*arguments)
    return time.process_time() - start


def main() -> None:
    """Print a line for each video."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="*")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--before", type=Path, help="the folder src of another checkout, to compare with")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headhunt-decoding-") as folder:
        videos = list(args.videos)
        if not videos:
            videos = [make_video(Path(folder) / "h264.mp4", 12)]
            for kind in ("ts", "mkv"):
                videos.append(Path(folder) / f"h264.{kind}")
                with av.open(str(videos[0])) as old, av.open(str(videos[-1]), "w") as new:
                    stream = old.streams.video[0]
                    copy = new.add_stream_from_template(stream)
                    for packet in old.demux(stream):
                        if packet.size:
                            packet.stream = copy
                            new.mux(packet)
        other = reader_of(args.before, Path(folder)) if args.before else plain
        print(f"video                   {other.__name__:>7} s   checked s   ratio (lowest, median, highest)")
        for path in videos:
            segments = cut(path)  # warms the cache, too
            pairs = [(seconds(other, path, segments), seconds(checked, path)) for _ in range(args.rounds)]
            ratios = sorted(b / a for a, b in pairs)
            bare, full = (statistics.median(times) for times in zip(*pairs, strict=True))
            spread = f"{ratios[0]:.3f}  {statistics.median(ratios):.3f}  {ratios[-1]:.3f}"
            print(f"{path.name:25} {bare:7.2f}   {full:9.2f}   {spread}")


if __name__ == "__main__":
    main()
