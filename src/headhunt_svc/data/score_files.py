"""Reads scores of any detector, in one JSON file or in a folder with a file for each video.

    scores.json       video -> list of scores, or video -> {frame: score}
    scores/VIDEO.json list of scores, or {frame: score}
    scores/VIDEO.npy  one-dimensional array of scores
    scores/VIDEO.csv  frame,score

A list has one score for every `stride` frames, the tail included. A score at a frame holds until the next frame that is
given, and the last one to the end of the video; the first frame, 0, must be given. VIDEO is the video's id, with or
without the ending of a video file.
"""

import re
import tokenize
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float64, Int64
from pydantic import BaseModel, ConfigDict, Field

from headhunt_svc.core.protocol import ScoredVideo
from headhunt_svc.errors import DatasetError, list_problems
from headhunt_svc.storage.json_text import parse_json
from headhunt_svc.storage.rows import RowFile
from headhunt_svc.types import FrameSpan, VideoRecord
from headhunt_svc.video.files import SUFFIXES

FRAME = re.compile("0|[1-9][0-9]{,11}")
Scores = Mapping[str, Any]  # video without ending -> what its file holds: list, {frame: score} or array


class _FrameScore(BaseModel):
    """A row of VIDEO.csv."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    frame: Annotated[int, Field(ge=0)]
    score: float


@dataclass(frozen=True, slots=True)
class ScoreFile:
    """The scored videos, the annotated ones without scores, and scored names without an annotation."""

    videos: tuple[ScoredVideo, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """The scores of a video, and the frames that they begin at; None for one every `stride` frames."""

    scores: Float64[np.ndarray, " score"]
    frames: Int64[np.ndarray, " score"] | None

    def length(self, stride: int) -> int:
        """Frames that the scores stand for, where the video's length is unknown; the last as many as the one before."""
        if self.frames is None:
            return len(self.scores) * stride
        last = int(self.frames[-1])
        return last + (last - int(self.frames[-2]) if len(self.frames) > 1 else stride)

    def spans(self, n_frames: int, stride: int) -> tuple[FrameSpan, ...]:
        """The frames that each score stands for.

        Raises:
            ValueError: there are too many or too few scores, or frames that the video does not have.
        """
        if self.frames is None:
            spans = strides(n_frames, stride)
            if len(self.scores) > len(spans):
                outside = f"{len(self.scores) - len(spans)} scores outside its {n_frames} frames"
                raise ValueError(f"has {outside} ({len(spans)} of {stride} frames each)")
            if len(self.scores) < len(spans):
                raise ValueError(f"has {len(self.scores)} scores, expected {len(spans)} for {n_frames} frames")
            return spans
        if late := int((self.frames >= n_frames).sum()):
            raise ValueError(f"has {late} scores outside its {n_frames} frames")
        edges = [*self.frames.tolist(), n_frames]
        return tuple(FrameSpan(start, stop) for start, stop in pairwise(edges))


def strides(n_frames: int, stride: int) -> tuple[FrameSpan, ...]:
    """Spans of `stride` frames that cover a video; the last may be shorter."""
    return tuple(FrameSpan(i, min(i + stride, n_frames)) for i in range(0, n_frames, stride))


def without_ending(name: str) -> str:
    """The name of a video without the ending of a video file."""
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in SUFFIXES else name


