"""Keeps what people are asked: the questions of a day, or of a camera's window.

sources = Sources(events, Store("data/log"), Path("artifacts/detector"), masks, zone_of)
questions = ask(sources, of_day(datetime.now(UTC), events.settings), datetime.now(UTC))

A question is a stored event of origin `question` with the exact features of its segment, or an event that nobody has
marked. Marking it answers the question. The same day has the same questions, also after a restart; where there are
fewer than the setting says, later ones are added.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headhunt_svc.errors import ArtifactError, ConfigError
from headhunt_svc.events.features import EventFeatures
from headhunt_svc.events.records import QUESTION, EventRecord, EventState, NewEvent, TimeBasis, Utc
from headhunt_svc.events.store import EventStore, NoSuchEventError
from headhunt_svc.feedback.candidates import Sources, Span, gather
from headhunt_svc.feedback.question_pictures import picture_of
from headhunt_svc.feedback.questions import Asked, Candidate, Chosen, Reason, choose
from headhunt_svc.sections import first_problem
from headhunt_svc.settings import EventSettings
from headhunt_svc.storage.files import read_json, write_json
from headhunt_svc.storage.locks import exclusive

FOLDER = "questions"  # in the folder of events
LOOK_BACK = timedelta(days=1)
LOOK_AGAIN = timedelta(minutes=10)  # where there were fewer questions than the setting says
OF_WINDOW = 20  # questions about one camera whose verdict has changed
_NAME = re.compile(r"\d{4}-\d\d-\d\d|[0-9a-f]{16}")
ANSWERED = (EventState.FALSE_ALARM, EventState.CONFIRMED)


@dataclass(frozen=True, slots=True)
class Ask:
    """What to ask about: segments of all cameras, or of one, between two times. each: of a camera, for a reason."""

    name: str
    since: datetime
    until: datetime
    most: int
    each: int
    camera: str | None = None


class StoredQuestion(BaseModel):
    """A question: the event that it is about, why it is asked, and that in words."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event_id: str
    reason: Reason
    words: str


