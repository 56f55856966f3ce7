"""Reads scores of any detector: a JSON object, video -> list of scores, one for every `stride` frames and the tail."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headhunt_svc.core.protocol import ScoredVideo
from headhunt_svc.errors import DatasetError, list_problems
from headhunt_svc.types import FrameSpan, VideoRecord


@dataclass(frozen=True, slots=True)
class ScoreFile:
    """The scored videos, the annotated ones without scores, and scored names without an annotation."""

    videos: tuple[ScoredVideo, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]


def strides(n_frames: int, stride: int) -> tuple[FrameSpan, ...]:
    """Spans of `stride` frames that cover a video; the last may be shorter."""
    return tuple(FrameSpan(i, min(i + stride, n_frames)) for i in range(0, n_frames, stride))


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object of pairs, refused if a name (without .mp4) is in it twice."""
    scores: dict[str, Any] = {}
    for name, value in pairs:
        name = name.removesuffix(".mp4")
        if name in scores:
            raise ValueError(f"{name} is there twice")
        scores[name] = value
    return scores


def _problem(scores: Any, n_frames: int, stride: int) -> str | None:
    """A message about the first problem with the scores of one video, None if they are fine."""
    if not isinstance(scores, list) or not all(type(s) in (int, float) for s in scores):
        return "is not a list of numbers"
    if bad := [i for i, s in enumerate(scores) if not math.isfinite(s)]:
        return f"has {len(bad)} scores that are NaN or infinite, the first is number {bad[0]}"
    expected = math.ceil(n_frames / stride)
    if len(scores) > expected:
        return f"has {len(scores) - expected} scores outside its {n_frames} frames ({expected} of {stride} frames each)"
    if len(scores) < expected:
        return f"has {len(scores)} scores, expected {expected} for {n_frames} frames"
    return None


def read_scores(path: Path, records: Sequence[VideoRecord], stride: int) -> ScoreFile:
    """Read and check a score file against the annotated videos.

    Raises:
        DatasetError: the file is something else; or every video whose scores are no numbers, too few or too many.
    """
    try:
        scores: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_unique)
        if not isinstance(scores, dict):
            raise ValueError("not an object of video -> scores")
    except (OSError, ValueError) as exc:
        raise DatasetError(f"{path} cannot be read as a score file: {exc}") from exc
    names = {r.video_id for r in records}
    scored = [(r, scores[r.video_id]) for r in records if r.video_id in scores]
    problems = [f"{r.video_id} {p}" for r, values in scored if (p := _problem(values, r.n_frames, stride))]
    if problems:
        raise DatasetError(f"{path}: {len(problems)} videos cannot be evaluated: {list_problems(problems)}")
    if not scored:
        raise DatasetError(f"{path} has scores of none of the {len(names)} annotated videos: is it of this data set?")
    videos = [ScoredVideo(r, strides(r.n_frames, stride), np.array(values, np.float64)) for r, values in scored]
    return ScoreFile(tuple(videos), tuple(sorted(names - scores.keys())), tuple(sorted(scores.keys() - names)))
