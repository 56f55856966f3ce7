"""Reads the annotation files of UCF-Crime and XD-Violence as their authors publish them.

    ucf_crime/    Temporal_Anomaly_Annotation_for_Testing_Videos.txt, test_frame_counts.txt
    xd_violence/  annotations.txt, test_frame_counts.txt

UCF-Crime (Sultani et al., CVPR 2018), a line a test video: name.mp4, class, start1, end1, start2, end2; -1 for none.
XD-Violence (Wu et al., ECCV 2020), a line an anomalous test video: name (some with a stray .mp4), then start and end
of each span; the kinds are in the name, and normal videos are in the list of frame counts only. A line of the frame
counts: name, 0, number of the last frame, a class. Videos are named without .mp4.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, TypeVar

from headhunt_svc.core.frame_times import FrameTimes
from headhunt_svc.data.datasets import Annotation, make_record
from headhunt_svc.errors import DatasetError
from headhunt_svc.storage.rows import RowFile
from headhunt_svc.types import KIND_SEPARATOR, NORMAL, SpanEnds, VideoRecord

Line = TypeVar("Line")
BenchmarkName = Literal["ucf_crime", "xd_violence"]
ADVICE = "give the folder of the benchmark's annotation files"
COUNTS = "test_frame_counts.txt"
SPANS = {"ucf_crime": "Temporal_Anomaly_Annotation_for_Testing_Videos.txt", "xd_violence": "annotations.txt"}
FPS = {"ucf_crime": 30.0, "xd_violence": 24.0}  # of the footage as published
XD_KINDS = {"B1": "fighting", "B2": "shooting", "B4": "riot", "B5": "abuse", "B6": "car accident", "G": "explosion"}
XD_NAME = re.compile(r"_label_(A|(?:B[12456]|G|0)(?:-(?:B[12456]|G|0))*)$")


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Test annotations, the length of every video, and the frame rate of the published footage."""

    annotations: tuple[Annotation, ...]
    n_frames: dict[str, int]
    fps: float

    def records(self, span_ends: SpanEnds, fps: float | None = None) -> list[VideoRecord]:
        """All videos, from the annotations alone; spans are cut off at the stated length.

        Raises:
            DatasetError: a span begins past the end of its video, or is empty under this convention.
        """
        try:
            return [
                make_record(
                    a, Path(a.video), FrameTimes.at_rate(self.n_frames[a.video], fps or self.fps), span_ends, clip=True
                )
                for a in self.annotations
            ]
        except ValueError as exc:
            raise DatasetError(str(exc)) from exc


def _integers(words: list[str]) -> list[int]:
    try:
        return [int(word) for word in words]
    except ValueError as exc:
        raise ValueError(f"{' '.join(words)!r} are not whole numbers") from exc


def _parsed(file: RowFile, parse: Callable[[str], Line]) -> Iterator[tuple[int, Line]]:
    """Every line with its number; a malformed one is a problem."""
    for number, line in file.lines():
        try:
            yield number, parse(line)
        except ValueError as exc:
            file.add(number, exc)


def _frame_count(line: str) -> tuple[str, int]:
    fields = line.rsplit(maxsplit=3)
    if len(fields) != 4:
        raise ValueError("expected: name 0 last-frame class")
    first, last = _integers(fields[1:3])
    if first != 0 or last < 0:
        raise ValueError(f"frames {first} to {last}")
    return fields[0], last + 1


def _read_counts(file: RowFile) -> dict[str, tuple[int, int]]:
    """Per video: the line that names it, and its length in frames."""
    counts: dict[str, tuple[int, int]] = {}
    for number, (video, n_frames) in _parsed(file, _frame_count):
        if video in counts:
            file.add(number, f"{video} is named twice")
        counts.setdefault(video, (number, n_frames))
    return counts


def _pairs(numbers: list[int]) -> tuple[tuple[float, float], ...]:
    pairs = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    for (_, stop), (start, _) in pairwise(pairs):
        if start <= stop:
            raise ValueError(f"the span from {start} begins before the one before it has ended")
    return pairs


def _ucf_crime(line: str) -> Annotation:
    fields = line.split()
    if len(fields) != 6:
        raise ValueError(f"{len(fields)} fields, expected: name class start end start end")
    numbers = _integers(fields[2:])
    for start, stop in (numbers[:2], numbers[2:]):
        if (start == -1) != (stop == -1):
            raise ValueError("a span with one end")
    spans = _pairs([n for n in numbers if n != -1])
    label = NORMAL if fields[1] == "Normal" else fields[1]
    return Annotation(video=fields[0].removesuffix(".mp4"), split="test", label=label, spans=spans, unit="frames")


def _xd_label(name: str) -> str:
    match = XD_NAME.search(name)
    if match is None:
        raise ValueError(f"{name} does not end in _label_ and its kinds")
    kinds = [XD_KINDS[k] for k in match[1].split("-") if k in XD_KINDS]
    return KIND_SEPARATOR.join(kinds) or NORMAL


def _xd_violence(line: str) -> Annotation:
    name, *numbers = line.split()
    if len(numbers) % 2 or not numbers:
        raise ValueError(f"{len(numbers)} numbers after the name, expected pairs of start and end")
    name = name.removesuffix(".mp4")
    spans = _pairs(_integers(numbers))
    return Annotation(video=name, split="test", label=_xd_label(name), spans=spans, unit="frames")


def read_benchmark(name: BenchmarkName, folder: Path) -> Benchmark:
    """Read the official files.

    Raises:
        DatasetError: a file is missing; every malformed line of every file, and every video that one of them lacks.
    """
    spans, counts = (RowFile(folder / file, ADVICE) for file in (SPANS[name], COUNTS))
    lengths = _read_counts(counts)
    annotations = _read_spans(name, spans, lengths)
    for video in lengths.keys() - annotations.keys():
        try:
            if name == "ucf_crime" or _xd_label(video) != NORMAL:
                raise ValueError(f"{video} is not annotated in {SPANS[name]}")
            annotations[video] = Annotation(video=video, split="test", label=NORMAL, spans=(), unit="frames")
        except ValueError as exc:
            counts.add(lengths[video][0], exc)
    spans.check(counts)
    return Benchmark(tuple(annotations[v] for v in lengths), {v: n for v, (_, n) in lengths.items()}, FPS[name])


def _read_spans(name: BenchmarkName, file: RowFile, lengths: dict[str, tuple[int, int]]) -> dict[str, Annotation]:
    """Every line's annotation by its video; what does not fit the video lengths is a problem, too."""
    annotations: dict[str, Annotation] = {}
    for number, annotation in _parsed(file, _ucf_crime if name == "ucf_crime" else _xd_violence):
        video = annotation.video
        if video in annotations:
            file.add(number, f"{video} is annotated twice")
        elif video not in lengths:
            file.add(number, f"{video} is not in {COUNTS}")
        elif annotation.spans and annotation.spans[-1][0] >= lengths[video][1]:
            file.add(number, f"a span begins after the {lengths[video][1]} frames of {video}")
        annotations[video] = annotation
    return annotations