def series_of(value: Any) -> Series:
    """The scores of one video, from what its file holds.

    Raises:
        ValueError: it holds something else, NaN, or no score of the first frame.
    """
    frames = None
    if isinstance(value, dict):
        if not all(FRAME.fullmatch(name) for name in value):
            raise ValueError("has scores that are not at the number of a frame")
        numbers = sorted(map(int, value))
        frames, value = np.array(numbers, np.int64), [value[str(number)] for number in numbers]
        if not numbers or numbers[0] != 0:
            raise ValueError(f"has no score of frame 0, the first is at {numbers[0] if numbers else 'none'}")
    if isinstance(value, np.ndarray):
        if value.ndim != 1 or value.dtype.kind not in "iuf":
            raise ValueError(f"is an array of {value.dtype} of shape {value.shape}, expected numbers in one dimension")
    elif not isinstance(value, list) or not all(type(s) in (int, float) for s in value):
        raise ValueError("is not a list of numbers")
    try:
        scores = np.asarray(value, np.float64)
    except OverflowError as exc:
        raise ValueError("has a score that is too large") from exc
    if not len(scores):
        raise ValueError("has no scores")
    if len(bad := np.flatnonzero(~np.isfinite(scores))):
        raise ValueError(f"has {len(bad)} scores that are NaN or infinite, the first is number {bad[0]}")
    return Series(scores, frames)


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object of pairs, refused if a name (without its ending) is in it twice."""
    scores: dict[str, Any] = {}
    for name, value in pairs:
        name = without_ending(name)
        if name in scores:
            raise ValueError(f"{name} is there twice")
        scores[name] = value
    return scores


def _read_json(path: Path) -> Any:
    return parse_json(path.read_text(encoding="utf-8-sig"), _unique)


def _read_npy(path: Path) -> Any:
    """An array, mapped first: a header that promises more than the file holds takes no memory; no archive is read."""
    try:
        return np.array(np.lib.format.open_memmap(path, mode="r"))
    except (TypeError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError, OverflowError) as exc:
        raise ValueError(f"no array of NumPy ({type(exc).__name__})") from exc


def _read_csv(path: Path) -> Any:
    file = RowFile(path, "give frame,score")
    scores: dict[str, float] = {}
    for number, row in file.rows(_FrameScore):
        if str(row.frame) in scores:
            file.add(number, f"frame {row.frame} is there twice")
        scores[str(row.frame)] = row.score
    file.check()
    return scores


READERS: dict[str, Callable[[Path], Any]] = {".json": _read_json, ".npy": _read_npy, ".csv": _read_csv}


def _read_folder(folder: Path) -> Iterator[tuple[str, Any]]:
    """What each file of the folder holds, by the name of its video."""
    problems = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in READERS and p.is_file()):
        try:
            value = READERS[path.suffix.lower()](path)
        except (DatasetError, OSError, ValueError, EOFError) as exc:
            problems.append(str(exc) if isinstance(exc, DatasetError) else f"{path}: {exc}")
        else:
            yield path.relative_to(folder).with_suffix("").as_posix(), value
    if problems:
        raise DatasetError(f"{len(problems)} score files cannot be read: {list_problems(problems)}")


def load_scores(path: Path) -> Scores:
    """Read a score file, or a folder with a file for each video.

    Raises:
        DatasetError: it is something else, or has a video twice.
    """
    try:
        scores: Any = _unique(list(_read_folder(path))) if path.is_dir() else _read_json(path)
        if not isinstance(scores, dict):
            raise ValueError("not an object of video -> scores")
    except (OSError, ValueError) as exc:
        raise DatasetError(f"{path} cannot be read as a score file: {exc}") from exc
    return scores


def match_scores(path: Path, scores: Scores, records: Sequence[VideoRecord], stride: int) -> ScoreFile:
    """Check the scores that `path` holds against the annotated videos.

    Raises:
        DatasetError: every video whose scores are no numbers, too few or too many.
    """
    names = {without_ending(r.video_id): r.video_id for r in records}
    if len(names) < len(records):
        raise DatasetError(
            "two annotated videos have one name without its ending, so their scores cannot be told apart"
        )
    videos, problems = [], []
    for record in records:
        if (name := without_ending(record.video_id)) in scores:
            try:
                series = series_of(scores[name])
                videos.append(ScoredVideo(record, series.spans(record.n_frames, stride), series.scores))
            except ValueError as exc:
                problems.append(f"{record.video_id} {exc}")
    if problems:
        raise DatasetError(f"{path}: {len(problems)} videos cannot be evaluated: {list_problems(problems)}")
    if not videos:
        raise DatasetError(f"{path} has scores of none of the {len(names)} annotated videos: is it of this data set?")
    missing = sorted(video for name, video in names.items() if name not in scores)
    return ScoreFile(tuple(videos), tuple(missing), tuple(sorted(scores.keys() - names.keys())))


def read_scores(path: Path, records: Sequence[VideoRecord], stride: int) -> ScoreFile:
    """Read a score file or folder, and check it against the annotated videos.

    Raises:
        DatasetError: see `load_scores` and `match_scores`.
    """
    return match_scores(path, load_scores(path), records, stride)
