"""Footage on disk against its annotations: what is there, what is not, and does it fit."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from rich.progress import track

from headhunt_svc.data.benchmarks import read_benchmark
from headhunt_svc.data.datasets import Annotation, make_record, read_annotations, read_folders
from headhunt_svc.errors import DatasetError, VideoError
from headhunt_svc.params import DatasetParams
from headhunt_svc.types import VideoRecord
from headhunt_svc.video.reader import count_frames, find_videos

MOST_IN_A_MESSAGE = 5


class Finding(NamedTuple):
    """A video that does not fit its annotation, or a file that has none."""

    video: str
    status: Literal["missing", "unreadable", "shorter", "longer", "unfitting", "ambiguous", "extra"]
    detail: str


@dataclass(frozen=True, slots=True)
class Footage:
    """The videos that fit their annotations, and everything else."""

    records: tuple[VideoRecord, ...]
    findings: tuple[Finding, ...]

    def check(self, allow_missing: bool) -> None:
        """Raise DatasetError unless every annotated video is there and fits (or is only missing, where allowed)."""
        harmless = {"extra", "longer", *(["missing"] if allow_missing else [])}
        wrong = [f.detail for f in self.findings if f.status not in harmless]
        if wrong:
            more = f"; and {len(wrong) - MOST_IN_A_MESSAGE} more" if len(wrong) > MOST_IN_A_MESSAGE else ""
            listed = "; ".join(wrong[:MOST_IN_A_MESSAGE])
            raise DatasetError(f"{len(wrong)} videos do not fit their annotations: {listed}{more}")
        if not self.records:
            raise DatasetError("none of the annotated videos is there: check dataset.root")


def annotations_of(params: DatasetParams) -> tuple[tuple[Annotation, ...], dict[str, int]]:
    """Annotations of any layout, and the lengths in frames that they state (benchmarks only).

    Raises:
        DatasetError: see the readers.
    """
    if params.layout == "folders":
        return tuple(read_folders(params.root)), {}
    assert params.annotations is not None  # params checks this
    if params.layout == "own":
        return tuple(read_annotations(params.annotations)), {}
    benchmark = read_benchmark(params.layout, params.annotations)
    return benchmark.annotations, benchmark.n_frames


def _files(params: DatasetParams, annotations: Iterable[Annotation], there: list[Path]) -> dict[str, list[Path]]:
    """Where each video is. A benchmark's are found by name, in whatever folders (the archives differ)."""
    if params.layout in ("own", "folders"):
        return {a.video: [params.root / a.video] for a in annotations}
    by_stem = defaultdict(list)
    for path in there:
        by_stem[path.stem].append(path)
    return {a.video: by_stem[a.video] for a in annotations}


def _look(
    annotation: Annotation, files: list[Path], stated: int | None, params: DatasetParams
) -> Iterator[VideoRecord | Finding]:
    name = annotation.video
    if not files or not files[0].exists():
        detail = f"{files[0]}: no such file" if files else f"{name}: no file of this name below {params.root}"
        yield Finding(name, "missing", detail)
        return
    if len(files) > 1:
        yield Finding(name, "ambiguous", f"{name} is there {len(files)} times: {', '.join(map(str, files))}")
        return
    try:
        n_frames, fps = count_frames(files[0])
    except VideoError as exc:
        yield Finding(name, "unreadable", str(exc))
        return
    fps = params.fps or fps
    if stated is not None and n_frames != stated:
        detail = f"{files[0]}: {n_frames} frames, {stated} are stated"
        yield Finding(name, "shorter" if n_frames < stated else "longer", detail)
        if n_frames < stated:
            return
    try:
        yield make_record(annotation, files[0], n_frames, fps, params.span_ends, clip=stated is not None)
    except ValueError as exc:
        past = annotation.spans[-1][1] * (fps if annotation.unit == "seconds" else 1.0) > n_frames
        yield Finding(name, "shorter" if past else "unfitting", str(exc))


def look_at(params: DatasetParams) -> Footage:
    """Look at every annotated file (counting frames without decoding them), and for files that nothing annotates.

    Raises:
        DatasetError: the annotations cannot be read.
    """
    annotations, stated = annotations_of(params)
    try:
        there = find_videos([params.root]) if params.root.is_dir() else []
    except VideoError:
        there = []  # every annotated video is missing, and will be named
    files = _files(params, annotations, there)
    records: list[VideoRecord] = []
    findings: list[Finding] = []
    for annotation in track(annotations, description="index"):
        for seen in _look(annotation, files[annotation.video], stated.get(annotation.video), params):
            if isinstance(seen, Finding):
                findings.append(seen)
            else:
                records.append(seen)
    annotated = {p for found in files.values() for p in found}
    for path in there:
        if path not in annotated:
            name = path.relative_to(params.root).as_posix()
            findings.append(Finding(name, "extra", f"{path}: not annotated"))
    return Footage(tuple(records), tuple(findings))
