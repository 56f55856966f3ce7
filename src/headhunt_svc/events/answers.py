"""Reads what people have answered about events in Label Studio or CVAT, and marks the events.

An answer is `confirmed` or `false_alarm`: as the choice or attribute `state`, or as the label of a region or tag. The
regions of a confirmed event say when it happened; where they are not those of the event, they correct it. What is not
clear is named and left out: unknown events, tasks that nobody has finished, two answers about one event.
"""

import getpass
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from headhunt_svc.data.cvat import cvat_videos
from headhunt_svc.data.datasets import annotation_files
from headhunt_svc.data.exports import ExportedVideo, joined
from headhunt_svc.data.label_studio import label_studio_videos
from headhunt_svc.errors import ConfigError, DatasetError, VideoError, list_problems
from headhunt_svc.events.records import EventRecord, EventState, Spans
from headhunt_svc.events.rows import checked_words
from headhunt_svc.events.shown import EVENT_ID, NOTE, STATE, counted_at, frames_of, happened, spans_of
from headhunt_svc.events.store import AUDIT, EventStore, NoSuchEventError
from headhunt_svc.storage.audit import audit
from headhunt_svc.storage.files import sha256
from headhunt_svc.storage.rows import RowFile
from headhunt_svc.types import NORMAL
from headhunt_svc.video.files import read_times

MOST_BYTES = 2**28
_STATES = (EventState.CONFIRMED, EventState.FALSE_ALARM)


class UnclearError(ValueError):
    """Why an answer cannot be taken over."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody says about an event. note: None where they say nothing. spans: None where they corrected none."""

    event_id: str
    state: EventState
    note: str | None
    by: str
    spans: Spans | None


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import has done: events that were marked, how many were so before, and why others are left out."""

    marked: tuple[str, ...]
    unchanged: int
    left_out: tuple[str, ...]


def import_answers(store: EventStore, path: Path, by: str | None = None, strict: bool = False) -> Imported:
    """Mark events as a file says that Label Studio (.json) or CVAT (.xml, or a folder of such files) has exported.

    by: who has answered, where the file does not say it; by default the user of this machine. strict: nothing is
    changed unless all is clear.

    Raises:
        DatasetError: the file cannot be read or holds no task; or, if strict, something is not clear.
        OutputError, UnreachableError: see EventStore.
    """
    files = [_file(one) for one in annotation_files(path)]
    videos = [video for file in files for video in _videos(file)]
    left_out = [f"{path.name}: {problem}" for file in files for problem in file.problems]
    if not videos:
        raise DatasetError(list_problems(left_out) if left_out else f"{path} holds no task of a video")
    answers, unchanged = _clear(store, videos, by or getpass.getuser(), left_out)
    if strict and left_out:
        raise DatasetError(f"nothing is changed: {list_problems(left_out, 20)}")
    if answers:
        digest, counts = sha256(*annotation_files(path)), {"marks": len(answers), "left_out": len(left_out)}
        record = {"what": "import", "file": path.name, "sha256": digest}
        audit(store.settings.folder / AUDIT, **record, **{name: str(n) for name, n in counts.items()})
    marked = []
    for answer in answers:
        try:
            store.mark(answer.event_id, answer.state, answer.by, answer.note, answer.spans)
            marked.append(answer.event_id)
        except NoSuchEventError as exc:  # deleted meanwhile
            left_out.append(str(exc))
    return Imported(tuple(marked), unchanged, tuple(left_out))


def _file(path: Path) -> RowFile:
    try:
        size = path.stat().st_size
    except OSError as exc:
        raise DatasetError(f"{path} cannot be read ({exc.strerror}): give an export of Label Studio or CVAT") from exc
    if size > MOST_BYTES:
        raise DatasetError(f"{path} has {size} bytes, more than {MOST_BYTES}: export fewer tasks at once")
    return RowFile(path, "give an export of Label Studio or CVAT")


def _videos(file: RowFile) -> Iterator[ExportedVideo]:
    beginning = file.text.lstrip()[:1]
    if beginning not in ("<", "["):
        raise DatasetError(f"{file.path} is neither JSON of Label Studio nor XML of CVAT")
    yield from cvat_videos(file) if beginning == "<" else label_studio_videos(file)


def _clear(
    store: EventStore, videos: Iterable[ExportedVideo], by: str, left_out: list[str]
) -> tuple[list[Answer], int]:
    """The answers that change something, and how many change nothing; of the others, the reason joins left_out."""
    answers: dict[str, Answer | None] = {}
    contradicted = set()
    for video in videos:
        try:
            event = _event(store, video)
            answer = _answer(store, event, video, by)
        except (UnclearError, NoSuchEventError) as exc:
            left_out.append(f"{video.name}: {exc}")
            continue
        if event.id in answers and answers[event.id] != answer:
            contradicted.add(event.id)
        answers[event.id] = answer
    left_out += [f"{event_id}: answered twice, and not the same" for event_id in sorted(contradicted)]
    clear = [answer for event_id, answer in answers.items() if event_id not in contradicted]
    changing = [answer for answer in clear if answer is not None]
    return changing, len(clear) - len(changing)


def _event(store: EventStore, video: ExportedVideo) -> EventRecord:
    event_id = PurePosixPath(video.name).stem
    if not EVENT_ID.fullmatch(event_id):
        raise UnclearError("this is no clip of an event, whose name would be the event's id")
    return store.get(event_id)


def _answer(store: EventStore, event: EventRecord, video: ExportedVideo, by: str) -> Answer | None:
    """What the answer changes, None for nothing. Raises UnclearError."""
    if not video.is_finished:
        raise UnclearError("nobody has submitted the task")
    labels = [*(value for field, value in video.answers if field == STATE), *(r.label for r in video.regions)]
    states = [state for state in _STATES if state in labels]
    if len(states) != 1:
        raise UnclearError("it is answered as confirmed and as false alarm" if states else "it is not answered")
    notes = list(dict.fromkeys(text.strip() for field, text in video.answers if field == NOTE))
    note = "\n".join(filter(None, notes)) if notes else None
    author = by if video.author is None else f"{video.author}, imported by {by}"
    try:
        note, author = checked_words(note, author)
    except ConfigError as exc:
        raise UnclearError(str(exc)) from exc
    spans = _spans(store, event, video) if states[0] == EventState.CONFIRMED else None
    if spans is None and states[0] == event.state and note in (None, event.note.strip()):
        return None
    return Answer(event.id, states[0], note, author, spans)


def _spans(store: EventStore, event: EventRecord, video: ExportedVideo) -> Spans | None:
    """When the event happened, where that differs from what is stored. Raises UnclearError."""
    regions = joined((r.start, r.stop) for r in video.regions if r.label.lower() != NORMAL)
    path = store.clip(event.id)
    if path is None or event.clip_start is None:
        if regions:
            raise UnclearError("its spans have no times: it is not known when its clip begins, or the clip is deleted")
        return None
    if not regions:
        raise UnclearError("it is confirmed, but no span is left")
    if video.own_rate and video.fps is None:
        raise UnclearError("its spans have no times: the data of the task have no fps")
    try:
        times, _ = read_times(path)
        times = times if video.fps is None else counted_at(times, video.fps)
        if regions == frames_of(happened(store, event), event.clip_start, times):
            return None
        return spans_of(regions, event.clip_start, times)
    except (VideoError, ValueError) as exc:
        raise UnclearError(f"its spans have no times: {exc}") from exc
