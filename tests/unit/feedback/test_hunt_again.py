"""Marks as labelled videos: which clips, with which frames, in which version; and a bundle that learned from them."""

import json
import pkgutil
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from conftest import write_video
from headhunt_svc.data.datasets import load_index, load_records
from headhunt_svc.data.marks import load_marks
from headhunt_svc.errors import DatasetError, OutputError
from headhunt_svc.events.records import EventFilter, EventRecord, EventState
from headhunt_svc.events.store import EventStore
from headhunt_svc.events.tables import EventRow
from headhunt_svc.feedback.hunt_again import MarkedSet, export_marks
from headhunt_svc.params import DatasetParams
from headhunt_svc.pipeline.index import index
from headhunt_svc.settings import EventSettings
from headhunt_svc.storage.locks import sole_writer
from headhunt_svc.types import FrameSpan
from helpers.events import NOON, new

FPS, N = 10, 40
BEGINS = NOON - timedelta(seconds=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    with EventStore.open(EventSettings(folder=tmp_path / "events")) as store:
        yield store


@pytest.fixture
def add(store: EventStore, tmp_path: Path) -> Callable[..., EventRecord]:
    """Stores a marked event with a clip of its own, seconds after noon."""
    count = iter(range(100))

    def added(
        state: EventState, start: float = 0, stop: float | None = 1, clip: Path | None = None, **fields: Any
    ) -> EventRecord:
        i = next(count)
        known = {"video_id": f"{i}.mp4", "key": str(i), "camera": f"camera {i}"}
        event = store.add(new(start, stop, **known | fields), merge_s=None)
        source = clip or write_video(tmp_path / "source" / f"{i}.mp4", N, FPS, size=(64, 32 + 16 * i))
        copied = Path(shutil.copy(source, tmp_path / "copied.mp4"))
        event = store.attach_clip(event.id, copied, BEGINS)
        return event if state == EventState.NEW else store.mark(event.id, state, "anna")

    return added


@pytest.fixture
def export(store: EventStore, tmp_path: Path) -> Callable[..., MarkedSet]:
    def exported(**which: Any) -> MarkedSet:
        return export_marks(store, EventFilter(**which), tmp_path / "marks", tmp_path / "index.parquet")

    return exported


def spans_by_event(marked: MarkedSet) -> dict[tuple[str, ...], tuple[tuple[int, int], ...]]:
    return {clip.events: clip.spans for clip in marked.marks.clips}


def test_a_mark_says_which_frames_are_anomalous(
    store: EventStore, add: Callable[..., EventRecord], export: Callable[..., MarkedSet], tmp_path: Path
) -> None:
    true, false, corrected = (
        add(EventState.CONFIRMED), add(EventState.FALSE_ALARM), add(EventState.CONFIRMED),
    )  # fmt: skip
    add(EventState.NEW)
    spans = ((NOON + timedelta(seconds=2), NOON + timedelta(seconds=9)), (BEGINS, NOON))
    store.mark(corrected.id, EventState.CONFIRMED, "anna", spans=spans)
    done = export()
    assert done.left_out == ()
    assert spans_by_event(done) == {
        (true.id,): ((10, 20),), (false.id,): (), (corrected.id,): ((0, 10), (30, 40)),
    }  # fmt: skip
    names = {clip.video for clip in done.marks.clips}
    assert names == {f"marks/{p.name}" for p in (tmp_path / "marks" / "marks").iterdir()}
    assert load_marks(tmp_path / "marks") == done.marks
    only = export(camera=true.camera)
    assert spans_by_event(only) == {(true.id,): ((10, 20),)}
    assert len(list((tmp_path / "marks" / "marks").iterdir())) == 1


def test_a_version_names_the_marks_and_a_withdrawn_one_is_gone(
    store: EventStore, add: Callable[..., EventRecord], export: Callable[..., MarkedSet], tmp_path: Path
) -> None:
    kept, withdrawn = add(EventState.CONFIRMED), add(EventState.FALSE_ALARM)
    first = export().marks
    store.mark(kept.id, EventState.CONFIRMED, "bo", "a note changes nothing")
    assert export().marks == first
    store.mark(withdrawn.id, EventState.NEW, "anna")
    second = export().marks
    assert [clip.events for clip in second.clips] == [(kept.id,)]
    assert second.version != first.version
    store.mark(withdrawn.id, EventState.FALSE_ALARM, "anna")
    assert export().marks == first
    for event in (kept, withdrawn):
        store.mark(event.id, EventState.NEW, "anna")
    assert export().marks.clips == ()
    assert (tmp_path / "marks" / "annotations.jsonl").read_text() == ""


def test_one_process_at_a_time_writes_the_data_set(
    add: Callable[..., EventRecord], export: Callable[..., MarkedSet], tmp_path: Path
) -> None:
    add(EventState.CONFIRMED)
    done = export()
    with sole_writer(tmp_path / "marks"), pytest.raises(OutputError, match=r"another process writes to .*marks: wait"):
        export(camera="nobody")
    assert load_marks(tmp_path / "marks") == done.marks
    assert not export(camera="nobody").marks.clips
    assert not list((tmp_path / "marks").glob(".*"))  # DVC hashes the folder


@pytest.mark.parametrize("step", ["_marked_clip", "_check_decodes", "copy_if_there", "happened"])
def test_an_event_that_is_deleted_meanwhile_is_left_out(
    store: EventStore,
    add: Callable[..., EventRecord],
    export: Callable[..., MarkedSet],
    step: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a purge: its files first, then itself."""
    stays, goes = add(EventState.FALSE_ALARM), add(EventState.CONFIRMED)
    path = store.clip(goes.id)
    assert path is not None
    name = f"headhunt_svc.feedback.hunt_again.{step}"
    real: Callable[..., Any] = pkgutil.resolve_name(name)

    def late(*args: Any) -> Any:
        if not {goes.id, path.name}.isdisjoint(re.findall(r"[0-9a-f-]{36}(?:\.mp4)?", repr(args))):
            path.unlink(missing_ok=True)
            if step == "happened":
                with store._session(writes=True) as session:
                    session.execute(sa.delete(EventRow).where(EventRow.id == goes.id))
        return real(*args)

    monkeypatch.setattr(name, late)
    done = export()
    assert [clip.events for clip in done.marks.clips] == [(stays.id,)]
    assert len(done.left_out) == 1
    assert done.left_out[0].startswith(goes.id)


def test_a_clip_also_shows_what_else_was_there(
    add: Callable[..., EventRecord], export: Callable[..., MarkedSet]
) -> None:
    false = add(EventState.FALSE_ALARM, camera="a")
    add(EventState.CONFIRMED, start=2, stop=2.5, camera="a")  # within the clip of the false alarm
    unjudged = add(EventState.FALSE_ALARM, camera="b")
    other = add(EventState.NEW, start=2.8, stop=None, camera="b")
    add(EventState.NEW, start=4, stop=6, camera="c")
    apart = add(EventState.FALSE_ALARM, camera="c")
    done = export()
    spans = spans_by_event(done)
    assert spans[(false.id,)] == ((30, 35),)
    assert spans[(apart.id,)] == ()
    assert done.left_out == (f"{unjudged.id}: its clip shows the event {other.id}, too, which nobody has judged",)


def test_what_cannot_be_learnt_from_is_named(
    store: EventStore, add: Callable[..., EventRecord], export: Callable[..., MarkedSet], tmp_path: Path
) -> None:
    clipless = store.add(new(key="none", camera="x"), merge_s=None)
    store.mark(clipless.id, EventState.CONFIRMED, "anna")
    early = add(EventState.CONFIRMED, start=-9, stop=-8)
    undated = add(EventState.CONFIRMED)
    again = Path(shutil.copy(str(store.clip(undated.id)), tmp_path / "again.mp4"))
    store.attach_clip(undated.id, again)
    damaged = add(EventState.CONFIRMED)
    path = store.clip(damaged.id)
    assert path is not None
    content = path.read_bytes()
    place = content.index(b"mdat") + 4
    path.write_bytes(content[: place + 900] + bytes(900) + content[place + 1800 :])  # behind x264's words
    shared = write_video(tmp_path / "shared.mp4", N, FPS, size=(96, 48))
    one = add(EventState.CONFIRMED, clip=shared)
    two = add(EventState.FALSE_ALARM, clip=shared)
    reasons = "\n".join(export().left_out)
    for event, reason in (
        (clipless, "it has no clip"), (early, "its clip does not show when it happened"),
        (undated, "it is not known when its clip begins"), (damaged, "repair the file"),
    ):  # fmt: skip
        assert f"{event.id}: " in reasons
        assert reason in next(line for line in reasons.splitlines() if line.startswith(event.id))
    assert f"{one.id}, {two.id}: they have the same clip, and are marked differently" in reasons
    assert list((tmp_path / "marks" / "marks").iterdir()) == []


def project(folder: Path) -> DatasetParams:
    """Videos of a project: of each split one normal and one anomalous."""
    lines = []
    for split in ("calibration", "validation", "test"):
        for label, spans in (("normal", []), ("fall", [[5, 10]])):
            name = f"{split}-{label}.mp4"
            write_video(folder / "footage" / name, N, FPS)
            lines.append({"video": name, "split": split, "label": label, "spans": spans, "unit": "frames"})
    (folder / "annotations.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return DatasetParams(root=folder / "footage", annotations=folder / "annotations.jsonl")


def test_marked_clips_join_the_calibration_videos_and_no_test_video_does(
    add: Callable[..., EventRecord], export: Callable[..., MarkedSet], tmp_path: Path
) -> None:
    params = project(tmp_path)
    paths = tmp_path / "index.parquet", tmp_path / "labels.parquet"
    index(params, *paths)
    plain = [path.read_bytes() for path in paths]
    true, false = add(EventState.CONFIRMED), add(EventState.FALSE_ALARM)
    test = add(EventState.CONFIRMED, source=str(tmp_path / "footage" / "test-fall.mp4"))
    done = export()
    assert len(done.left_out) == 1
    assert done.left_out[0].startswith(f"{test.id}: ")
    assert "test-fall.mp4 is a test video" in done.left_out[0]
    marked = params.model_copy(update={"marks": tmp_path / "marks"})
    index(marked, *paths)
    records = load_records(*paths)
    joined = {r.video_id: r for r in records if r.marks is not None}
    assert {r.marks for r in joined.values()} == {done.marks.version}
    assert {r.split for r in joined.values()} == {"calibration"}
    events = {clip.video: clip.events for clip in done.marks.clips}
    truth = {events[name]: (r.label, r.true_spans, r.camera) for name, r in joined.items()}
    assert truth == {
        (true.id,): ("marked", (FrameSpan(10, 20),), true.camera), (false.id,): ("normal", (), false.camera),
    }  # fmt: skip
    assert len([v for v in load_index(paths[0]) if v.marks is None]) == 6
    export(camera="nobody")
    index(marked, *paths)
    assert [path.read_bytes() for path in paths] == plain  # without marks nothing is different


def test_marks_that_were_changed_by_hand_are_refused(
    add: Callable[..., EventRecord], export: Callable[..., MarkedSet], tmp_path: Path
) -> None:
    params = project(tmp_path).model_copy(update={"marks": tmp_path / "marks"})
    out = tmp_path / "index.parquet", tmp_path / "labels.parquet"
    with pytest.raises(DatasetError, match=r"manifest.json cannot be read .*run `headhunt hunt-again`"):
        index(params, *out)
    add(EventState.CONFIRMED)
    export()
    annotations, manifest = (tmp_path / "marks" / name for name in ("annotations.jsonl", "manifest.json"))
    text = annotations.read_text()
    annotations.write_text(text.replace("calibration", "test"))
    with pytest.raises(DatasetError, match="not as `headhunt hunt-again` wrote it"):
        index(params, *out)
    annotations.write_text(text)
    manifest.write_text("{}")
    with pytest.raises(DatasetError, match="is damaged"):
        index(params, *out)
