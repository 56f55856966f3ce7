"""Events as annotation tools show them: the clip, and which of its frames the event covers."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from headhunt_svc.core.frame_times import FrameTimes
from headhunt_svc.data.exports import joined
from headhunt_svc.errors import VideoError
from headhunt_svc.events.opening import opened
from headhunt_svc.events.records import EventRecord, Spans
from headhunt_svc.events.store import EventStore, NoSuchEventError
from headhunt_svc.video.files import read_times

EVENT = "event"  # the label of a region
STATE, NOTE = "state", "note"  # the fields of an answer
UNANSWERED = "unanswered"
EVENT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SLACK = 0.05  # share of a frame by which a time may miss a frame: containers round


@dataclass(frozen=True, slots=True)
class ShownEvent:
    """An event that has a clip. happened: when, by the last mark, or else by the detector. times: of the clip."""

    event: EventRecord
    path: Path
    happened: Spans
    times: FrameTimes
    width: int
    height: int

    @property
    def name(self) -> str:
        """The file name of the clip by which an answer is known: the event's id and an ending."""
        return self.path.name

    def frames(self, times: FrameTimes) -> list[tuple[int, int]]:
        """What happened, in half-open frames as `times` counts them; empty where it is unknown when the clip begins."""
        begins = self.event.clip_start
        return [] if begins is None else frames_of(self.happened, begins, times)


def frames_of(spans: Spans, begins: datetime, times: FrameTimes) -> list[tuple[int, int]]:
    """The half-open frames of a clip that begins at this time, as far as it shows these spans; at least one each."""
    inside = []
    for span in spans:
        start_s, stop_s = ((time - begins).total_seconds() for time in span)
        if start_s < times.stop_s and stop_s > 0:
            edges = np.searchsorted(times.seconds, np.array([start_s, stop_s]) - _SLACK / times.fps).tolist()
            start = min(edges[0], len(times) - 1)
            inside.append((start, max(edges[1], start + 1)))
    return joined(inside)


def spans_of(frames: Sequence[tuple[int, int]], begins: datetime, times: FrameTimes) -> Spans:
    """The same the other way round. Raises ValueError: a frame is behind the end of the clip."""
    edges = [*times.seconds.tolist(), times.stop_s]
    if late := [start for start, _ in frames if start >= len(times)]:
        raise ValueError(f"frame {late[0]} is behind the end of the clip, which has {len(times)}")
    return tuple(
        (begins + timedelta(seconds=edges[start]), begins + timedelta(seconds=edges[min(stop, len(times))]))
        for start, stop in frames
    )


def counted_at(times: FrameTimes, fps: float) -> FrameTimes:
    """The frames of a tool that counts at a rate, whatever the times in the file."""
    return FrameTimes.at_rate(max(round(times.stop_s * fps), 1), fps)


def happened(store: EventStore, event: EventRecord) -> Spans:
    """When the event happened, by the last mark, or else by the detector; nothing while it goes on."""
    marks = store.marks(event.id)
    if marks and marks[-1].spans is not None:
        return marks[-1].spans
    return () if event.stop is None else ((event.start, event.stop),)


def shown_events(store: EventStore, events: Sequence[EventRecord], left_out: list[str]) -> Iterator[ShownEvent]:
    """The events that a tool can show; of the others, the reason is added to left_out."""
    for event in events:
        try:
            path = store.clip(event.id)
            if event.stop is None:
                left_out.append(f"{event.id}: it goes on")
            elif path is None or not path.is_file():
                left_out.append(f"{event.id}: it has no clip")
            else:
                yield _shown(store, event, path)
        except NoSuchEventError:
            left_out.append(f"{event.id}: it was deleted, or made a part of another event, meanwhile")
        except VideoError as exc:
            left_out.append(f"{event.id}: {exc}")


def _shown(store: EventStore, event: EventRecord, path: Path) -> ShownEvent:
    times, _ = read_times(path)
    with opened(path) as (_, pictures):
        width, height = pictures.width, pictures.height
    return ShownEvent(event, path, happened(store, event), times, width, height)
