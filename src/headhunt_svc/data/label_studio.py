"""Reads exports of Label Studio 1 (JSON and JSON-MIN): regions of TimelineLabels and VideoRectangle.

Label Studio numbers frames from 1 and counts the end of a range in. It counts frames at the frameRate of its Video tag
(24 by default), whatever the rate of the file: where they differ, dataset.export.fps says the former. A rectangle is
there from a keyframe that is enabled to the next keyframe, or to framesCount; a keyframe that is not enabled stands for
its own frame. The split of a task is the field `split` of its data. Tasks without a submitted annotation, and skipped
ones, are left out.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Annotated, Any
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from headhunt_svc.data.exports import ExportedVideo, Region, export_rows
from headhunt_svc.params import ExportParams
from headhunt_svc.storage.json_text import check_depth
from headhunt_svc.storage.rows import RowFile
from headhunt_svc.video.files import SUFFIXES

MOST_FPS = 1000.0
SPACE = re.compile(r"\s*")
UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")  # what Label Studio puts in front of the names of uploaded files


class _Loose(BaseModel):
    """A part of an export, of which only some fields are read."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Range(_Loose):
    start: Annotated[int, Field(ge=1)]
    end: int

    @model_validator(mode="after")
    def _in_order(self) -> "_Range":
        if self.end < self.start:
            raise ValueError(f"a range from {self.start} to {self.end}")
        return self


class _Keyframe(_Loose):
    frame: Annotated[int, Field(ge=1)]
    enabled: bool


class _Timeline(_Loose):
    ranges: tuple[_Range, ...]
    timelinelabels: tuple[str, ...]

    def regions(self) -> Iterator[Region]:
        for label in self.timelinelabels:
            for r in self.ranges:
                yield Region(label, r.start - 1, r.end)


class _Rectangle(_Loose):
    sequence: tuple[_Keyframe, ...]
    labels: tuple[str, ...]
    frames_count: Annotated[int, Field(ge=1, alias="framesCount")]

    def regions(self) -> Iterator[Region]:
        frames = sorted(self.sequence, key=lambda keyframe: keyframe.frame)
        ends = [*(keyframe.frame - 1 for keyframe in frames[1:]), self.frames_count]
        for label in self.labels:
            for keyframe, end in zip(frames, ends, strict=True):
                yield Region(
                    label, keyframe.frame - 1, max(end, keyframe.frame) if keyframe.enabled else keyframe.frame
                )


class _Result(_Loose):
    type: str
    from_name: str = ""  # a relation has no names and no value
    value: dict[str, Any] = {}


class _Person(_Loose):
    """Who has annotated, where the export says more than a number."""

    email: str = ""
    username: str = ""


Author = int | str | _Person | None


class _Submitted(_Loose):
    result: tuple[_Result, ...]
    was_cancelled: bool = False
    ground_truth: bool = False
    completed_by: Author = None


class _Task(_Loose):
    """A task of the JSON export."""

    id: int | str
    data: dict[str, Any]
    annotations: tuple[_Submitted, ...]


def _values(file: RowFile) -> Iterator[tuple[int, Any]]:
    """The values of a JSON list, with the lines that they begin in; what is no such list is noted in the file."""
    text, decoder = file.text, json.JSONDecoder()
    line, counted = 1, 0

    def line_at(place: int) -> int:
        nonlocal line, counted
        line, counted = line + text.count("\n", counted, place), place
        return line

    place = _behind_space(text, _behind_space(text, 0) + 1)  # behind the bracket
    while text[place : place + 1] != "]":
        begin = line_at(place)
        try:
            value, place = decoder.raw_decode(text, place)
            check_depth(value)
        except (ValueError, RecursionError) as exc:
            file.add(begin, f"this is no JSON ({exc})")
            return
        yield begin, value
        place = _behind_space(text, place)
        if text[place : place + 1] not in (",", "]"):
            file.add(line_at(place), "the list does not go on with a comma or end")
            return
        place = _behind_space(text, place + 1) if text[place] == "," else place
    if text[place + 1 :].strip():
        file.add(line_at(place), "there is more behind the list")


def _behind_space(text: str, place: int) -> int:
    match = SPACE.match(text, place)
    return match.end() if match else place


def _place(address: str) -> str:
    """The path in the address of a video, without what Label Studio put in front of it."""
    path = address
    if "://" in address or address.startswith("/data/"):
        parts = urlsplit(address)
        local = parse_qs(parts.query).get("d") if parts.path.startswith("/data/local-files") else None
        path = local[0] if local else unquote(parts.path)
    folder, _, name = path.strip("/").rpartition("/")
    if "data/upload" in folder:
        return UPLOADED.sub("", name)
    return f"{folder}/{name}" if folder else name


