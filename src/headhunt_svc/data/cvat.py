"""Reads exports of CVAT 2, of video tasks or projects of them: "CVAT for video 1.1", "CVAT for images 1.1" for tags.

In both, frames are numbers of the video's own frames from 0, also where a task has a start_frame or a frame step; the
export of a project adds the lengths of the tasks before it in the same subset. A track is there from a shape to the
next one, unless that shape is `outside`; the last shape stands for its own frame, as CVAT lists all frames of a track.
Under a frame step, a frame stands for those up to the next one, and the last one for itself. Tags are in the format for
images only: a tag or a shape of an image stands for its frame.

A document type is refused: no entity can be declared without one, and CVAT writes none.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from headhunt_svc.data.exports import ExportedVideo, Region, export_rows, joined
from headhunt_svc.params import ExportParams
from headhunt_svc.storage.rows import RowFile

UNSET = "default"  # what CVAT writes for a task without a subset


@dataclass(slots=True)
class _Task:
    """A task of the export; its frames in the export are `offset` more than those of the video."""

    line: int
    fields: dict[str, str] = field(default_factory=dict)
    start: int = 0
    stop: int = 0
    size: int = 0
    step: int = 1
    offset: int = 0
    regions: list[Region] = field(default_factory=list)
    answers: dict[tuple[str, str], None] = field(default_factory=dict)  # each once
    people: dict[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Read the numbers of the fields. Raises ValueError."""
        name = self.fields.get("name", self.fields.get("id", "?"))
        if not self.fields.get("source"):
            raise ValueError(f"task {name!r} names no video (source): export a video task or a project, not a job")
        try:
            self.start, self.stop, self.size = (int(self.fields[n]) for n in ("start_frame", "stop_frame", "size"))
            self.step = int(self.fields.get("frame_filter", "").removeprefix("step=") or 1)
        except (KeyError, ValueError) as exc:
            raise ValueError(f"task {name!r}: start_frame, stop_frame, size or frame_filter is no number") from exc
        if not 0 <= self.start <= self.stop or self.step < 1:
            raise ValueError(f"task {name!r}: frames {self.start} to {self.stop}, step {self.step}")

    @property
    def source(self) -> str:
        """The name of the video, with its folders where the task is named by the whole path."""
        source, name = self.fields["source"], self.fields.get("name", "").strip().lstrip("/")
        return name if name.endswith(f"/{source}") else source

    @property
    def split(self) -> str | None:
        """The subset, None for none."""
        subset = self.fields.get("subset", "")
        return None if subset.lower() in ("", UNSET) else subset

    def add(self, label: str, first: int, following: int | None) -> None:
        """Add a region from a frame of the export to before the following one, None for the frame alone."""
        start = first - self.offset
        if not self.start <= start <= self.stop:
            raise ValueError(f"frame {first} is not in its task, frames {self.start} to {self.stop} from {self.offset}")
        stop = start + self.step if following is None else following - self.offset
        self.regions.append(Region(label, start, min(stop, self.stop + 1)))


@dataclass(slots=True)
class _Shape:
    """A shape of a track: is the object in the picture from this frame on?"""

    line: int
    frame: str
    outside: bool
    parts: list[bool] = field(default_factory=list)  # of a skeleton: is each of its points outside?


@dataclass(slots=True)
class _Mark:
    """A track, or a tag or shape of an image, with the shapes that say where it is."""

    line: int
    label: str
    task: str | None
    shapes: list[_Shape] = field(default_factory=list)
    attributes: dict[tuple[str, str], None] = field(default_factory=dict)  # each once


def _is_outside(attributes: dict[str, str]) -> bool:
    outside = attributes.get("outside", "0")
    if outside not in ("0", "1"):
        raise ValueError(f"outside is {outside!r}, expected 0 or 1")
    return outside == "1"


_TASKS = (["task"], ["job"], ["project", "tasks", "task"])  # where in <meta> a video is described


class _Document:
    """Collects tasks, tracks, tags and labels while expat reads the file."""

    def __init__(self) -> None:
        self.tasks: list[_Task] = []
        self.marks: list[_Mark] = []
        self.labels: set[str] = set()
        self.version = ""
        self._path: list[str] = []
        self._text = ""
        self._image: dict[str, str] = {}
        self._attribute = ""
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters

    def read(self, file: RowFile) -> bool:
        """Read the whole file; what cannot be read is noted in it, and then the answer is no."""
        try:
            self._parser.Parse(file.text, True)
        except expat.ExpatError as exc:
            file.add(exc.lineno, f"this is no XML ({expat.errors.messages[exc.code]})")
        except KeyError as exc:
            file.add(self._parser.CurrentLineNumber, f"<{self._path[-1]}> has no attribute {exc}")
        except ValueError as exc:
            file.add(self._parser.CurrentLineNumber, exc)
        else:
            return True
        return False

    def _refuse(self, *_: object) -> None:
        raise ValueError("a document type is declared, which could hold entities; CVAT writes none")

    def _characters(self, text: str) -> None:
        self._text += text

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        line, path = self._parser.CurrentLineNumber, self._path
        path.append(tag)
        self._text = ""
        if len(path) == 1 and tag != "annotations":
            raise ValueError(f"this is no export of CVAT (it begins with <{tag}>)")
        if len(path) == 2 and tag not in ("version", "meta", "track", "image"):
            raise ValueError(f"<{tag}> is not known in an export of CVAT")
        if path[1:2] == ["meta"]:
            if path[2:] in _TASKS:
                self.tasks.append(_Task(line))
        elif path == ["annotations", "track"]:
            self.marks.append(_Mark(line, attributes["label"], attributes.get("task_id")))
        elif path[:2] == ["annotations", "track"] and len(path) == 3:
            self.marks[-1].shapes.append(_Shape(line, attributes["frame"], _is_outside(attributes)))
        elif path[:2] == ["annotations", "track"] and len(path) == 4 and "outside" in attributes:
            self.marks[-1].shapes[-1].parts.append(_is_outside(attributes))
        elif path[1:2] in (["track"], ["image"]) and path[3:] == ["attribute"]:
            self._attribute = attributes["name"]
        elif path == ["annotations", "image"]:
            self._image = attributes
        elif path[:2] == ["annotations", "image"] and len(path) == 3:
            shape = _Shape(line, self._image["id"], outside=False)
            self.marks.append(_Mark(line, attributes["label"], self._image.get("task_id"), [shape]))

    def _end(self, tag: str) -> None:
        path, text = self._path, self._text.strip()
        if path == ["annotations", "version"]:
            self.version = text
        elif path[1:2] == ["meta"] and path[2:-1] in _TASKS:
            self.tasks[-1].fields[tag] = text
        elif path[1:2] == ["meta"] and path[-3:] == ["labels", "label", "name"]:
            self.labels.add(text)
        elif path[1:2] == ["meta"] and path[-1] == "username" and path[2:-2] in _TASKS:
            self.tasks[-1].people[path[-2]] = text
        elif path[1:2] in (["track"], ["image"]) and path[3:] == ["attribute"]:
            self.marks[-1].attributes[self._attribute, text] = None
        path.pop()
        self._text = ""


