"""Compares footage on disk with its annotations: videos that are missing, broken, or of another length."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from rich.progress import track

from headhunt_svc.data.benchmarks import read_benchmark
from headhunt_svc.data.datasets import Annotation, make_record, read_annotations, read_folders
from headhunt_svc.errors import DatasetError, VideoError, list_problems
from headhunt_svc.params import DatasetParams
from headhunt_svc.types import VideoRecord
from headhunt_svc.video.files import count_frames, find_videos


class Finding(NamedTuple):
    """A video that does not fit its annotation, or a file that has none."""

    video: str
    status: Literal["missing", "unreadable", "shorter", "longer", "unfitting", "ambiguous", "extra"]
    detail: str


@dataclass(frozen=True, slots=True)
class Footage:
    """The videos that fit their annotations, and findings about all others."""

    records: tuple[VideoRecord, ...]
    findings: tuple[Finding, ...]

    def check(self, allow_missing: bool) -> None:
        """Check that every annotated video exists and fits; with allow_missing, it may also be missing.

        Raises:
            DatasetError: the first videos that do not fit, or there is no video at all.
        """
        harmless = {"extra", "longer", *(["missing"] if allow_missing else [])}
        problems = [f.detail for f in self.findings if f.status not in harmless]
        if problems:
            raise DatasetError(f"{len(problems)} videos do not fit their annotations: {list_problems(problems)}")
        if not self.records:
            raise DatasetError("none of the annotated videos is there: check dataset.root")


def annotations_of(params: DatasetParams) -> tuple[tuple[Annotation, ...], dict[str, int]]:
    """Read annotations of any layout, and the lengths in frames that they state (benchmarks only).

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


def _files(params: DatasetParams, annotations: Iterable[Annotation], videos: list[Path]) -> dict[str, list[Path]]:
    """The files of each annotated video. A benchmark's are searched by name in all folders (the archives differ)."""
    if params.layout in ("own", "folders"):
        return {a.video: [params.root / a.video] for a in annotations}
    by_stem = defaultdict(list)
    for path in videos:
        by_stem[path.stem].append(path)
    return {a.video: by_stem[a.video] for a in annotations}


def _check_video(
    annotation: Annotation, files: list[Path], stated: int | None, params: DatasetParams
) -> Iterator[VideoRecord | Finding]:
    """The record of an annotated video, or findings that say why there is none (or what else is odd)."""
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


def scan_footage(params: DatasetParams) -> Footage:
    """Check every annotated file (frames are counted without decoding), and list files without an annotation.

    Raises:
        DatasetError: the annotations cannot be read.
    """
    annotations, stated = annotations_of(params)
    try:
        videos = find_videos([params.root]) if params.root.is_dir() else []
    except VideoError:
        videos = []  # every annotated video is missing, and will be named
    files = _files(params, annotations, videos)
    records: list[VideoRecord] = []
    findings: list[Finding] = []
    for annotation in track(annotations, description="index"):
        for result in _check_video(annotation, files[annotation.video], stated.get(annotation.video), params):
            if isinstance(result, Finding):
                findings.append(result)
            else:
                records.append(result)
    annotated = {path for paths in files.values() for path in paths}
    for path in videos:
        if path not in annotated:
            name = path.relative_to(params.root).as_posix()
            findings.append(Finding(name, "extra", f"{path}: not annotated"))
    return Footage(tuple(records), tuple(findings))
