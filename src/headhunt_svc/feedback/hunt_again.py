"""hunt-again: the clips of marked events as a versioned data set, so that `dvc repro` hunts heads anew with them.

A confirmed event says which frames of its clip are anomalous, a false alarm that none is. A clip also shows what was
before and behind the event: events of the same camera there count by their own marks, and a clip that shows an event
which nobody has judged is left out, as its truth is not known. Test videos stay out.
"""

import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

from headhunt_svc.data.datasets import load_index
from headhunt_svc.data.exports import joined
from headhunt_svc.data.marks import CLIPS, MarkedClip, Marks, save_marks
from headhunt_svc.errors import OutputError, VideoError
from headhunt_svc.events.export import all_events
from headhunt_svc.events.media import copy_if_there
from headhunt_svc.events.records import EventFilter, EventRecord, EventState, Origin, Spans
from headhunt_svc.events.shown import ShownEvent, frames_of, happened, shown_events
from headhunt_svc.events.store import EventStore, NoSuchEventError
from headhunt_svc.names import path_of
from headhunt_svc.params import SegmentationParams
from headhunt_svc.storage.files import sha256
from headhunt_svc.storage.locks import sole_writer
from headhunt_svc.video.opening import open_video

_ALARMS = frozenset(get_args(Origin)) - {"question"}  # the detector raised none for a segment that it asks about
_DECODED = SegmentationParams(length_frames=1, frames_per_segment=1)  # every picture of a clip is decoded


@dataclass(frozen=True, slots=True)
class MarkedSet:
    """What was written, and why marked events are left out."""

    marks: Marks
    left_out: tuple[str, ...]


def export_marks(store: EventStore, which: EventFilter, out: Path, index: Path) -> MarkedSet:
    """Write the clips of confirmed events and false alarms into a folder; those that it held before and no longer go.

    index: of the project, whose test videos stay out; it may be missing.

    Raises:
        ArtifactError: the index is damaged. UnreachableError: see EventStore.
        OutputError: it cannot be written, or another process writes there.
    """
    with sole_writer(out):
        events = list(all_events(store, which))
        marked = [e for e in events if e.state in (EventState.CONFIRMED, EventState.FALSE_ALARM)]
        left_out: list[str] = []
        truth = _Truth(store, events if which == EventFilter() else list(all_events(store, EventFilter())))
        tests = _test_videos(index)
        clips: dict[str, list[MarkedClip]] = defaultdict(list)
        for shown in shown_events(store, marked, left_out):
            try:
                clip = _marked_clip(shown, truth, tests)
                if not (out / clip.video).exists():
                    _check_decodes(shown, clip)
                    if not copy_if_there(shown.path, out / clip.video):
                        raise FileNotFoundError(shown.path)
                clips[clip.video].append(clip)
            except (_LeftOutError, VideoError) as exc:
                left_out.append(f"{shown.event.id}: {exc}")
            except (NoSuchEventError, FileNotFoundError):
                left_out.append(f"{shown.event.id}: it, or an event that its clip shows, too, was deleted meanwhile")
        kept = list(_agreed(clips, left_out))
        marks = save_marks(out, kept)
        names = {clip.video for clip in kept}
        for path in (out / CLIPS).glob("*"):
            if f"{CLIPS}/{path.name}" not in names:
                path.unlink()
    return MarkedSet(marks, tuple(left_out))


class _LeftOutError(Exception):
    """Why an event is no part of the data set."""


class _Truth:
    """What is known about every moment of every camera: confirmed spans, and events that nobody has judged."""

    def __init__(self, store: EventStore, events: Iterable[EventRecord]) -> None:
        self._by_camera: dict[str, list[EventRecord]] = defaultdict(list)
        for event in events:
            self._by_camera[event.camera].append(event)
        self._store = store

    def within(self, shown: ShownEvent) -> Iterator[EventRecord]:
        """The events of the camera that the clip shows, or may show as they go on."""
        begins = shown.event.clip_start
        assert begins is not None
        ends = begins + timedelta(seconds=shown.times.stop_s)
        for event in self._by_camera[shown.event.camera]:
            if event.start < ends and (event.stop is None or event.stop > begins):
                yield event

    def confirmed(self, event: EventRecord) -> Spans:
        """When a confirmed event happened."""
        return happened(self._store, event)


def _test_videos(index: Path) -> set[Path]:
    """The files that are only measured on."""
    if not index.exists():
        return set()
    return {v.path.resolve() for v in load_index(index) if v.split in ("test", "hard")}


def _marked_clip(shown: ShownEvent, truth: _Truth, tests: set[Path]) -> MarkedClip:
    event = shown.event
    if event.clip_start is None:
        raise _LeftOutError("it is not known when its clip begins")
    if event.source is not None and path_of(event.source).resolve() in tests:
        raise _LeftOutError(f"{event.source} is a test video of this project, which is only measured on")
    frames: list[tuple[int, int]] = []
    for other in truth.within(shown):
        if other.state == EventState.CONFIRMED:
            frames += frames_of(truth.confirmed(other), event.clip_start, shown.times)
        elif other.state != EventState.FALSE_ALARM and other.origin in _ALARMS:
            raise _LeftOutError(f"its clip shows the event {other.id}, too, which nobody has judged")
    if event.state == EventState.CONFIRMED and not frames:
        raise _LeftOutError("its clip does not show when it happened")
    digest = sha256(shown.path)
    return MarkedClip(
        video=f"{CLIPS}/{digest[:16]}{shown.path.suffix}",
        sha256=digest,
        camera=event.camera,
        events=(event.id,),
        spans=tuple(joined(frames)),
        n_frames=len(shown.times),
    )


def _check_decodes(shown: ShownEvent, clip: MarkedClip) -> None:
    """Raise VideoError or _LeftOutError for a clip that `extract` would refuse."""
    with open_video(shown.path) as video:
        for _ in video.segments(_DECODED):
            pass
        if video.gaps or video.n_frames != clip.n_frames:
            raise _LeftOutError(f"{video.n_frames} of {clip.n_frames} pictures of its clip can be decoded")


def _agreed(clips: Mapping[str, Sequence[MarkedClip]], left_out: list[str]) -> Iterator[MarkedClip]:
    """One entry for each clip; events that share a clip must say the same about it."""
    for same in clips.values():
        events = tuple(sorted(event for clip in same for event in clip.events))
        if len({(clip.spans, clip.camera) for clip in same}) > 1:
            left_out.append(f"{', '.join(events)}: they have the same clip, and are marked differently")
        else:
            yield same[0].model_copy(update={"events": events})


def track_with_dvc(folder: Path) -> bool:
    """Keep this version in DVC's cache (`dvc add`); False where the project is none of DVC, or DVC is not installed.

    Raises:
        OutputError: DVC refuses.
    """
    if not Path(".dvc").is_dir() or find_spec("dvc") is None:
        return False
    done = subprocess.run([sys.executable, "-m", "dvc", "add", "--quiet", str(folder)], capture_output=True, text=True)
    if done.returncode != 0:
        raise OutputError(f"`dvc add {folder}` failed: {' '.join(done.stderr.split())}")
    return True
