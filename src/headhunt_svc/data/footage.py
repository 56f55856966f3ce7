"""Compares footage on disk with its annotations: videos that are missing, broken, unusual, or of another length."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from rich.progress import track

from headhunt_svc.core.frame_times import FrameTimes
from headhunt_svc.data.benchmarks import read_benchmark
from headhunt_svc.data.datasets import WHOLE, Annotation, make_record, read_annotations, read_folders
from headhunt_svc.data.marks import ANNOTATIONS, load_marks
from headhunt_svc.errors import DatasetError, VideoError, list_problems
from headhunt_svc.names import unescape
from headhunt_svc.params import DatasetParams
from headhunt_svc.types import VideoRecord
from headhunt_svc.video.files import find_videos, read_times
from headhunt_svc.video.source import Gap, VideoState

Problem = Literal["missing", "unreadable", "shorter", "unfitting", "ambiguous"]
Note = Literal["longer", "extra", "rate mismatch", "several streams", "holes", "clock jumps", "unfinished", "gaps"]


class Finding(NamedTuple):
    """A video that does not fit its annotation, a file that has none, or a note about what is unusual in a file."""

    video: str
    status: Problem | Note
    detail: str


@dataclass(frozen=True, slots=True)
class Footage:
    """The videos that fit their annotations, and findings about all others."""

    records: tuple[VideoRecord, ...] = ()
    findings: tuple[Finding, ...] = ()

    def check(self, allow_missing: bool) -> None:
        """Check that every annotated video exists and fits; with allow_missing, it may also be missing.

        Raises:
            DatasetError: the first videos that do not fit, or there is no video at all.
        """
        harmless = {*get_args(Note), *(["missing"] if allow_missing else [])}
        problems = [f.detail for f in self.findings if f.status not in harmless]
        if problems:
            raise DatasetError(f"{len(problems)} videos do not fit their annotations: {list_problems(problems)}")
        if not self.records:
            raise DatasetError("none of the annotated videos is there: check dataset.root")


def annotations_of(params: DatasetParams) -> tuple[tuple[Annotation, ...], dict[str, int]]:
    """Read annotations of any layout, and the lengths in frames that they state.

    Raises:
        DatasetError: see the readers.
    """
    if params.layout == "folders":
        return tuple(read_folders(params.root)), {}
    assert params.annotations is not None  # params checks this
    if params.layout == "own":
        own = tuple(read_annotations(params.annotations, params.export, params.span_ends))
        return own, {a.video: a.n_frames for a in own if a.n_frames is not None}
    benchmark = read_benchmark(params.layout, params.annotations)
    return benchmark.annotations, benchmark.n_frames


def _files(params: DatasetParams, annotations: Iterable[Annotation], videos: list[Path]) -> dict[str, list[Path]]:
    """The files of each annotated video.

    A benchmark's are searched by name in all folders (the archives differ), and so are those that an annotation tool
    knows by their name alone.
    """
    if params.layout in ("own", "folders"):
        files = {a.video: [_file(params.root, a.video)] for a in annotations}
        taken = {path for paths in files.values() for path in paths}
        for video, (path,) in files.items():
            if not _exists(path):
                files[video] = [p for p in videos if p not in taken and f"/{p}".endswith(f"/{video}")] or [path]
        return files
    by_stem = defaultdict(list)
    for path in videos:
        by_stem[path.stem].append(path)
    return {a.video: by_stem[a.video] for a in annotations}


def _file(root: Path, video: str) -> Path:
    """The file of a name below the root, which may be written as an id."""
    path = root / video
    return path if "%" not in video or _exists(path) else root / unescape(video)


def _exists(path: Path) -> bool:
    """Also of a name that is too long, for which pathlib raises."""
    return os.path.exists(path)  # noqa: PTH110


def _places(places: Sequence[tuple[float | None, str]]) -> str:
    """The first of some places in a video, each with its detail."""
    return list_problems([f"{detail} at {'an unknown time' if s is None else f'{s:.2f} s'}" for s, detail in places])


def _notes(name: str, file: Path, state: VideoState) -> Iterator[Finding]:
    """What is unusual in a file although its labels can be right."""
    if state.stated_fps is not None:
        rates = f"{state.fps:.4g} frames per second, the file states {state.stated_fps:.4g}"
        yield Finding(name, "rate mismatch", f"{file}: {rates}")
    if len(state.streams) > 1:
        numbers = ", ".join(map(str, state.streams))
        yield Finding(name, "several streams", f"{file}: video streams {numbers}; {state.stream} is read")
    if state.holes:
        holes = _places([(h.start_s, f"no picture for {h.stop_s - h.start_s:.2f} s") for h in state.holes])
        yield Finding(name, "holes", f"{file}: {holes}")
    if state.discontinuities:
        jumps = _places([(d.time_s, f"the clock jumps by {d.jump_s:.2f} s") for d in state.discontinuities])
        yield Finding(name, "clock jumps", f"{file}: {jumps}; seconds are counted without the jumps")
    if state.unfinished:
        yield Finding(name, "unfinished", f"{file}: {state.unfinished}")
    if state.gaps:
        lost = _places([(g.time_s, f"{g.packets} lost pictures ({g.reason})") for g in state.gaps])
        yield Finding(name, "gaps", f"{file}: {lost}")


def _gap_before_labels(annotation: Annotation, record: VideoRecord, times: FrameTimes, state: VideoState) -> Gap | None:
    """Lost pictures that somebody who numbered the frames may have counted; None if no label is behind such."""
    if annotation.unit == "seconds" or annotation.spans == WHOLE or not record.true_spans:
        return None
    stop_s = times.seconds[max(span.stop for span in record.true_spans) - 1]
    return next((gap for gap in state.gaps if gap.time_s is not None and gap.time_s < stop_s), None)


def _check_video(
    annotation: Annotation, files: list[Path], stated: int | None, params: DatasetParams
) -> Iterator[VideoRecord | Finding]:
    """The record of an annotated video, or findings that say why there is none (or what else is odd)."""
    name, of_benchmark = annotation.video, params.layout not in ("own", "folders")
    if not files or not _exists(files[0]):
        detail = f"{files[0]}: no such file" if files else f"{name}: no file of this name below {params.root}"
        yield Finding(name, "missing", detail)
        return
    if len(files) > 1:
        yield Finding(name, "ambiguous", f"{name} is there {len(files)} times: {', '.join(map(str, files))}")
        return
    try:
        times, state = read_times(files[0])
    except VideoError as exc:
        yield Finding(name, "unreadable", str(exc))
        return
    yield from _notes(name, files[0], state)
    n_frames = len(times)
    if stated is not None and n_frames != stated:
        detail = f"{files[0]}: {n_frames} frames, {stated} are stated"
        yield Finding(name, "shorter" if n_frames < stated else "longer", detail)
        if n_frames < stated:
            return
    clock = FrameTimes.at_rate(n_frames, params.fps) if params.fps else times
    try:
        record = make_record(annotation, files[0], clock, params.span_ends, clip=of_benchmark)
    except ValueError as exc:
        past = max(stop for _, stop in annotation.spans) > (n_frames if annotation.unit == "frames" else clock.stop_s)
        yield Finding(name, "shorter" if past else "unfitting", str(exc))
        return
    if not of_benchmark and (gap := _gap_before_labels(annotation, record, times, state)) is not None:
        detail = f"{files[0]}: pictures are lost at {gap.time_s:.2f} s, so the frame numbers behind them are others"
        yield Finding(name, "unfitting", f"{detail}: annotate it in seconds, or repair the file")
        return
    yield record


def scan_footage(params: DatasetParams) -> Footage:
    """Check every annotated file (frames are counted without decoding), and list files without an annotation.

    Clips of marked events join the calibration videos.

    Raises:
        DatasetError: the annotations cannot be read, or the marks are damaged.
    """
    footage = _scan(params)
    if params.marks is None:
        return footage
    marks = load_marks(params.marks)
    marked = (
        _scan(DatasetParams(root=params.marks, annotations=params.marks / ANNOTATIONS)) if marks.clips else Footage()
    )
    records = tuple(replace(record, marks=marks.version) for record in marked.records)
    if other := [record.video_id for record in records if record.split != "calibration"]:
        raise DatasetError(f"{params.marks}: {other[0]} is no calibration video: marks are never measured on")
    if twice := {r.video_id for r in records} & {r.video_id for r in footage.records}:
        raise DatasetError(f"{params.marks} and {params.root} both have a video {min(twice)}")
    return Footage(footage.records + records, footage.findings + marked.findings)


def _scan(params: DatasetParams) -> Footage:
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
