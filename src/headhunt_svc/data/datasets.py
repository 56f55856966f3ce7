"""Reads annotations of a project's own footage, and the index of videos and their labels made from them. Layouts:

    annotations.jsonl, one video a line:
    {"video": "yard/0412.mp4", "split": "test", "label": "fall", "spans": [[12.0, 15.5]], "unit": "seconds"}

    annotations.csv, one span a line, with a header; start and stop are empty for a normal video:
    video,split,label,start,stop,unit
    yard/0412.mp4,test,fall,12.0,15.5,seconds

    an export of CVAT (.xml, or a folder of such files) or Label Studio (.json): cvat.py, label_studio.py

    folders, without a file: normal/ and anomalous/ below the root, or below root/calibration, root/validation,
    root/test (without these everything is `test`); an anomalous video counts as anomalous from end to end.

video: path below dataset.root, or its id (names.escape); split: calibration, validation, test, or hard (a second test
split that only `ablate` reads; optional); label: any word, "normal" for none, "fall+fight" for two kinds; spans:
anomalous stretches, in `unit` seconds or frames ([] for a normal video); n_frames, optional: the video's length, for
scores that are evaluated without the videos; camera, optional: the name of the camera. In seconds a span is half-open,
and the times of the file's frames tell which are in it; what a span's end means in frames is dataset.span_ends. The
forms of both files are in storage/rows.py, the benchmarks' layouts in benchmarks.py.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import pandas as pd
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    Json,
    PositiveInt,
    StringConstraints,
    ValidationError,
    model_validator,
)

from headhunt_svc.core.frame_times import FrameTimes
from headhunt_svc.data.cvat import cvat_rows
from headhunt_svc.data.label_studio import label_studio_rows
from headhunt_svc.errors import ArtifactError, DatasetError
from headhunt_svc.names import escape, path_of, uri_of
from headhunt_svc.params import ExportParams
from headhunt_svc.sections import first_problem
from headhunt_svc.storage.files import write_file, write_text
from headhunt_svc.storage.rows import RowFile
from headhunt_svc.storage.tables import read_table
from headhunt_svc.types import NORMAL, FrameSpan, IndexedVideo, SpanEnds, Split, VideoRecord
from headhunt_svc.video.files import find_videos

EXPORT = ExportParams()
LATEST = 1e10  # seconds or frames: no video is that long
Camera = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
WHOLE = ((0.0, math.inf),)  # spans of a video that is anomalous from end to end, however long it is


class Annotation(BaseModel):
    """One line of annotations.jsonl."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    video: Annotated[str, Field(min_length=1)]
    split: Split
    label: str
    spans: tuple[tuple[float, float], ...]
    unit: Literal["seconds", "frames"]
    n_frames: Annotated[PositiveInt | None, Field(exclude_if=lambda n: n is None)] = None
    camera: Annotated[Camera | None, Field(exclude_if=lambda name: name is None)] = None

    @model_validator(mode="after")
    def _label_fits_spans(self) -> "Annotation":
        if (self.label == NORMAL) != (not self.spans):
            raise ValueError(f"label {self.label!r} with {len(self.spans)} spans")
        if self.spans == WHOLE and self.unit == "frames":
            return self
        for start, stop in self.spans:
            if not 0 <= start <= stop <= LATEST:
                raise ValueError(f"a span from {start:g} to {stop:g}")
        return self


