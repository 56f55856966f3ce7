"""Annotations -> VideoRecord; the only place that knows labels. Layout of a project's own footage:

    annotations.jsonl, one video a line:
    {"video": "yard/0412.mp4", "split": "test", "label": "fall", "spans": [[12.0, 15.5]], "unit": "seconds"}

video: path below dataset.root; split: calibration, validation, test, or hard (a second test split that only
`ablate` looks at; optional); label: any word, "normal" for none; spans: anomalous stretches, half-open, in `unit`
seconds or frames ([] for a normal video).
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headhunt_svc.errors import ArtifactError, DatasetError, VideoError
from headhunt_svc.io.files import write_file
from headhunt_svc.io.video import count_frames
from headhunt_svc.types import NORMAL, FrameSpan, Split, VideoRecord


class Annotation(BaseModel):
    """One line of annotations.jsonl."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    video: Annotated[str, Field(min_length=1)]
    split: Split
    label: str
    spans: tuple[tuple[float, float], ...]
    unit: Literal["seconds", "frames"]


def read_annotations(path: Path) -> list[Annotation]:
    """Read annotations.jsonl.

    Raises:
        DatasetError: every malformed line and every video named twice, with file and line, all at once.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise DatasetError(f"{path} cannot be read ({exc}): set dataset.annotations in params.yaml") from exc
    found: dict[str, Annotation] = {}
    wrong: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            annotation = Annotation.model_validate_json(line)
        except ValidationError as exc:
            first = exc.errors()[0]
            wrong.append(f"{path}:{number}: {'.'.join(map(str, first['loc']))}: {first['msg']}")
            continue
        if annotation.video in found:
            splits = " and ".join(sorted({annotation.split, found[annotation.video].split}))
            wrong.append(
                f"{path}:{number}: {annotation.video} is annotated twice, in {splits} (a video belongs to one split)"
            )
        if (annotation.label == NORMAL) != (not annotation.spans):
            wrong.append(f"{path}:{number}: label {annotation.label!r} with {len(annotation.spans)} spans")
        found[annotation.video] = annotation
    if wrong:
        raise DatasetError("; ".join(wrong))
    if not found:
        raise DatasetError(f"{path} names no video")
    return list(found.values())


def write_annotations(path: Path, annotations: Iterable[Annotation]) -> None:
    """Write annotations.jsonl."""
    text = "".join(a.model_dump_json() + "\n" for a in annotations)
    write_file(path, lambda p: p.write_text(text, encoding="utf-8"))


def to_record(annotation: Annotation, root: Path) -> VideoRecord:
    """Look at the file, and turn spans into frames.

    Raises:
        DatasetError: the file cannot be read, or a span does not lie within it.
    """
    path = root / annotation.video
    try:
        n_frames, fps = count_frames(path)
    except VideoError as exc:
        raise DatasetError(str(exc)) from exc
    scale = fps if annotation.unit == "seconds" else 1.0
    spans = tuple(FrameSpan(round(a * scale), round(b * scale)) for a, b in annotation.spans)
    try:
        return VideoRecord(annotation.video, path, n_frames, fps, annotation.split, annotation.label, spans)
    except ValueError as exc:
        raise DatasetError(str(exc)) from exc


def check_files_apart(records: Iterable[VideoRecord]) -> None:
    """Raise DatasetError naming a file that is in two splits under two names (a link, another spelling of its path)."""
    by_file: dict[tuple[int, int], VideoRecord] = {}
    for record in records:
        status = record.path.stat()
        other = by_file.setdefault((status.st_dev, status.st_ino), record)
        if other.split != record.split:
            raise DatasetError(
                f"{record.video_id} ({record.split}) and {other.video_id} ({other.split}) are one file: a video "
                "belongs to one split"
            )


def save_index(path: Path, records: list[VideoRecord]) -> None:
    """Write index.parquet; spans as JSON text."""
    rows = [
        {
            "video_id": r.video_id,
            "path": r.path.as_posix(),
            "n_frames": r.n_frames,
            "fps": r.fps,
            "split": r.split,
            "label": r.label,
            "true_spans": json.dumps(r.true_spans),
        }
        for r in records
    ]
    write_file(path, lambda p: pd.DataFrame(rows).to_parquet(p, index=False))


def load_index(path: Path, split: Split | None = None) -> list[VideoRecord]:
    """Read index.parquet, one split or all.

    Raises:
        ArtifactError: missing or broken.
    """
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as exc:
        raise ArtifactError(f"{path} cannot be read ({exc}): run `headhunt index` first") from exc
    return [
        VideoRecord(
            row["video_id"],
            Path(row["path"]),
            int(row["n_frames"]),
            float(row["fps"]),
            row["split"],
            row["label"],
            tuple(FrameSpan(*span) for span in json.loads(row["true_spans"])),
        )
        for row in table.to_dict("records")
        if split is None or row["split"] == split
    ]
