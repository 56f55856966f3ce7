"""What exports of annotation tools have in common: from regions of frames with labels to annotations of videos.

A region's label is a kind of anomaly, unless it is `normal` or dataset.export.labels names others. Overlapping regions
become one span. A video without such a region is normal. Which tools are read: cvat.py and label_studio.py.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from headhunt_svc.names import tell_apart
from headhunt_svc.params import ExportParams
from headhunt_svc.storage.rows import RowFile
from headhunt_svc.types import KIND_SEPARATOR, NORMAL, Split

SPLITS: dict[str, Split] = {
    "calibration": "calibration",
    "train": "calibration",
    "training": "calibration",
    "validation": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
    "hard": "hard",
}


class Region(NamedTuple):
    """Frames start (included, from 0) to stop (excluded) with a label."""

    label: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class ExportedVideo:
    """A video of an export, and the line that it begins in.

    place: the name with the folders that the export knows, to tell videos of one name apart. split: as the export has
    it, None for none. n_frames: its length, where the export states it. own_rate: the tool counted frames at a rate of
    its own, which is `fps` where the export states it.
    answers: what is said about the whole video: choices, texts, tags and attributes, as pairs (field, value). author:
    who says so. is_finished: has somebody submitted it?
    """

    line: int
    name: str
    place: str
    split: str | None
    regions: tuple[Region, ...]
    n_frames: int | None = None
    own_rate: bool = False
    fps: float | None = None
    answers: tuple[tuple[str, str], ...] = ()
    author: str | None = None
    is_finished: bool = True


def joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order, those that touch or overlap as one."""
    result: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(stop, result[-1][1]))
        else:
            result.append((start, stop))
    return result


def _split(video: ExportedVideo, default: Split | None) -> Split:
    split = default if video.split is None else SPLITS.get(video.split.strip().lower())
    if split is None and video.split is None:
        raise ValueError(f"{video.name} is in no split: say one in the annotation tool, or set dataset.export.split")
    if split is None:
        raise ValueError(f"{video.name} is in split {video.split!r}, expected one of {', '.join(SPLITS)}")
    return split


def _anomalies(video: ExportedVideo, labels: Sequence[str]) -> list[Region]:
    named = [r for r in video.regions if r.label in labels] if labels else list(video.regions)
    return [r for r in named if r.label.lower() != NORMAL]


def export_rows(
    file: RowFile,
    videos: Sequence[ExportedVideo],
    declared: Iterable[str],
    params: ExportParams,
    fps: float | None = None,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Annotations of the videos, as values of `Annotation`, with their lines; what is wrong is noted in the file.

    declared: the labels that the export lists. fps: the rate at which the tool counted the frames, None for the rate of
    the videos themselves.
    """
    labels = {*declared, *(r.label for v in videos for r in v.regions)}
    if params.labels and labels and not labels & set(params.labels):
        of_params, of_file = ", ".join(params.labels), ", ".join(sorted(labels))
        file.add(1, f"none of dataset.export.labels ({of_params}) is in it; there are: {of_file}")
        return
    places = list({v.place: v for v in videos}.values())
    ids = dict(zip((v.place for v in places), tell_apart([(v.name, v.place) for v in places]), strict=True))
    for video in videos:
        try:
            split = _split(video, params.split)
        except ValueError as exc:
            file.add(video.line, exc)
            continue
        regions = _anomalies(video, params.labels)
        spans = joined((r.start, r.stop) for r in regions)
        yield (
            video.line,
            {
                "video": ids[video.place],
                "split": split,
                "label": KIND_SEPARATOR.join(sorted({r.label for r in regions})) or NORMAL,
                "spans": [(start / fps, stop / fps) for start, stop in spans] if fps else spans,
                "unit": "seconds" if fps else "frames",
                "n_frames": video.n_frames,
            },
        )