class _Span(BaseModel):
    """One row of annotations.csv."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    video: str
    split: Split
    label: str
    start: float | None
    stop: float | None
    unit: Literal["seconds", "frames"]
    n_frames: PositiveInt | None = None
    camera: str = ""


def _merged(file: RowFile) -> Iterator[tuple[int, Annotation]]:
    """Merge all rows of a video into one annotation, with the number of the first row."""
    videos: dict[str, tuple[int, dict[str, Any]]] = {}
    for number, row in file.rows(_Span):
        shared = {"split": row.split, "label": row.label, "unit": row.unit, "n_frames": row.n_frames}
        shared["camera"] = row.camera.strip() or None
        first_number, video = videos.setdefault(row.video, (number, {"video": row.video, **shared, "spans": []}))
        if others := [name for name, value in shared.items() if video[name] != value]:
            file.add(number, f"{row.video} has another {' and '.join(others)} than in line {first_number}")
        if row.start is not None or row.stop is not None:
            video["spans"].append((row.start, row.stop))
    yield from _valid(file, videos.values())


def _valid(file: RowFile, rows: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[tuple[int, Annotation]]:
    """The rows that are annotations; what is wrong with the others is noted in the file."""
    for number, row in rows:
        try:
            yield number, Annotation.model_validate(row)
        except ValidationError as exc:
            file.add(number, exc)


def _read(file: RowFile, export: ExportParams, span_ends: SpanEnds) -> Iterator[tuple[int, Annotation]]:
    """The annotations of a file of any form, which is known by how its text begins."""
    first = file.text.lstrip()[:1]
    if first not in ("<", "["):
        yield from file.rows(Annotation) if file.is_json_lines else _merged(file)
        return
    if span_ends == "inclusive":
        file.add(1, "an export says by itself where its spans end: leave span_ends out")
    if first == "[":
        yield from _valid(file, label_studio_rows(file, export))
        return
    if export.fps is not None:
        file.add(1, "dataset.export.fps is for Label Studio: CVAT numbers the frames of the file")
    yield from _valid(file, cvat_rows(file, export))


def annotation_files(path: Path) -> list[Path]:
    """The files of annotations: a folder stands for the .xml files in it."""
    return (sorted(path.glob("*.xml")) if path.is_dir() else []) or [path]


def read_annotations(path: Path, export: ExportParams = EXPORT, span_ends: SpanEnds = "half_open") -> list[Annotation]:
    """Read annotations.jsonl, annotations.csv, an export of Label Studio, or exports of CVAT.

    Raises:
        DatasetError: every malformed line and every video named twice, with file and line, all at once.
    """
    files = [RowFile(p, "set dataset.annotations in params.yaml") for p in annotation_files(path)]
    annotations: dict[str, Annotation] = {}
    for file in files:
        for number, annotation in _read(file, export, span_ends):
            video = annotation.video
            if video in annotations:
                splits = " and ".join(sorted({annotation.split, annotations[video].split}))
                file.add(number, f"{video} is annotated twice, in {splits} (a video belongs to one split)")
            annotations[video] = annotation
    files[0].check(*files[1:])
    if not annotations:
        raise DatasetError(f"{path} names no video")
    return list(annotations.values())


def read_folders(root: Path) -> list[Annotation]:
    """Annotations of the layout `folders`, from the folders that videos are in.

    Raises:
        DatasetError: no normal/ or anomalous/ with videos.
    """
    splits = [s for s in get_args(Split) if (root / s).is_dir()]
    annotations = []
    for split, split_folder in [(s, root / s) for s in splits] or [("test", root)]:
        for label, spans in ((NORMAL, ()), ("anomalous", WHOLE)):
            folder = split_folder / label
            for video in find_videos([folder]) if folder.is_dir() else []:
                name = escape(video.relative_to(root).as_posix())
                annotations.append(Annotation(video=name, split=split, label=label, spans=spans, unit="frames"))
    if not annotations:
        raise DatasetError(f"{root}: no folders normal/ and anomalous/ with videos")
    return annotations


def write_annotations(path: Path, annotations: Iterable[Annotation]) -> None:
    """Write annotations.jsonl."""
    text = "".join(a.model_dump_json() + "\n" for a in annotations)
    write_text(path, text)


def make_record(
    annotation: Annotation,
    path: Path,
    times: FrameTimes,
    span_ends: SpanEnds = "half_open",
    clip: bool = False,
) -> VideoRecord:
    """The record of an annotated video: spans in half-open frames; with `clip`, cut off at the end of the video.

    Raises:
        ValueError: a span does not lie within the video.
    """
    if annotation.unit == "seconds":
        try:
            spans = tuple(times.frames(start_s, stop_s) for start_s, stop_s in annotation.spans)
        except ValueError as exc:
            raise ValueError(f"{annotation.video}: {exc}") from exc
    else:
        extra = 1 if span_ends == "inclusive" else 0
        end = len(times) if clip or annotation.spans == WHOLE else math.inf
        spans = tuple(FrameSpan(round(start), round(min(stop + extra, end))) for start, stop in annotation.spans)
    described = (annotation.split, annotation.label, spans)
    record = VideoRecord(annotation.video, path, len(times), times.fps, *described, camera=annotation.camera)
    if times.constant:
        return record
    return replace(record, span_starts_s=tuple(float(times.seconds[span.start]) for span in spans))


def check_files_apart(records: Iterable[VideoRecord]) -> None:
    """Check that no file is in two splits under two names (a link, another spelling of its path).

    Raises:
        DatasetError: names both.
    """
    by_file: dict[tuple[int, int], VideoRecord] = {}
    for record in records:
        status = record.path.stat()
        other = by_file.setdefault((status.st_dev, status.st_ino), record)
        if other.split != record.split:
            raise DatasetError(
                f"{record.video_id} ({record.split}) and {other.video_id} ({other.split}) are one file: a video "
                "belongs to one split"
            )


def save_index(path: Path, videos: Sequence[IndexedVideo]) -> None:
    """Write index.parquet, the videos without their labels: a changed label leaves its bytes as they are.

    It has a column `camera` only if the camera of a video is stated, and `marks` only if there are marked clips.
    """
    with_cameras = any(v.camera is not None for v in videos)
    with_marks = any(v.marks is not None for v in videos)
    rows = [
        {
            "video_id": v.video_id,
            "path": uri_of(v.path),
            "n_frames": v.n_frames,
            "fps": v.fps,
            "split": v.split,
            **({"camera": v.camera} if with_cameras else {}),
            **({"marks": v.marks} if with_marks else {}),
        }
        for v in videos
    ]
    write_file(path, lambda p: pd.DataFrame(rows).to_parquet(p, index=False))


def save_labels(path: Path, records: Sequence[VideoRecord]) -> None:
    """Write labels.parquet; spans as JSON text, their times only if a video's frames do not come at a constant rate."""
    with_times = any(r.span_starts_s is not None for r in records)
    rows = [
        {
            "video_id": r.video_id,
            "label": r.label,
            "true_spans": json.dumps(r.true_spans),
            **({"span_starts_s": json.dumps(r.span_starts_s)} if with_times else {}),
        }
        for r in records
    ]
    write_file(path, lambda p: pd.DataFrame(rows).to_parquet(p, index=False))


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False, strict=True)