def _set_offsets(tasks: Iterable[_Task]) -> None:
    """Where the frames of each task of a project begin."""
    lengths: dict[str, int] = defaultdict(int)
    for task in tasks:
        subset = task.fields.get("subset", "")
        task.offset = lengths[subset]
        lengths[subset] += task.start + task.step * task.size


def _add_regions(mark: _Mark, task: _Task, file: RowFile) -> None:
    """Add to the task what a track or tag covers."""
    try:
        shapes = sorted(((int(s.frame), s) for s in mark.shapes), key=lambda pair: pair[0])
    except ValueError:
        file.add(mark.line, f"{mark.label}: a frame is no number")
        return
    task.answers |= mark.attributes
    following = [*(frame for frame, _ in shapes[1:]), None]
    for (frame, shape), after in zip(shapes, following, strict=False):  # of no shapes, none
        if shape.outside or (shape.parts and all(shape.parts)):
            continue
        try:
            task.add(mark.label, frame, after)
        except ValueError as exc:
            file.add(shape.line, f"{mark.label}: {exc}")


def _videos(tasks: Iterable[_Task], file: RowFile) -> Iterator[ExportedVideo]:
    """One video for each source; tasks of parts of a video together must cover it from its first frame on."""
    by_source: dict[str, list[_Task]] = defaultdict(list)
    for task in tasks:
        by_source[task.source].append(task)
    for source, parts in by_source.items():
        splits = {task.split for task in parts}
        covered = joined((task.start, task.stop + task.step) for task in parts)
        if len(splits) > 1:
            file.add(parts[-1].line, f"the tasks of {source} are in several subsets (a video belongs to one split)")
        elif covered[0][0] > 0 or len(covered) > 1:
            seen = ", ".join(f"{start} to {stop - 1}" for start, stop in covered)
            file.add(parts[-1].line, f"of {source} only frames {seen} are annotated: annotate all from the first on")
        else:
            regions = tuple(region for task in parts for region in task.regions)
            n_frames = max(task.stop for task in parts) + 1 if all(task.step == 1 for task in parts) else None
            name = source.rpartition("/")[2]
            answers = tuple(dict.fromkeys(answer for task in parts for answer in task.answers))
            people = {role: name for task in parts for role, name in task.people.items() if name}
            author = people.get("assignee", people.get("owner"))
            yield ExportedVideo(
                parts[0].line, name, source, parts[0].split, regions, n_frames, answers=answers, author=author
            )


def cvat_rows(file: RowFile, params: ExportParams) -> Iterator[tuple[int, dict[str, Any]]]:
    """Annotations of the videos, as values of `Annotation`, with their lines; what is wrong is noted in the file."""
    document = _Document()
    yield from export_rows(file, list(_document_videos(document, file)), document.labels, params)


def cvat_videos(file: RowFile) -> Iterator[ExportedVideo]:
    """The videos of the tasks; what is wrong is noted in the file."""
    yield from _document_videos(_Document(), file)


def _document_videos(document: _Document, file: RowFile) -> Iterator[ExportedVideo]:
    """The videos of a file that is read into the document."""
    if not document.read(file):
        return
    if document.version != "1.1" or not document.tasks:
        file.add(1, f"version {document.version!r} of the format with {len(document.tasks)} tasks; expected 1.1")
        return
    tasks = []
    for task in document.tasks:
        try:
            task.check()
            tasks.append(task)
        except ValueError as exc:
            file.add(task.line, exc)
    if len(tasks) < len(document.tasks):
        return
    if len(tasks) > 1:
        _set_offsets(tasks)
    by_id = {task.fields.get("id"): task for task in tasks}
    for mark in document.marks:
        owner = by_id.get(mark.task) if len(tasks) > 1 else tasks[0]
        if owner is None:
            file.add(mark.line, f"{mark.label} is of task {mark.task}, which is not in the file")
        else:
            _add_regions(mark, owner, file)
    yield from _videos(tasks, file)
