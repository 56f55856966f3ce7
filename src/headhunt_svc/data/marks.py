"""Clips of marked events as labelled videos: what `headhunt hunt-again` writes, and `dataset.marks` names.

    annotations.jsonl     a line a clip, all of the split `calibration` (data/datasets.py)
    marks/HASH.mp4        the clips, named by their content
    manifest.json         version, and of which events each clip is

The version is a hash of the clips and of what was marked: a bundle that learned from them names it.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headhunt_svc.errors import DatasetError
from headhunt_svc.sections import first_problem
from headhunt_svc.storage.files import write_json, write_text
from headhunt_svc.storage.json_text import parse_json
from headhunt_svc.types import NORMAL

ANNOTATIONS, MANIFEST, CLIPS = "annotations.jsonl", "manifest.json", "marks"
MARKED = "marked"  # the label of what was confirmed


class MarkedClip(BaseModel):
    """A clip and what was marked in it. spans: half-open frames of what was confirmed; none in a false alarm."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    video: Annotated[str, Field(pattern=rf"^{CLIPS}/[0-9a-f]{{16}}\.(mp4|mkv)$")]
    sha256: str
    camera: str
    events: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    n_frames: int


class Marks(BaseModel):
    """The content of manifest.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    clips: tuple[MarkedClip, ...]


def version_of(clips: Sequence[MarkedClip]) -> str:
    """Sixteen hex digits that name these clips with their marks."""
    rows = sorted(json.dumps(clip.model_dump(mode="json"), sort_keys=True) for clip in clips)
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]


def load_marks(folder: Path) -> Marks:
    """Read the manifest of a folder. Raises DatasetError: there is none, or it was changed by hand."""
    path = folder / MANIFEST
    try:
        marks = Marks.model_validate(parse_json(path.read_bytes()))
    except OSError as exc:
        raise DatasetError(f"{path} cannot be read ({exc.strerror}): run `headhunt hunt-again`") from exc
    except ValidationError as exc:
        raise DatasetError(f"{path} is damaged ({first_problem(exc)}): run `headhunt hunt-again`") from exc
    except ValueError as exc:
        raise DatasetError(f"{path} is damaged ({exc}): run `headhunt hunt-again`") from exc
    if marks.version != version_of(marks.clips) or _annotations(marks) != _text(folder / ANNOTATIONS):
        raise DatasetError(f"{folder} is not as `headhunt hunt-again` wrote it: run it again")
    return marks


def save_marks(folder: Path, clips: Sequence[MarkedClip]) -> Marks:
    """Write annotations and manifest; returns what the manifest holds. Raises OutputError."""
    ordered = tuple(sorted(clips, key=lambda clip: clip.video))
    marks = Marks(version=version_of(ordered), clips=ordered)
    write_text(folder / ANNOTATIONS, _annotations(marks))
    write_json(folder / MANIFEST, marks.model_dump(mode="json"))
    return marks


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as exc:
        raise DatasetError(f"{path} cannot be read ({exc}): run `headhunt hunt-again`") from exc


def _annotations(marks: Marks) -> str:
    rows = [
        {
            "video": clip.video,
            "split": "calibration",
            "label": MARKED if clip.spans else NORMAL,
            "spans": clip.spans,
            "unit": "frames",
            "n_frames": clip.n_frames,
            "camera": clip.camera,
        }
        for clip in marks.clips
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)
