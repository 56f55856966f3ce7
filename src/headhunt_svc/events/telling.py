"""Puts messages about events into the outbox, in the transaction that stores the event.

teller = Teller(outbox, Media(settings.folder), cameras.get)
store = EventStore.open(settings, changed=teller)
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Literal, Protocol, runtime_checkable

from sqlalchemy.orm import Session

from headhunt_svc.events.media import Media
from headhunt_svc.events.records import EventRecord
from headhunt_svc.events.store import Change
from headhunt_svc.notify.messages import Message, MessageKind
from headhunt_svc.notify.outbox import Outbox
from headhunt_svc.notify.policy import Policy

Phase = Literal["begin", "end"]
_PHASES: dict[Change, Phase] = {"opened": "begin", "closed": "end", "joined": "end"}


@runtime_checkable
class CameraRules(Protocol):
    """Whom a camera's events are told to, and when not."""

    @property
    def notify(self) -> Sequence[str]:
        """Names of channels."""

    @property
    def cooldown_s(self) -> float:
        """After a message that an event has begun, before the next one."""

    def is_quiet(self, time: datetime) -> bool:
        """Is nobody to be disturbed at this time?"""


class Teller:
    """Listens to an EventStore. An event has one message when it begins and one, with the same id, when it has ended.

    One that is over when it is stored has only the first, which then states both times. Events that grow are not told
    again; one that becomes a part of another has ended.
    """

    def __init__(self, outbox: Outbox, media: Media, rules: Callable[[str], CameraRules | None]) -> None:
        """rules: of the camera of this name; None: nobody is told."""
        self._outbox, self._media, self._rules = outbox, media, rules

    def __call__(self, session: Session, event: EventRecord, change: Change) -> None:
        """See EventStore.open."""
        phase = _PHASES.get(change)
        if phase == "end":
            self._outbox.put_end(session, self._message(event, phase, change))
        elif phase == "begin" and (rules := self._rules(event.camera)) is not None:
            policy = Policy(rules.cooldown_s, rules.is_quiet)
            self._outbox.put(session, self._message(event, phase, change), rules.notify, policy)

    def _message(self, event: EventRecord, phase: Phase, change: Change) -> Message:
        text = event.description or ""
        if change == "joined":
            text = "it is a part of another event"
        elif event.interrupted:
            text = "what watches the camera was interrupted while it went on"
        return Message(
            kind=MessageKind.EVENT,
            phase=phase,
            id=event.id,
            camera=event.camera,
            start=event.start,
            stop=event.stop or (event.peak if change == "joined" else None),
            peak=event.peak,
            time_zone=event.time_zone,
            score=event.score,
            threshold=event.threshold,
            text=text,
            picture=self._media.path(event.id, ".jpg").resolve() if event.picture else None,
            link=f"/v1/events/{event.id}",
        )