def _video(data: dict[str, Any]) -> str:
    """The path of the video among the data of a task."""
    places = {key: _place(value) for key, value in data.items() if isinstance(value, str)}
    videos = {key: p for key, p in places.items() if PurePosixPath(p).suffix.lower() in SUFFIXES}
    if "video" in videos:
        return videos["video"]
    if len(videos) != 1:
        raise ValueError(f"the data name {len(videos)} videos ({', '.join(videos) or 'no address ends like one'})")
    return next(iter(videos.values()))


def _regions(results: tuple[_Result, ...]) -> tuple[Region, ...]:
    readers: dict[str, type[_Timeline | _Rectangle]] = {"timelinelabels": _Timeline, "videorectangle": _Rectangle}
    values = [readers[r.type].model_validate(r.value) for r in results if r.type in readers]
    return tuple(region for value in values for region in value.regions())


def _texts(value: Any) -> list[str]:
    """What a choice or text area holds: one text or several."""
    return [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]


def _answers(results: tuple[_Result, ...]) -> Iterator[tuple[str, str]]:
    """The choices and texts about the whole video, with the names of their tags."""
    for result in results:
        for name in ("choices", "text") if result.type in ("choices", "textarea") else ():
            yield from ((result.from_name, text) for text in _texts(result.value.get(name)))


def _author(author: Author) -> str | None:
    """A name; of who has only a number in the export, that."""
    if isinstance(author, _Person):
        return author.email or author.username or None
    return f"Label Studio user {author}" if isinstance(author, int) else author or None


def _fps(data: dict[str, Any]) -> float | None:
    """The field `fps` of the data, where they have one: what `frameRate="$fps"` counts by."""
    fps = data.get("fps")
    if not isinstance(fps, int | float) or isinstance(fps, bool) or not 0 < fps <= MOST_FPS:
        return None
    return float(fps)


def _submitted(task: _Task) -> _Submitted | None:
    """The annotation that counts: the only one, or the only one that is the ground truth; None without any."""
    counted = [a for a in task.annotations if not a.was_cancelled]
    if len(counted) > 1:
        truths = [a for a in counted if a.ground_truth]
        if len(truths) != 1:
            raise ValueError(f"it has {len(counted)} annotations: mark one of them as the ground truth")
        return truths[0]
    return counted[0] if counted else None


def _of_json(value: dict[str, Any], line: int) -> ExportedVideo:
    task = _Task.model_validate(value)
    submitted = _submitted(task)
    if submitted is None:
        return replace(_exported(line, task.data, ()), is_finished=False)
    exported = _exported(line, task.data, _regions(submitted.result))
    return replace(exported, answers=tuple(_answers(submitted.result)), author=_author(submitted.completed_by))


def _of_json_min(value: dict[str, Any], line: int) -> ExportedVideo:
    """A task of JSON-MIN: its data, and under the names of the tags what they hold."""
    results = []
    for items in value.values():
        for item in items if isinstance(items, list) else ():
            if isinstance(item, dict) and "timelinelabels" in item:
                results.append(_Result(type="timelinelabels", value=item))
            elif isinstance(item, dict) and "sequence" in item:
                results.append(_Result(type="videorectangle", value=item))
    answers = tuple((name, text) for name, held in value.items() for text in _answers_min(held))
    author = TypeAdapter(Author).validate_python(value.get("annotator"))
    return replace(_exported(line, value, _regions(tuple(results))), answers=answers, author=_author(author))


def _answers_min(value: Any) -> list[str]:
    """The choices or texts that JSON-MIN has under the name of a tag: a text, several, or {"choices": several}."""
    return _texts(value.get("choices")) if isinstance(value, dict) else _texts(value)


def _exported(line: int, data: dict[str, Any], regions: tuple[Region, ...]) -> ExportedVideo:
    place, split = _video(data), data.get("split")
    if split is not None and not isinstance(split, str):
        raise ValueError("the split in its data is no text")
    return ExportedVideo(line, place.rpartition("/")[2], place, split, regions, own_rate=True, fps=_fps(data))


def label_studio_rows(file: RowFile, params: ExportParams) -> Iterator[tuple[int, dict[str, Any]]]:
    """Annotations of the videos, as values of `Annotation`, with their lines; what is wrong is noted in the file."""
    videos = [video for video in label_studio_videos(file) if video.is_finished]
    yield from export_rows(file, videos, (), params, params.fps)


def label_studio_videos(file: RowFile) -> Iterator[ExportedVideo]:
    """The videos of the tasks; what is wrong with a task is noted in the file."""
    for line, value in _values(file):
        in_json = isinstance(value, dict) and {"annotations", "data"} <= value.keys()
        if not in_json and not (isinstance(value, dict) and "annotation_id" in value):
            file.add(line, "this is no task of an export of Label Studio (JSON or JSON-MIN)")
            continue
        try:
            yield _of_json(value, line) if in_json else _of_json_min(value, line)
        except ValidationError as exc:
            file.add(line, exc)
        except ValueError as exc:
            file.add(line, f"task {value.get('id', '?')}: {exc}")