AnyRow = TypeVar("AnyRow", bound=_Row)


class _IndexRow(_Row):
    """A row of index.parquet."""

    video_id: str
    path: str
    n_frames: Annotated[int, Field(ge=0)]
    fps: Annotated[float, Field(gt=0)]
    split: Split
    camera: str | None = None
    marks: str | None = None


class _LabelRow(_Row):
    """A row of labels.parquet."""

    video_id: str
    label: str
    true_spans: Json[tuple[tuple[int, int], ...]]
    span_starts_s: Json[tuple[float, ...] | None] | None = None


def _rows(path: Path, model: type[AnyRow]) -> list[AnyRow]:
    """The rows of index.parquet or labels.parquet.

    Raises:
        ArtifactError: missing, broken, or of an older version.
    """
    try:
        table = read_table(path)
    except (OSError, ValueError) as exc:
        raise ArtifactError(f"{path} cannot be read ({exc}): run `headhunt index` first") from exc
    needed = [name for name, field in model.model_fields.items() if field.is_required()]
    columns = [name for name in model.model_fields if name in table.column_names]
    if missing := [name for name in needed if name not in columns]:
        raise ArtifactError(f"{path} has no column {missing[0]}: run `headhunt index` again")
    try:
        return [model.model_validate(row) for row in table.select(columns).to_pylist()]
    except ValidationError as exc:
        raise ArtifactError(f"{path} is damaged ({first_problem(exc)}): run `headhunt index` again") from exc
    except (ValueError, KeyError, OverflowError) as exc:  # text that is no UTF-8, a time that Python has not, ...
        raise ArtifactError(f"{path} is damaged: run `headhunt index` again") from exc


def load_index(path: Path, split: Split | None = None) -> list[IndexedVideo]:
    """Read index.parquet, one split or all.

    Raises:
        ArtifactError: missing or broken.
    """
    return [
        IndexedVideo(
            row.video_id, path_of(row.path), row.n_frames, row.fps, row.split, camera=row.camera, marks=row.marks
        )
        for row in _rows(path, _IndexRow)
        if split is None or row.split == split
    ]


def load_records(index: Path, labels: Path, split: Split | None = None) -> list[VideoRecord]:
    """Read index.parquet and labels.parquet: labelled videos, one split or all.

    Raises:
        ArtifactError: one of them is missing or broken, or they are not of the same videos.
    """
    by_video = {row.video_id: row for row in _rows(labels, _LabelRow)}
    records = []
    for video in load_index(index, split):
        row = by_video.get(video.video_id)
        if row is None:
            raise ArtifactError(f"{labels} has no label of {video.video_id}: run `headhunt index` again")
        spans = tuple(FrameSpan(*span) for span in row.true_spans)
        facts = (video.video_id, video.path, video.n_frames, video.fps, video.split)
        try:
            described = (*facts, row.label, spans, row.span_starts_s)
            records.append(VideoRecord(*described, camera=video.camera, marks=video.marks))
        except ValueError as exc:
            raise ArtifactError(f"{labels} does not fit {index} ({exc}): run `headhunt index` again") from exc
    return records


def data_digest(records: Iterable[VideoRecord]) -> str:
    """Sixteen hex digits that name labelled videos: their ids, splits, lengths and labels, wherever the files lie."""
    rows = [
        [r.video_id, r.split, r.n_frames, r.fps, r.label, r.true_spans, r.span_starts_s]
        for r in sorted(records, key=lambda r: r.video_id)
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]