class QuestionSet(BaseModel):
    """The questions of one name. looked: when. left_out: how many segments could not be asked about, by reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = Field(1, ge=1, le=1)
    name: str
    camera: str | None
    since: Utc
    until: Utc
    looked: Utc
    questions: tuple[StoredQuestion, ...]
    left_out: dict[str, int]


@dataclass(frozen=True, slots=True)
class Question:
    """A stored question with its event as it is now."""

    stored: StoredQuestion
    event: EventRecord

    @property
    def is_open(self) -> bool:
        """Has nobody answered it?"""
        return self.event.state == EventState.NEW

    @property
    def is_answered(self) -> bool:
        """Does the answer count as a mark? One that was seen and cannot be told does not."""
        return self.event.state in ANSWERED


@dataclass(frozen=True, slots=True)
class Questions:
    """The questions of a set in their order."""

    set: QuestionSet
    questions: tuple[Question, ...]

    @property
    def open(self) -> tuple[Question, ...]:
        """Those that nobody has answered."""
        return tuple(question for question in self.questions if question.is_open)

    @property
    def answered(self) -> tuple[Question, ...]:
        """Those whose answers count as marks."""
        return tuple(question for question in self.questions if question.is_answered)


def of_day(now: datetime, settings: EventSettings) -> Ask:
    """The questions of today: about the last 24 hours, at most one a camera and reason."""
    day = now.astimezone(ZoneInfo(settings.time_zone)).date()
    return Ask(day.isoformat(), now - LOOK_BACK, now, settings.questions, 1)


def of_window(camera: str, since: datetime, until: datetime, most: int = OF_WINDOW) -> Ask:
    """Questions about one camera between two times. Raises ConfigError: the times are not in order."""
    if not since < until:
        raise ConfigError(f"questions: {since.isoformat()} is not before {until.isoformat()}")
    text = json.dumps([camera, since.astimezone(UTC).isoformat(), until.astimezone(UTC).isoformat()])
    return Ask(hashlib.sha256(text.encode()).hexdigest()[:16], since, until, most, most, camera)


def ask(sources: Sources, request: Ask, now: datetime) -> Questions:
    """The questions: those that were asked, and where these are fewer than `most`, new ones.

    Raises:
        ArtifactError: the bundle, or the file of the questions, cannot be read. UnreachableError, OutputError: the log
        or the events do not answer, or something cannot be written.
    """
    with exclusive(_path(sources.events, request.name).with_name(".lock")):
        before = load_questions(sources.events, request.name)
        if before is not None:
            is_full = len(before.questions) >= request.most
            if is_full or timedelta(0) <= now - before.set.looked < LOOK_AGAIN:
                return before
        stored = () if before is None else tuple(question.stored for question in before.questions)
        questions = () if before is None else before.questions
        recent = [Asked(q.event.camera, q.stored.reason, q.event.start) for q in questions]
        span = Span(request.since, request.until, request.camera)
        gathered = gather(sources, span, request.each, recent, now)
        chosen = choose(gathered.candidates, request.most, request.each, recent)
        new = tuple(_store(sources, request.name, one) for one in chosen)
        document = QuestionSet(
            schema_version=1,
            name=request.name,
            camera=request.camera,
            since=request.since if before is None else min(before.set.since, request.since),
            until=request.until,
            looked=now,
            questions=stored + new,
            left_out=dict(gathered.left_out),
        )
        write_json(_path(sources.events, request.name), document.model_dump(mode="json"))
    loaded = load_questions(sources.events, request.name)
    assert loaded is not None
    return loaded


def load_questions(events: EventStore, name: str) -> Questions | None:
    """The questions of this name; None where none were asked. Those whose events were deleted are left out.

    Raises:
        ArtifactError: the file cannot be read. ConfigError: no name of questions. UnreachableError.
    """
    path = _path(events, name)
    if not path.is_file():
        return None
    try:
        stored = QuestionSet.model_validate(read_json(path, "headhunt events questions"))
    except ValidationError as exc:
        raise ArtifactError(f"{path} holds no questions ({first_problem(exc)}): delete it, then ask again") from exc
    questions = []
    for question in stored.questions:
        try:
            questions.append(Question(question, events.get(question.event_id)))
        except NoSuchEventError:
            continue
    return Questions(stored, tuple(questions))


def _path(events: EventStore, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no name of questions: a day such as 2026-03-01, or 16 hex digits")
    return events.settings.folder / FOLDER / f"{name}.json"


def _store(sources: Sources, name: str, chosen: Chosen) -> StoredQuestion:
    """Store a question as an event, unless it is about one; the event's files come with it."""
    candidate, words = chosen.candidate, in_words(chosen)
    if candidate.event_id is not None:
        return StoredQuestion(event_id=candidate.event_id, reason=chosen.reason, words=words)
    assert candidate.features is not None
    key = json.dumps([name, candidate.camera, candidate.video_id, candidate.start.isoformat(), candidate.detector_id])
    picture = picture_of(candidate, sources.masks(candidate.camera))
    record = sources.events.add(
        NewEvent(
            camera=candidate.camera,
            video_id=candidate.video_id,
            start=candidate.start,
            stop=candidate.stop,
            peak=candidate.start,
            time_basis=TimeBasis.STREAM,
            time_zone=sources.zone_of(candidate.camera),
            score=min(max(candidate.score, 0.0), 1.0),
            threshold=candidate.threshold,
            detector_id=candidate.detector_id,
            contributions=candidate.contributions,
            origin=QUESTION,
            key=hashlib.sha256(key.encode()).hexdigest()[:40],
            source=candidate.source,
            start_s=candidate.start_s,
        ),
        merge_s=None,
        picture=picture,
        features=_features(candidate),
    )
    return StoredQuestion(event_id=record.id, reason=chosen.reason, words=words)


def _features(candidate: Candidate) -> EventFeatures:
    """The features of one segment, without normal ones beside it."""
    assert candidate.features is not None
    values = np.asarray(candidate.features, np.float32)[None]
    nothing = np.empty(0, np.float64)
    return EventFeatures(
        candidate.detector_id,
        candidate.heads,
        values,
        np.array([candidate.start_s or 0.0]),
        np.array([candidate.score if candidate.raw is None else candidate.raw]),
        values[:0],
        nothing,
        nothing,
        candidate.features_id,
    )


def in_words(chosen: Chosen) -> str:
    """Why it is asked."""
    candidate = chosen.candidate
    match chosen.reason:
        case "uncertain":
            return f"its score {candidate.score:.2f} is close to the threshold {candidate.threshold:.2f}"
        case "new":
            return f"its distance to what is normal for this camera is {candidate.distance:.1f} times a usual one"
        case "disagreeing":
            above = sum(score > candidate.threshold for score in candidate.prompts)
            return f"{above} of {len(candidate.prompts)} ways to ask the model put it above the threshold"
